"""What a person wants to know of a data set before it is trained on.

`inspect` decodes all of it once, by the rules of `data.pictures` and in bounded memory; `survey` reads what files say
of themselves, `speed` times the advised recipe, `report` puts all into words.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan_training import recipes
from dcgan_training.config import Recipe
from dcgan_training.data import arrays, form_of, held_out, idx, pictures, positions
from dcgan_training.data.pictures import Outcome, Pixels
from dcgan_training.errors import DataError
from dcgan_training.inspection.survey import Survey, survey, usual
from dcgan_training.recipes.scarce import BELOW_IMAGES, SCARCE
from dcgan_training.values import SIZES

SAMPLE: Final = 512  # images that are kept to look at and to time with
_LARGEST_ADVISED_PX: Final = 64  # the paper's; four times the pixels take four times the hours
_NAMED: Final = 3
_BLANK_LEVELS: Final = 8  # of 256 between the darkest and the brightest value


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found.

    Attributes:
        survey: of the files' sizes and modes.
        size: px that the networks will see.
        advised_size: px, where the images can't be trained on as they are; None where they can.
        channels: 1 grey, 3 colour.
        count: of the images that can be decoded.
        broken: name and reason of those that can't.
        duplicates: images that show what another one shows already; an image that is there three times counts two.
        twins: names of two images that show the same, for some of them.
        blank: names of images whose values all lie within a few levels.
        held_out: images that a run would hold out.
        sample: images as the networks will see them, drawn at random, uint8 (up to 512, size, size, channels).
    """

    path: Path
    survey: Survey
    size: int
    advised_size: int | None
    channels: int
    count: int
    broken: tuple[tuple[str, str], ...]
    duplicates: int
    twins: tuple[tuple[str, str], ...]
    blank: tuple[str, ...]
    held_out: int
    sample: NDArray[np.uint8]

    @property
    def recipe(self) -> Recipe:
        """The one that is advised, by how many images remain to train on."""
        return SCARCE if self.count - self.held_out < BELOW_IMAGES else recipes.DEFAULT


def inspect(path: Path, size: int | None = None) -> Inspection:
    """Looks at all of a data set.

    Args:
        path: as for `data.load`.
        size: px to crop and resize to; None takes the images' own size, or the advised one where that can't be.

    Raises:
        DataError: it can't be read at all, or holds fewer than two images.
    """
    try:
        with _opened(path, size) as subject:
            look = _Look(subject)
            for place, (name, outcome) in enumerate(subject.outcomes):
                look.at(place, name, outcome)
            return look.inspection(path)
    except OSError as error:
        raise DataError(error.filename or path, error.strerror or str(error)) from error


@dataclass(frozen=True, slots=True)
class _Subject:
    """A data set that is open: each of its `total` images in turn, decoded to `size`."""

    survey: Survey
    size: int
    advised_size: int | None
    total: int
    outcomes: Iterable[tuple[str, Outcome]]


@contextmanager
def _opened(path: Path, size: int | None) -> Iterator[_Subject]:
    if form_of(path) == "pictures":
        with pictures.opened(path) as files:
            found = survey(files)
            advised, seen = _sizes(path, found, size)
            yield _Subject(found, seen, advised, len(files.names), pictures.decoded(files, seen))
        return
    images = arrays.mapped(path) if form_of(path) == "array" else idx.read(idx.find(path) or path, None)
    count, height, width, channels = images.shape
    found = Survey(Counter({(width, height): count}), Counter({"grey" if channels == 1 else "colour": count}))
    advised, seen = _sizes(path, found, size)
    each = ((f"image {place}", pictures.fitted(image, seen)) for place, image in enumerate(images))
    yield _Subject(found, seen, advised, count, each)


def _sizes(path: Path, found: Survey, size: int | None) -> tuple[int | None, int]:
    """Gives the advised size, and the one to look at."""
    if not found.shapes:
        raise DataError(path, "none of its images can be read")
    advised = usual(SIZES, found.shapes, _LARGEST_ADVISED_PX)
    return advised, size or advised or next(iter(found.shapes))[0]


class _Look:
    """What was seen of a data set so far; of the images themselves only a sample is kept."""

    def __init__(self, subject: _Subject) -> None:
        self._subject = subject
        self._wanted = positions(0, 0, min(SAMPLE, subject.total), subject.total).tolist()
        self._drawn: dict[int, Pixels | None] = dict.fromkeys(self._wanted)
        self._first: list[Pixels] = []  # the sample where all that were drawn are broken
        self._names: list[str] = []
        self._broken: list[tuple[str, str]] = []
        self._blank: list[str] = []
        self._channels = 1
        self._keys = {1: bytearray(), 3: bytearray()}  # by the channels that the set will turn out to have

    def at(self, place: int, name: str, outcome: Outcome) -> None:
        """Looks at an image, or at why it is broken."""
        if isinstance(outcome, str):
            self._broken.append((name, outcome))
            return
        self._names.append(name)
        self._channels = max(self._channels, outcome.shape[2])
        for channels, keys in self._keys.items():
            keys += held_out.key(np.repeat(outcome, 3, axis=2) if channels > outcome.shape[2] else outcome)
        if int(outcome.max()) - int(outcome.min()) <= _BLANK_LEVELS:
            self._blank.append(name)
        self._first = self._first or [outcome]
        if place in self._drawn:
            self._drawn[place] = outcome

    def inspection(self, path: Path) -> Inspection:
        """Sums up."""
        if len(self._names) < 2:
            raise DataError(path, f"holds {len(self._names)} images that can be read; training needs two or more")
        keys = held_out.joined(self._keys[self._channels])
        shape = (self._subject.size, self._subject.size, self._channels)
        drawn = (self._drawn[place] for place in self._wanted)
        sample = [pixels for pixels in drawn if pixels is not None] or self._first
        return Inspection(
            path=path,
            survey=self._subject.survey,
            size=self._subject.size,
            advised_size=self._subject.advised_size,
            channels=self._channels,
            count=len(self._names),
            broken=tuple(self._broken),
            twins=_twins(keys, self._names),
            duplicates=len(keys) - len(np.unique(keys)),
            blank=tuple(self._blank),
            held_out=int(held_out.smallest(keys).sum()),
            sample=np.stack([np.broadcast_to(pixels, shape) for pixels in sample]),
        )


def _twins(keys: held_out.Keys, names: list[str]) -> tuple[tuple[str, str], ...]:
    """Gives the names of images that show the same as the one before them in the order of the keys, a few."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])[:_NAMED]
    return tuple((names[order[place]], names[order[place + 1]]) for place in same)
