"""The training of an encoder around a frozen generator.

Half of each batch the generator drew itself, so its latents are known and the encoder is to find them; half is data,
where only the image that comes out can be compared. Gradients flow through the generator and through both passes.
Every batch is a function of (seed, step), and so on one CPU is the encoder.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan import latents
from dcgan_training.data import positions
from dcgan_training.encoder_network import Encoder, initialize
from dcgan_training.frozen import FrozenGenerator, Weights
from dcgan_training.machine import Machine, gpu_memory_checked, keep_freed_memory, placed
from dcgan_training.networks import channels_last, signed

BATCH_SIZE: Final = 128
_RATE: Final = 2e-3
_LATENT_WEIGHT: Final = 0.02  # of the latents' squared error beside the images'
_LINE_EVERY_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What decides an encoder, beside the generator and the data.

    Attributes:
        images: to show, generated and real together.
        width: channels of the first convolution.
        seed: of the weights, the latents and the order of the data; uint64.
    """

    images: int
    width: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches, the last one whole."""
        return math.ceil(self.images / BATCH_SIZE)


@dataclass(frozen=True, slots=True)
class Reading:
    """Means over the steps since the last reading.

    Attributes:
        images: shown so far.
        images_per_s: since the last reading.
        generated, real: mean squared errors in [-1, 1] of what the latents of the second pass draw.
        latents: mean squared error of the generated images' latents.
    """

    images: int
    images_per_s: float
    generated: float
    real: float
    latents: float


@gpu_memory_checked()
def train(
    weights: Weights,
    prior: latents.Prior,
    data: NDArray[np.uint8],
    plan: Plan,
    machine: Machine,
    report: Callable[[Reading], None],
) -> Encoder:
    """Trains an encoder to its end; about every 30 s, and at the end, it reports.

    Args:
        weights: of the generator.
        prior: of its latents.
        data: real images, uint8 (n, height, width, channels), of the generator's shape.
        plan: what to train.
        machine: where.
        report: is called with what a person wants to see.

    Returns:
        The encoder on the CPU, in float32.

    Raises:
        DeviceError: the GPU has too little memory.
    """
    keep_freed_memory()
    trainer = _Trainer(weights, prior, plan, machine)
    half = BATCH_SIZE // 2
    sums, shown, then = torch.zeros(3, device=machine.device), 0, time.monotonic()
    for step in range(plan.steps):
        first = step * half
        names = np.arange(first, first + half, dtype=np.uint64)
        values = latents.draw(plan.seed, names, weights.dim, prior, stream=latents.TRAINING_STREAM)
        real = data[positions(plan.seed, first, half, len(data))]
        sums += trainer.step(torch.from_numpy(values), torch.from_numpy(real))
        now, images = time.monotonic(), (step + 1) * BATCH_SIZE
        if now - then >= _LINE_EVERY_S or step + 1 == plan.steps:
            means = (sums * BATCH_SIZE / (images - shown)).tolist()
            report(Reading(images, (images - shown) / max(now - then, 1e-9), *means))
            shown, then = images, now
            sums.zero_()
    return trainer.encoder.cpu().float()


class _Trainer:
    """The encoder, the generator it is trained around, and its optimizer."""

    def __init__(self, weights: Weights, prior: latents.Prior, plan: Plan, machine: Machine) -> None:
        self._machine = machine
        self.encoder = Encoder(weights, prior, plan.width)
        initialize(self.encoder, torch.Generator().manual_seed(plan.seed))
        self._generator = FrozenGenerator(weights).to(machine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.encoder.to(machine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.Adam(self.encoder.parameters(), _RATE, fused=True)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, plan.steps)

    def step(self, values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Makes one step on latents (half, dim) and real images uint8 (half, h, w, c).

        Returns:
            The errors of the second pass: generated images, real images, latents; on the device.
        """
        known, half = placed(values, self._machine.device), len(values)
        with self._mixed_precision():
            with torch.no_grad():
                generated = self._generator(known).float()
            images = channels_last(torch.cat([generated, self._normalized(real)]))
            passes = self.encoder.encode(self._generator, images)
            drawn = passes.drawn.float(), self._generator(passes.second).float()
        of_images = [(one - images).square().mean((1, 2, 3)) for one in drawn]
        of_latents = [(one[:half].float() - known).square().mean() for one in (passes.first, passes.second)]
        loss = torch.stack([errors.mean() for errors in of_images]).mean()
        loss = loss + _LATENT_WEIGHT * torch.stack(of_latents).mean()
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._schedule.step()
        return torch.stack([of_images[1][:half].mean(), of_images[1][half:].mean(), of_latents[1]]).detach()

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(
            torch.device(self._machine.device).type, torch.bfloat16, enabled=self._machine.precision == "bfloat16"
        )

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        return signed(placed(pixels, self._machine.device))
