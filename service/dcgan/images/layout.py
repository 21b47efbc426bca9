"""Many images in one picture: grids, and whole-number enlargement so that small ones can be seen."""

from typing import Final

import numpy as np

from dcgan.images.encoders import Pixels

BACKGROUND: Final = 255


def grid(images: Pixels, columns: int, padding: int = 2) -> Pixels:
    """Lays images out row by row, on white, with `padding` pixels around each.

    Args:
        images: uint8 of shape (n, h, w, c), n at least 1.
        columns: images in a row, at least 1; fewer images than that make a narrower grid.
        padding: pixels between images and at the edge.

    Returns:
        uint8 of shape (rows * (h + padding) + padding, columns * (w + padding) + padding, c).
    """
    if images.ndim != 4 or not len(images) or columns < 1 or padding < 0:
        raise ValueError(f"a grid needs images (n, h, w, c) and a column, not {images.shape} and {columns} columns")
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + padding, width + padding, channels), BACKGROUND, np.uint8)
    cells[:count, padding:, padding:] = images
    cells = cells.reshape(rows, columns, height + padding, width + padding, channels).swapaxes(1, 2)
    inside = cells.reshape(rows * (height + padding), columns * (width + padding), channels)
    return np.pad(inside, ((0, padding), (0, padding), (0, 0)), constant_values=BACKGROUND)


def enlarge(image: Pixels, factor: int) -> Pixels:
    """Repeats every pixel of (..., h, w, c) `factor` times in both directions."""
    if factor < 1:
        raise ValueError(f"factor is {factor}; allowed: 1 and more")
    return image.repeat(factor, axis=-3).repeat(factor, axis=-2)


def enlarged_to(images: Pixels, size: int) -> Pixels:
    """Enlarges (..., h, w, c) by the smallest whole factor that makes the longer side at least `size` pixels."""
    return enlarge(images, max(1, -(-size // max(images.shape[-3:-1]))))
