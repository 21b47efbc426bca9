"""Images in one .npy file: mapped, never read as a whole, so that they take no memory of the process's own."""

import tokenize
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan_training.data import pictures
from dcgan_training.data.dataset import blocks
from dcgan_training.errors import DataError

_MAGIC: Final = b"\x93NUMPY"


def is_array(file: Path) -> bool:
    """Says whether a file is in the .npy format, by its first bytes."""
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def mapped(file: Path) -> NDArray[np.uint8]:
    """Maps an .npy file of images.

    Returns:
        uint8 of shape (n, height, width, 1 or 3), read-only; 1 where no pixel has colour.

    Raises:
        DataError: it holds something else, or is cut short.
        OSError: it can't be read.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, SyntaxError, tokenize.TokenError) as error:  # of a damaged header
        raise DataError(file, f"is no readable .npy file ({error})") from error
    images = array[..., None] if array.ndim == 3 else array
    wanted = images.ndim == 4 and images.dtype == np.uint8 and images.shape[-1] in (1, 3)
    if not wanted or not array.flags.c_contiguous:
        order = "" if array.flags.c_contiguous else " in Fortran order"
        raise DataError(
            file,
            f"holds {array.dtype} of shape {array.shape}{order}; images are uint8 of shape (n, h, w), (n, h, w, 1) or "
            "(n, h, w, 3), in C order",
        )
    if images.size == 0:
        raise DataError(file, "holds no images")
    plain: NDArray[np.uint8] = images.view(np.ndarray)  # np.memmap is slow to take rows of
    coloured = any(pictures.without_colour(block).shape[3] == 3 for block in blocks(plain))
    return plain if coloured else plain[..., :1]
