"""A picture of what a direction does: a few samples, each at seven strengths, that explains itself."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from dcgan import images, latents
from dcgan.bundle.manifest import DirectionSpec, LatentSpec
from dcgan.images import Pixels
from dcgan.latents import Floats32
from dcgan_training.direction_measures import Sampler

ROWS: Final = 5
COLUMNS: Final = 7
_PADDING: Final = 2
_TITLE: Final = 18
_LABEL: Final = 16
_SMALLEST: Final = 48  # width of a tile, px, under which a strength can't be written above it


def picture(sampler: Sampler, name: str, spec: DirectionSpec, vector: Floats32) -> bytes:
    """Draws seeds 0 to 4 at seven strengths of the useful range, 0 among them, as a PNG file."""
    strengths = strengths_of(spec.min_strength, spec.max_strength)
    values = np.concatenate([_of_seed(sampler.latent, seed) for seed in range(ROWS)])
    moved = [sampler.moved(row, strength * vector) for row in values for strength in strengths]
    tiles = sampler.images(np.stack(moved))
    return images.encode(strip(f"direction({name}), seeds 0 to {ROWS - 1}", strengths, tiles), "png")


def file_of(name: str) -> str:
    """Names the file of a direction's picture."""
    return f"direction-{name}.png"


def strengths_of(low: float, high: float) -> list[float]:
    """Gives seven strengths from `low` to `high`; two of them below 0 where the range goes that far."""
    below = 0 if low == 0 else 2 if high > 0 else COLUMNS - 1
    above = COLUMNS - 1 - below
    return [
        *(low * (below - place) / below for place in range(below)),
        0.0,
        *(high * place / above for place in range(1, above + 1)),
    ]


def _of_seed(latent: LatentSpec, seed: int) -> Floats32:
    return latents.draw(seed, np.zeros(1, np.uint64), latent.dim, latent.prior)


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
