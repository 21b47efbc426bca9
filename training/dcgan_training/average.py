"""The averaged generator: what is shown, exported and served instead of the one being trained.

Its parameters are an exponential moving average over the run. The statistics of its batch norms can't be averaged
along: they are recomputed from what the average itself draws, each time it is used.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan import latents
from dcgan_training.config import Settings
from dcgan_training.networks import Generator

_CALIBRATION_BATCHES = 64


def decay_per_step(half_life_images: int, batch_size: int) -> float:
    """The weight that the past keeps in one step, so that an image counts half after `half_life_images`."""
    return float(0.5 ** (batch_size / half_life_images))


@torch.no_grad()
def calibrated(average: Generator, settings: Settings) -> Generator:
    """Copies the average, with batch-norm statistics of its own: the mean over 64 batches of training latents.

    Returns:
        A generator in eval mode, float32, on the device of `average`.
    """
    twin = copy.deepcopy(average).train()
    for norm in twin.norms:
        assert isinstance(norm, torch.nn.BatchNorm2d)
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    size = settings.batch_size
    for first in range(0, _CALIBRATION_BATCHES * size, size):
        names = np.arange(first, first + size, dtype=np.uint64)
        values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior, stream=latents.TRAINING_STREAM)
        twin(torch.from_numpy(values).to(twin.project.weight.device))
    return twin.eval()


@torch.no_grad()
def draw(generator: Generator, values: NDArray[np.float32], batch_size: int = 100) -> NDArray[np.uint8]:
    """Draws images from latents, rounded as the exported graph rounds them.

    Args:
        generator: in eval mode.
        values: latents, float32 of shape (n, latent_dim).
        batch_size: images drawn at a time.

    Returns:
        uint8 of shape (n, size, size, channels).
    """
    return np.concatenate([to_uint8(generator(part)).cpu().numpy() for part in _parts(generator, values, batch_size)])


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Turns images in [-1, 1] of shape (n, c, h, w) into uint8 of shape (n, h, w, c), rounding half to even."""
    return ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)


def _parts(generator: Generator, values: NDArray[np.float32], batch_size: int) -> Iterator[torch.Tensor]:
    device = generator.project.weight.device
    for first in range(0, len(values), batch_size):
        yield torch.from_numpy(values[first : first + batch_size]).to(device)
