"""The real images that figures compare with: those the model was trained on, and those it never saw.

A run that held out a part of its data by the hash of their pixels says so in the manifest, and the same part is found
again here. A test set that is given takes its place in the figures. Where neither is known all data were trained on:
figures are then against them, which is said, and memorisation can't be measured.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan.bundle.manifest import Manifest
from dcgan.images import Pixels
from dcgan_training.data import Broken, Dataset, Split, check_test_set, digest_of, positions, split
from dcgan_training.errors import DataError
from dcgan_training.fitting import fitting

LEAST_HALF: Final = 100  # images on either side, below which a share says nothing

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Halves:
    """What memorisation compares: as many trained as held-out images, and real ones in neither half."""

    trained: Pixels
    held_out: Pixels
    neither: Pixels


@dataclass(frozen=True, slots=True)
class RealImages:
    """The real images of an evaluation.

    Attributes:
        data: the whole data set.
        trained, reference: images of either kind, in an order that is drawn, none in both; `reference` is what a
            figure compares with, `trained` stands for the model in the same comparison of real images.
        halves: for memorisation; None where that can't be measured.
        conditions: sentences on what these are.
        omitted: what can't be measured, and why.
        teaching, testing: places in `data` for classifiers to learn from, and to be judged by.
    """

    data: Dataset
    trained: Pixels
    reference: Pixels
    halves: Halves | None
    teaching: Rows
    testing: Rows
    conditions: tuple[str, ...] = ()
    omitted: dict[str, str] = field(default_factory=dict)


def gather(path: Path, held_out: Path | None, manifest: Manifest, most: int, broken: Broken = "refuse") -> RealImages:
    """Reads the real images of a model.

    Args:
        path: the data set that it was trained on.
        held_out: a test set; None takes what the run held out.
        manifest: of the model.
        most: images of either kind that are needed.
        broken: what the run did about image files that can't be read.

    Raises:
        DataError: the images can't be read, or aren't those that the manifest speaks of.
    """
    data = fitting(path, manifest, broken)
    test = None if held_out is None else fitting(held_out, manifest, broken)
    if test is not None:
        check_test_set(test, data)
    parts = split_of_run(data, manifest)
    own = None if parts is None else data.images[parts.held_out]
    whole = _Whole(data, parts or split(data.images), (_whose(data, manifest),), most)
    never = own if test is None else test.images
    return _of_all(whole) if never is None else _of_never_seen(whole, never, own, test is not None)


def split_of_run(data: Dataset, manifest: Manifest) -> Split | None:
    """Gives the split that a model's run made of its data by the hash of their pixels; None where it made none.

    Raises DataError where these aren't its data, for then something else was held out.
    """
    record = manifest.training.held_out
    if record is None or record.source != "content-hash":
        return None
    parts = split(data.images)
    if digest_of(data.images[parts.held_out]) != record.digest:
        raise DataError(
            data.path, f"isn't the data of {manifest.name}: what its run held out by hash isn't held out of these"
        )
    return parts


@dataclass(frozen=True, slots=True)
class _Whole:
    data: Dataset
    parts: Split
    told: tuple[str, ...]
    most: int


def _of_never_seen(whole: _Whole, never: Pixels, own: Pixels | None, tested: bool) -> RealImages:
    seen = np.arange(len(whole.data)) if own is None else whole.parts.train
    kind = "of the test set" if tested else "that the run held out"
    compared = f"Compared with {len(never):,} images {kind}, none of which the model was trained on"
    halves, how = _halves(whole.data.images, seen, own, never if tested else None)
    return RealImages(
        data=whole.data,
        trained=whole.data.images[_some(seen, whole.most)],
        reference=never[_some(np.arange(len(never)), whole.most)],
        halves=halves,
        teaching=whole.parts.train,
        testing=whole.parts.held_out,
        conditions=(*whole.told, compared, *how),
        omitted={} if halves else {"memorisation": f"there are fewer than {LEAST_HALF} images for each side of it"},
    )


def _of_all(whole: _Whole) -> RealImages:
    order = _some(np.arange(len(whole.data)), len(whole.data))
    half = len(whole.data) // 2
    return RealImages(
        data=whole.data,
        trained=whole.data.images[order[half:][: whole.most]],
        reference=whole.data.images[order[:half][: whole.most]],
        halves=None,
        teaching=whole.parts.train,
        testing=whole.parts.held_out,
        conditions=(
            *whole.told,
            "Compared with images that the model was trained on, for none are known that it wasn't: a model that "
            "learned images by heart looks better here than it is",
        ),
        omitted={"memorisation": "no images are known that the model wasn't trained on; give a test set by --held-out"},
    )


def _halves(
    images: Pixels, seen: Rows, own: Pixels | None, test: Pixels | None
) -> tuple[Halves | None, tuple[str, ...]]:
    """Cuts the halves, and says how: both of the training split where the run held out a part of that."""
    if own is not None and test is not None:
        held_out, neither, whose = own, test, "the test set"
    else:
        never = own if own is not None else test
        assert never is not None
        order = _some(np.arange(len(never)), len(never))
        third = len(never) // 3
        held_out, neither, whose = never[order[third:]], never[order[:third]], "a third of those not trained on"
    count = min(len(held_out), len(seen))
    if min(count, len(neither)) < LEAST_HALF:
        return None, ()
    how = f"Memorisation: nearest in pixels of {count:,} trained and {count:,} other images; the null is {whose}"
    odd = "" if own is not None else "; the halves are of different splits, which may tell them apart by itself"
    trained = images[_some(seen, count)]
    return Halves(trained, held_out[_some(np.arange(len(held_out)), count)], neither), (f"{how}{odd}",)


def _whose(data: Dataset, manifest: Manifest) -> str:
    known = manifest.training
    if data.digest == known.dataset_digest:
        return f"Real images: {known.dataset}, {len(data):,} images, the data that the model was trained on"
    return f"Real images: {data.path.name}, {len(data):,} images, not the data that the manifest names"


def _some(rows: Rows, most: int) -> Rows:
    """Draws up to `most` of the rows, the same ones whenever it is asked; all of them in an order of their own."""
    return rows[positions(0, 0, min(most, len(rows)), len(rows))]
