"""Images on the disk for tests: in folders, zips and idx files, and the words with which a data set is refused."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dcgan_training.data import load
from dcgan_training.errors import DataError

RANDOM = np.random.Generator(np.random.PCG64(5))
GREY = RANDOM.integers(0, 256, (6, 14, 14, 1), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 14, 14, 3), dtype=np.uint8)


def png(pixels: NDArray[np.uint8], mode: str | None = None) -> bytes:
    """Encodes uint8 (h, w, c) as PNG, converted to a Pillow mode where one is named."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    (picture if mode is None else picture.convert(mode)).save(file, "PNG")
    return file.getvalue()


def folder(directory: Path, images: NDArray[np.uint8], mode: str | None = None) -> Path:
    """Writes images as PNG files, in two folders."""
    for number, pixels in enumerate(images):
        file = directory / f"{number // 3}" / f"{number:03d}.PNG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels, mode))
    return directory


def idx(images: NDArray[np.uint8]) -> bytes:
    """Encodes uint8 (n, h, w, 1) in the idx format."""
    return struct.pack(">4I", 0x803, *images.shape[:3]) + images.tobytes()


def zipped(file: Path, contents: dict[str, bytes]) -> Path:
    """Writes a zip of files."""
    with zipfile.ZipFile(file, "w") as out:
        for name, content in contents.items():
            out.writestr(name, content)
    return file


def refusal(path: Path, size: int | None = None, store: Path | None = None) -> str:
    """Gives the message with which a data set is refused."""
    with pytest.raises(DataError) as caught:
        load(path, size, store=store)
    assert "\n" not in caught.value.message
    return caught.value.message
