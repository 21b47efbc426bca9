"""Folders, grids and pictures as files, for the commands that ask."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dcgan import images
from dcgan.errors import OutputError
from dcgan.images import Pixels

_TILE: Final = 84  # pixels, at least, of an image in a grid, as long as the grid stays under _GRID
_GRID: Final = 1600


def made_folder(path: str) -> Path:
    """Makes a folder where there is none; raises OutputError."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"can't make the folder {folder}: {why}") from error
    return folder


def save_picture(path: str | Path, picture: Pixels) -> None:
    """Writes a picture in the format of its name; raises OutputError."""
    file_format = images.format_of(path)
    try:
        data = images.encode(picture, file_format)
    except ValueError as error:
        raise OutputError(f"can't write {path}: {error}") from error
    images.save(path, data)


def save_grid(path: str, pictures: Sequence[Pixels]) -> None:
    """Writes images, in batches, as one square picture."""
    pixels = np.concatenate(pictures)
    columns = math.isqrt(len(pixels) - 1) + 1
    tiles = images.enlarged_to(pixels, min(_TILE, max(1, _GRID // columns)))
    save_picture(path, images.grid(tiles, columns))
