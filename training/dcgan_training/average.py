"""The averaged generator: what is shown, exported and served instead of the one being trained.

Its parameters are an exponential moving average over the run. The statistics of its batch norms can't be averaged
along: they are recomputed from what the average itself draws, each time it is used.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan import latents
from dcgan_training.batches import batches
from dcgan_training.config import Settings
from dcgan_training.networks import Generator, batch_norms, to_uint8

_CALIBRATION_BATCHES = 64


def decay_per_step(half_life_images: int, batch_size: int) -> float:
    """The weight that the past keeps in one step, so that an image counts half after `half_life_images`."""
    return float(0.5 ** (batch_size / half_life_images))


@torch.no_grad()
def calibrated(average: Generator, settings: Settings, batch_count: int = _CALIBRATION_BATCHES) -> Generator:
    """Copies the average, with batch-norm statistics of its own: the mean over some batches of training latents.

    A network without batch norm is copied as it is. 64 batches are for what is shown and exported.

    Returns:
        A generator in eval mode, float32, on the device of `average`.
    """
    twin = copy.deepcopy(average).train()
    norms = batch_norms(twin)
    if not norms:
        return twin.eval()
    for norm in norms:
        norm.__class__ = torch.nn.BatchNorm2d  # a copy is one process's own: it must not wait for the others
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    size = settings.batch_size
    for first in range(0, batch_count * size, size):
        names = np.arange(first, first + size, dtype=np.uint64)
        values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior, stream=latents.TRAINING_STREAM)
        twin(torch.from_numpy(values).to(twin.device))
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
    drawn = (generator(torch.from_numpy(batch).to(generator.device)) for batch in batches(values, batch_size))
    return np.concatenate([to_uint8(images, generator.low).cpu().numpy() for images in drawn])
