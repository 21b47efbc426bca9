"""The idx format of MNIST and its relatives: big-endian header, then uint8 pixels, gzipped or not.

Source: LeCun, Cortes, Burges, "The MNIST database", section "file formats".
"""

import gzip
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan import images
from dcgan_training.errors import DataError

_IMAGES_MAGIC: Final = 0x00000803  # unsigned bytes, three dimensions
_LABELS_MAGIC: Final = 0x00000801  # unsigned bytes, one dimension
_HEADER_BYTES: Final = 16
_LABELS_HEADER_BYTES: Final = 8
_NAMES: Final = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz")


def find(folder: Path) -> Path | None:
    """Finds the training images of an MNIST-like folder; None if this is no such folder."""
    return next((folder / name for name in _NAMES if (folder / name).is_file()), None)


def read(file: Path, size: int | None) -> NDArray[np.uint8]:
    """Reads an idx file of images, cropped and resized to `size` where that is given.

    Returns:
        uint8 of shape (n, height, width, 1).

    Raises:
        DataError: the file is no idx file of images, is cut short, or is too long.
        OSError: it can't be read.
    """
    content = _content(file)
    header = np.frombuffer(content[:_HEADER_BYTES], ">u4") if len(content) >= _HEADER_BYTES else np.zeros(4)
    magic, count, height, width = (int(number) for number in header)
    if magic != _IMAGES_MAGIC:
        raise DataError(file, "is neither an idx file of images, nor an .npy file, a zip or a folder of them")
    expected, there = count * height * width, len(content) - _HEADER_BYTES
    if there != expected:
        fault = "is cut short" if there < expected else "has bytes too many"
        raise DataError(
            file, f"{fault}: its header says {count} images of {width}x{height}, {expected} bytes, but {there} follow"
        )
    if expected == 0:
        raise DataError(file, "holds no images")
    pixels = np.frombuffer(content, np.uint8, offset=_HEADER_BYTES).reshape(count, height, width, 1)
    if size is None or size == height == width:
        return pixels
    return np.stack([images.fitted(image, size, size) for image in pixels])


def read_labels(file: Path) -> NDArray[np.uint8]:
    """Reads an idx file of labels, uint8 of shape (n,).

    Raises:
        DataError: the file is no idx file of labels, is cut short, or is too long.
        OSError: it can't be read.
    """
    content = _content(file)
    header = np.frombuffer(content[:_LABELS_HEADER_BYTES], ">u4") if len(content) >= _LABELS_HEADER_BYTES else (0, 0)
    magic, count = (int(number) for number in header)
    if magic != _LABELS_MAGIC:
        raise DataError(file, "is neither an idx file of labels nor a .csv file")
    there = len(content) - _LABELS_HEADER_BYTES
    if there != count:
        raise DataError(file, f"its header says {count} labels but {there} follow")
    return np.frombuffer(content, np.uint8, offset=_LABELS_HEADER_BYTES)


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except EOFError:
        raise DataError(file, "is cut short: the gzip stream has no end; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(file, f"is a damaged gzip file ({error}); fetch it again") from error
