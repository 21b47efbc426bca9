"""A picture of what a direction does: a few samples, each at seven strengths, that explains itself."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from dcgan import images
from dcgan_training.classifier import Pixels

ROWS: Final = 5
COLUMNS: Final = 7
_PADDING: Final = 2
_TITLE: Final = 18
_LABEL: Final = 16
_SMALLEST: Final = 48  # width of a tile, px, under which a strength can't be written above it


def strip(title: str, strengths: Sequence[float], tiles: Pixels) -> Pixels:
    """Draws samples as rows and strengths as columns, each strength above its column.

    Args:
        title: in the first line.
        strengths: of the columns.
        tiles: uint8 (rows * columns, h, w, c), row by row.

    Returns:
        uint8 (height, width, c); the tiles are enlarged by the smallest whole factor that makes them 48 px wide.
    """
    from PIL import ImageDraw, ImageFont

    tiles = images.enlarged_to(tiles, _SMALLEST)
    body = images.grid(tiles, len(strengths), _PADDING)
    head = np.full((_TITLE + _LABEL, *body.shape[1:]), 255, np.uint8)
    canvas = images.to_pillow(head)
    draw = ImageDraw.Draw(canvas)
    draw.text((_PADDING, _TITLE // 2), title, fill="black", font=ImageFont.load_default(13), anchor="lm")
    step = tiles.shape[2] + _PADDING
    for column, strength in enumerate(strengths):
        middle = _PADDING + column * step + tiles.shape[2] // 2
        text = f"{strength:+.2f}" if strength else "0"
        place = (middle, _TITLE + _LABEL // 2)
        draw.text(place, text, fill="black", font=ImageFont.load_default(11), anchor="mm")
    return np.concatenate([images.from_pillow(canvas, 1 if body.shape[2] == 1 else 3), body])
