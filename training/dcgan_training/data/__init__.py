"""Data sets in, batches out: images of idx and .npy files, folders and zips, in an order that is a pure function.

A data set is uint8 NHWC, in memory or mapped from a file; the loop takes rows of it by `positions` and normalises them
on the device. `idx`, `arrays` and `pictures` read files, `gathering` and `store` put decoded images together,
`held_out` says which of them training never sees, `order` which comes when, `stacked` makes PacGAN's data set.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from dcgan_training.data import arrays, idx, pictures
from dcgan_training.data.dataset import Dataset, Images, Selection, blocks, digest_of, shape_of
from dcgan_training.data.gathering import Broken, Collector, InMemory, gather
from dcgan_training.data.held_out import MIN_TEST_IMAGES, Split, check_test_set, in_both, split
from dcgan_training.data.order import positions
from dcgan_training.data.store import Names, stored
from dcgan_training.errors import DataError
from dcgan_training.values import SIZES

__all__ = [
    "MIN_TEST_IMAGES",
    "Broken",
    "Dataset",
    "Form",
    "Images",
    "Selection",
    "Split",
    "blocks",
    "check_test_set",
    "digest_of",
    "form_of",
    "glimpse",
    "in_both",
    "load",
    "positions",
    "shape_of",
    "split",
]

_ZIP: Final = b"PK\x03\x04"  # what a zip begins with

Form = Literal["pictures", "array", "idx"]


def load(path: Path, size: int | None = None, *, broken: Broken = "refuse", store: Path | None = None) -> Dataset:
    """Reads a data set.

    Args:
        path: an idx file (gzipped or not), a folder that holds train-images-idx3-ubyte (or .gz), a folder of
            images at any depth, a zip of images, or an .npy file of uint8 (n, h, w), (n, h, w, 1) or (n, h, w, 3),
            which is mapped.
        size: side to crop and resize to, px; None takes the images as they are. `pictures.RULES` has the details.
        broken: image files that can't be decoded are refused, all of them counted, or skipped.
        store: an .npy file to decode into and to map, in a run's directory; its record lies beside it. None decodes
            into memory. Data that can be mapped as it is, and idx files, are not stored.

    Raises:
        DataError: names the file and what is wrong with it.
        OutputError: the store can't be written.
    """
    try:
        data = _read(path, size, broken, store)
    except OSError as error:
        raise DataError(error.filename or path, error.strerror or str(error)) from error
    if len(data) < 2:
        raise DataError(path, "holds one image only; training needs two or more")
    return data


def glimpse(path: Path, size: int | None = None) -> tuple[int, int] | None:
    """Looks at the first image of a folder or a zip, so that what `load` would find after long is known at once.

    Returns:
        The size that all images will have, and the channels of the first: where these are 3, the set has colour. None
        for other forms of data, which are read in no time.

    Raises:
        DataError: as `load`.
    """
    try:
        if form_of(path) != "pictures":
            return None
        with pictures.opened(path) as files:
            _, height, width, channels = pictures.first(files)
            if size is None:
                _check_shape(path, height, width)
            return size or height, channels
    except OSError as error:
        raise DataError(error.filename or path, error.strerror or str(error)) from error


def form_of(path: Path) -> Form:
    """Tells how a data set is kept: image files in a folder or a zip, an .npy file, or else an idx file.

    Raises:
        DataError: there is nothing, or half a zip.
        OSError: it can't be read.
    """
    if not path.exists():
        raise DataError(path, "does not exist")
    if path.is_dir():
        return "pictures" if idx.find(path) is None else "idx"
    if zipfile.is_zipfile(path):
        return "pictures"
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            raise DataError(path, "is a zip that is cut short: its end is missing; fetch it again")
    return "array" if arrays.is_array(path) else "idx"


def _read(path: Path, size: int | None, broken: Broken, store: Path | None) -> Dataset:
    form = form_of(path)
    if form == "pictures":
        return _of_pictures(path, size, broken, store)
    if form == "array":
        return _of_array(path, size, store)
    images = idx.read(idx.find(path) or path, size)
    _check_shape(path, *images.shape[1:3])
    return Dataset(images, digest_of(images), path=path)


def _of_pictures(path: Path, size: int | None, broken: Broken, store: Path | None) -> Dataset:
    with pictures.opened(path) as files:
        like, side = _first(files) if size is None else (None, size)

        def make(into: Collector) -> tuple[Names, Names]:
            return gather(path, pictures.decoded(files, side, like), into, broken)

        facts = f"{files.facts} size {size} broken {broken}"
        return _made(path, store, facts, len(files.names), side, make)


def _first(files: pictures.Pictures) -> tuple[str, int]:
    """Gives the name and the size of the image that all others must be like."""
    name, height, width, _ = pictures.first(files)
    _check_shape(files.path, height, width)
    return name, height


def _of_array(path: Path, size: int | None, store: Path | None) -> Dataset:
    images = arrays.mapped(path)
    height, width = images.shape[1:3]
    if size is None or size == height == width:
        _check_shape(path, height, width)
        return Dataset(images, digest_of(images), path=path)
    side = size

    def make(into: Collector) -> tuple[Names, Names]:
        for image in images:
            into.append(pictures.fitted(image, side))
        return (), ()

    status = path.stat()
    facts = f"{status.st_size} {status.st_mtime_ns} size {side}"
    return _made(path, store, facts, len(images), side, make)


def _made(
    path: Path, store: Path | None, facts: str, count: int, side: int, make: Callable[[Collector], tuple[Names, Names]]
) -> Dataset:
    """Collects images in a store, or in memory where there is none."""
    if store is None:
        collected = InMemory(count, side)
        names, skipped = make(collected)
        return Dataset(collected.images, digest_of(collected.images), names, skipped, path)
    images, record = stored(store, facts, count, side, make)
    return Dataset(images, record.digest, record.names, record.skipped, path)


def _check_shape(path: Path, height: int, width: int) -> None:
    if height != width or height not in SIZES:
        raise DataError(path, f"its images are {width}x{height}; say --size with one of {', '.join(map(str, SIZES))}")
