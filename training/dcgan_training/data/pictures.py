"""Image files, of a folder at any depth or of a zip, each brought to what the networks see.

`RULES` says how, and `dcgan-train inspect` shows them beside what they make of a data set. Decoding is by
`dcgan.images`, as the service decodes: the same file gives the same pixels when it is trained on and when it is
encoded later.
"""

import hashlib
import io
import lzma
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from dcgan import images
from dcgan_training.errors import DataError

SUFFIXES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})

RULES: Final = (
    f"An image is a file called {', '.join(sorted(SUFFIXES))}; hidden files and __MACOSX are left alone.",
    "Photos are turned upright by their EXIF; of a GIF or WebP that moves, the first frame is taken.",
    "Transparency is laid over white, palettes become their colours, of 16 bits the upper 8 are kept.",
    "The set is grey if no pixel of any image has colour, else all of it is RGB.",
    "With --size, the central square is cut out and resized (Lanczos, without aliasing); nothing is padded or "
    "stretched, because the model serves images by the same rule.",
    "Without --size, all images must be squares of one size that the networks have.",
)
"""How files become images, for people."""

Pixels = NDArray[np.uint8]  # (h, w, c), c 1 for grey and 3 for colour
Outcome = Pixels | str  # of one file: its pixels, or why it is broken
_Decoded = Outcome | tuple[int, int]  # or the height and width that it has and shouldn't have

_TASK_FILES: Final = 16  # decoded by a thread at a time
FAULTS: Final = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError)
"""What a broken file may raise when it is opened, read or decoded."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The image files of a folder or zip.

    Attributes:
        path: of the folder or zip.
        names: below it, sorted.
        facts: a digest of the names and of what tells that a file changed without reading it.
        open: opens one for reading, from any thread.
    """

    path: Path
    names: tuple[str, ...]
    facts: str
    open: Callable[[str], BinaryIO]


@contextmanager
def opened(path: Path) -> Iterator[Pictures]:
    """Lists the image files of a folder or zip, and lets them be read meanwhile.

    Raises:
        DataError: there are none, or the zip is damaged.
        OSError: the folder or the zip can't be read.
    """
    if path.is_dir():
        yield _of_folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(path, f"is a damaged zip ({error})") from error
    with archive:
        yield _of_zip(path, archive)


def first(pictures: Pictures) -> tuple[str, int, int, int]:
    """Gives the name, height, width and channels of the first image that isn't broken.

    Raises:
        DataError: no image can be read.
    """
    for name in pictures.names:
        outcome = _outcome(pictures, name, None)
        if not isinstance(outcome, str):
            return name, *outcome.shape
    raise DataError(pictures.path, f"none of its {len(pictures.names)} images can be read")


def decoded(pictures: Pictures, size: int, like: str | None = None) -> Iterator[tuple[str, Outcome]]:
    """Decodes every file, in the order of the names, in as many threads as there are processors.

    Args:
        pictures: to decode.
        size: of the result, px.
        like: name of an image of this size, where all must be like it; None crops and resizes them.

    Yields:
        The name, and its pixels, (size, size, 1 or 3), 1 where none of them has colour; or why it is broken.

    Raises:
        DataError: an image has another size; names it.
    """

    def task(names: Sequence[str]) -> list[_Decoded]:
        return [_of_size(_outcome(pictures, name, size if like is None else None), size) for name in names]

    for names, outcomes in _in_threads(task, pictures.names):
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, tuple):
                height, width = outcome
                raise DataError(
                    pictures.path / name,
                    f"is {width}x{height} but {like} is {size}x{size}; say --size to crop and resize them all",
                )
            yield name, outcome


def fitted(image: Pixels, size: int) -> Pixels:
    """Crops an image to its central square and resizes it to `size`; 1 channel where no pixel has colour."""
    return without_colour(images.fitted(image, size, size))


def without_colour(pixels: Pixels) -> Pixels:
    """Gives (..., 1) for (..., 3) whose channels are all the same, and everything else as it is."""
    return pixels[..., :1] if (pixels[..., :1] == pixels).all() else pixels


def _outcome(pictures: Pictures, name: str, size: int | None) -> Outcome:
    try:
        with pictures.open(name) as file:
            pixels = images.decode(file.read())
    except FAULTS as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_colour(pixels) if size is None else fitted(pixels, size)


def _of_size(outcome: Outcome, size: int) -> _Decoded:
    """Lets go at once of an image of another size, which may be a large one, but for its height and width."""
    if isinstance(outcome, str) or outcome.shape[:2] == (size, size):
        return outcome
    return outcome.shape[0], outcome.shape[1]


def _in_threads(
    task: Callable[[Sequence[str]], list[_Decoded]], names: Sequence[str]
) -> Iterator[tuple[Sequence[str], list[_Decoded]]]:
    """Runs a task over parts of the names, in their order, and never far ahead of whoever takes the results."""
    workers = _processors()
    parts = (names[first : first + _TASK_FILES] for first in range(0, len(names), _TASK_FILES))
    with ThreadPoolExecutor(workers, "decode") as pool:
        pending: deque[tuple[Sequence[str], Future[list[_Decoded]]]] = deque()
        try:
            for part in islice(parts, 2 * workers):
                pending.append((part, pool.submit(task, part)))
            while pending:
                part, future = pending.popleft()
                yield part, future.result()
                for following in islice(parts, 1):
                    pending.append((following, pool.submit(task, following)))
        finally:
            for _, future in pending:
                future.cancel()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _of_folder(folder: Path) -> Pictures:
    names = sorted(
        str(PurePosixPath(Path(at, file).relative_to(folder)))
        for at, _, files in os.walk(folder, onerror=_raise)
        for file in files
    )
    names = _pictures(folder, names)
    facts = hashlib.sha256()
    for name in names:
        try:
            status = (folder / name).stat()
            size, changed = status.st_size, status.st_mtime_ns
        except OSError:  # a broken link, say; it is reported when it is decoded
            size = changed = -1
        facts.update(os.fsencode(name) + f"\0{size} {changed}\n".encode())
    return Pictures(folder, tuple(names), facts.hexdigest(), lambda name: (folder / name).open("rb"))


def _of_zip(path: Path, archive: zipfile.ZipFile) -> Pictures:
    names = _pictures(path, sorted({entry.filename for entry in archive.infolist() if not entry.is_dir()}))
    facts = hashlib.sha256()
    for name in names:
        member = archive.getinfo(name)
        facts.update(os.fsencode(name) + f"\0{member.file_size} {member.CRC}\n".encode())

    def read(name: str) -> BinaryIO:
        return io.BytesIO(archive.read(name))  # its own lock lets threads share it

    return Pictures(path, tuple(names), facts.hexdigest(), read)


def _pictures(source: Path, names: Sequence[str]) -> list[str]:
    """Leaves out what isn't called an image, and what operating systems strew about.

    These are hidden files, and their twins in __MACOSX of a zip.
    """
    found = [name for name in names if _is_picture(PurePosixPath(name))]
    if not found:
        raise DataError(source, f"holds no images ({', '.join(sorted(SUFFIXES))})")
    return found


def _is_picture(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return name.suffix.lower() in SUFFIXES and not hidden


def _raise(error: OSError) -> None:
    """Lets a folder that can't be listed be an error, where os.walk would pass over it."""
    raise error
