"""Stacked digits, the data set that counts modes: each image is three digits, one in each colour channel.

Ten digits in three channels are 1,000 modes, all equally frequent, and a classifier of single digits tells which one
an image shows. Which digits meet in an image is a function of (seed, number of the image).

Source: Lin, Khetan, Fanti, Oh, 2018, "PacGAN", arXiv:1712.04086, section 4.1; first in Metz, Poole, Pfau,
Sohl-Dickstein, 2017, "Unrolled generative adversarial networks", arXiv:1611.02163.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan.errors import OutputError
from dcgan.images import replacing
from dcgan_training.data import Broken, load
from dcgan_training.data.store import header
from dcgan_training.errors import DataError

_CHANNELS: Final = 3
_BLOCK_IMAGES: Final = 4_096


def stack(digits: Path, count: int, output: Path, seed: int, broken: Broken = "refuse") -> None:
    """Writes stacked digits as an .npy file, uint8 (count, size, size, 3), by parts.

    Args:
        digits: grey images, as for `data.load`.
        count: of the images to make.
        output: the file; must not exist.
        seed: uint64.
        broken: what to do about image files that can't be read.

    Raises:
        DataError: the digits can't be read, or have colour.
        OutputError: the file exists, or the disk refuses; nothing is left of what was written.
    """
    if output.exists():
        raise OutputError(f"{output} exists; choose another --output, or remove it")
    data = load(digits, broken=broken)
    if data.channels != 1:
        raise DataError(digits, "has colour; only grey images can be stacked to the channels of one")
    words = np.random.Philox(key=np.array([seed, 0], np.uint64))  # whose words numpy promises for ever
    with replacing(output) as file:
        file.write(header((count, data.size, data.size, _CHANNELS)))
        for first in range(0, count, _BLOCK_IMAGES):
            drawn = words.random_raw(_CHANNELS * min(_BLOCK_IMAGES, count - first))
            file.write(_stacked(data.images, drawn.astype(np.uint64)).data)


def _stacked(digits: NDArray[np.uint8], words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Puts three digits, drawn by three words each, into the channels of each image."""
    rows = (words % np.uint64(len(digits))).astype(np.int64).reshape(-1, _CHANNELS)
    return np.ascontiguousarray(digits[rows, :, :, 0].transpose(0, 2, 3, 1))
