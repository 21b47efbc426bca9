"""How fast a recipe trains here: a few real steps on real images, timed. Imports torch."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan_training.config import Recipe, Settings
from dcgan_training.machine import Machine, gpu_memory_checked, keep_freed_memory
from dcgan_training.trainer import Trainer, batch_of

_MEASURED_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Images/s of a recipe, and on what machine."""

    images_per_s: float
    machine: Machine


@gpu_memory_checked()
def measured(recipe: Recipe, images: NDArray[np.uint8], machine: Machine) -> Speed:
    """Trains for some three seconds, or two steps where they take longer.

    Args:
        recipe: to train by.
        images: uint8 of shape (n, size, size, channels); are shown again and again.
        machine: where.

    Raises:
        DeviceError: the GPU has too little memory.
    """
    keep_freed_memory()
    size, channels = images.shape[2:]
    facts = {"data": "", "data_digest": "", "data_count": len(images), "size": size, "channels": channels, "seed": 0}
    trainer, rows = Trainer(Settings.of(recipe, **facts), machine), np.arange(len(images))

    def step() -> None:
        trainer.step(*batch_of(trainer.settings, images, rows, trainer.images, trainer.images_per_step))

    step()  # the first one also chooses kernels and takes memory
    trainer.read_losses()  # waits for the device
    begun, before = time.monotonic(), trainer.images
    while time.monotonic() < begun + _MEASURED_S:
        step()
    trainer.read_losses()
    return Speed((trainer.images - before) / (time.monotonic() - begun), machine)
