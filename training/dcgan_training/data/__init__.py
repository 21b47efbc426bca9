"""Data sets in, batches out: images from idx files, folders and zip files, in an order that is a pure function.

A data set lies in memory as uint8 NHWC; the loop takes rows of it by `positions` and normalises them on the device.
`idx` and `pictures` read files, `order` says which image comes when.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcgan_training.config import SIZES
from dcgan_training.data import idx, pictures
from dcgan_training.data.order import positions
from dcgan_training.errors import DataError

__all__ = ["Dataset", "load", "positions"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images as the networks see them, and what names them.

    Attributes:
        images: uint8 of shape (n, size, size, channels), channels 1 or 3.
        digest: sha256 of shape and pixels in their order, so that idx, idx.gz and a folder of the same images agree.
        names: of the files, in the order of the images, for a folder or a zip; empty for idx, which has none.
    """

    images: NDArray[np.uint8]
    digest: str
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Height and width of every image, px."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.shape[3])

    def __len__(self) -> int:
        return len(self.images)


def load(path: Path, size: int | None = None) -> Dataset:
    """Reads a data set into memory.

    Args:
        path: an idx file (gzipped or not), a folder that holds train-images-idx3-ubyte (or .gz), a folder of
            images at any depth, or a zip of images.
        size: side to crop and resize to, px; None takes the images as they are.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    try:
        images, names = _read(path, size)
    except OSError as error:
        raise DataError(error.filename or path, error.strerror or str(error)) from error
    _, height, width, _ = images.shape
    if height != width or height not in SIZES:
        raise DataError(path, f"its images are {width}x{height}; say --size with one of {', '.join(map(str, SIZES))}")
    if len(images) < 2:
        raise DataError(path, "holds one image only; training needs two or more")
    digest = hashlib.sha256(f"uint8 {images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    return Dataset(images, digest.hexdigest(), names)


def _read(path: Path, size: int | None) -> pictures.Named:
    if not path.exists():
        raise DataError(path, "does not exist")
    if path.is_dir():
        file = idx.find(path)
        return pictures.from_folder(path, size) if file is None else (idx.read(file, size), ())
    if zipfile.is_zipfile(path):
        return pictures.from_zip(path, size)
    return idx.read(path, size), ()
