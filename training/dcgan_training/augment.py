"""What varies the images that a discriminator sees; each image's draws follow from (seed, its number in the run).

`flipped` mirrors data. `augmented` varies real images and fakes alike, differentiably: brightness, saturation,
contrast, a translation, a cut-out of half the side, in this order, or by the translation alone.

Source: Zhao, Liu, Lin, Zhu, Han, 2020, "Differentiable augmentation for data-efficient GAN training",
arXiv:2006.10738; strengths as in its section 4 and code: brightness +-0.25 of the range from black to white
(+-0.5 in images in [-1, 1]), saturation 0 to 2, contrast 0.5 to 1.5, shifts of an eighth of the side.
"""

from typing import Final, Literal

import numpy as np
import torch
from torch.nn import functional

from dcgan import latents
from dcgan_training.machine import placed

# Streams of draws, beside those of `dcgan.latents`: none ever shares its words with another.
REAL_STREAM: Final = 16
FAKE_STREAM: Final = 17
GENERATOR_STREAM: Final = 18  # of the fakes as the generator's step looks at them
FLIP_STREAM: Final = 19
_NOISE: Final = 8  # is added to a stream for the noise that goes with it

_DRAWS: Final = 7


def flipped(images: torch.Tensor, seed: int, first: int) -> torch.Tensor:
    """Mirrors every second image, (n, c, h, w), by the draws of images `first` and on."""
    mirrored = placed(torch.from_numpy(_uniform(seed, first, len(images), 1, FLIP_STREAM)[:, 0] < 0), images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def noise(images: torch.Tensor, low: float, deviation: float, seed: int, first: int, stream: int) -> torch.Tensor:
    """Adds normal noise to each value of images (n, c, h, w) in [low, 1].

    `deviation` is in halves of the range from black to white, so that it spoils images in [0, 1] as much as the same
    images in [-1, 1].
    """
    scaled = deviation * (1.0 - low) / 2
    names = np.arange(first, first + len(images), dtype=np.uint64)
    drawn = latents.draw(seed, names, images[0].numel(), "normal", stream=stream + _NOISE)
    return images + scaled * placed(torch.from_numpy(drawn), images.device).view_as(images)


def augmented(
    images: torch.Tensor, policy: Literal["translation", "all"], low: float, seed: int, first: int, stream: int
) -> torch.Tensor:
    """Varies images, differentiably.

    Args:
        images: float32 (n, c, h, w) in [low, 1].
        policy: what to vary. Translations are the same in both.
        low: the value of black.
        seed: of the run.
        first: the number in the run of the first image.
        stream: which family of draws.

    Returns:
        float32 (n, c, h, w); values may leave [low, 1].
    """
    draws = placed(torch.from_numpy(_uniform(seed, first, len(images), _DRAWS, stream)), images.device)
    brightness, saturation, contrast, down, right, top, left = draws.unbind(1)
    if policy == "translation":
        return _shifted(images, down, right)
    coloured = _coloured(images, low, brightness, saturation, contrast)
    return _cut_out(_shifted(coloured, down, right), top, left)


def _coloured(
    images: torch.Tensor, low: float, brightness: torch.Tensor, saturation: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    varied = images + _each(brightness) * (0.25 * (1.0 - low))
    if images.shape[1] > 1:
        grey = varied.mean(1, keepdim=True)
        varied = grey + (varied - grey) * (1.0 + _each(saturation))
    mean = varied.mean((1, 2, 3), keepdim=True)
    return mean + (varied - mean) * (1.0 + 0.5 * _each(contrast))


def _shifted(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Moves each image by up to an eighth of its side, whole pixels; what comes in from outside is 0."""
    n, _, side, _ = images.shape
    reach = max(1, side // 8)
    rows = _places(down, reach, side)
    columns = _places(right, reach, side)
    padded = functional.pad(images, (reach,) * 4)
    batch = torch.arange(n, device=images.device)[:, None, None]
    taken: torch.Tensor = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return taken.permute(0, 3, 1, 2)


def _places(shifts: torch.Tensor, reach: int, side: int) -> torch.Tensor:
    """Gives the padded rows that a shift in [-1, 1) takes, int64 (n, side)."""
    starts = ((shifts + 1.0) * 0.5 * (2 * reach + 1)).long().clamp_(0, 2 * reach)
    return starts[:, None] + torch.arange(side, device=shifts.device)


def _cut_out(images: torch.Tensor, top: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Sets a square of half the side to 0, its centre anywhere in the image."""
    side = images.shape[2]
    inside_rows = _within(top, side)[:, None, :, None]
    inside_columns = _within(left, side)[:, None, None, :]
    return images * ~(inside_rows & inside_columns)


def _within(centres: torch.Tensor, side: int) -> torch.Tensor:
    """Says which of `side` places lie less than a quarter of the side from centres in [-1, 1]; bool (n, side)."""
    places = torch.arange(side, device=centres.device)
    middle = (centres[:, None] + 1.0) * 0.5 * side
    return (places + 0.5 - middle).abs() < side / 4


def _uniform(seed: int, first: int, count: int, dim: int, stream: int) -> latents.Floats32:
    names = np.arange(first, first + count, dtype=np.uint64)
    return latents.draw(seed, names, dim, "uniform", stream=stream)


def _each(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
