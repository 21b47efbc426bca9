"""One adversarial step and the state it changes: two networks, their optimizers and the average.

Everything random is handed in, so the state after a step is a function of the state before it, the real images and
the latents. Nothing in a step waits for the device: the losses pile up there until `read_losses` asks for them.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dcgan_training.average import decay_per_step
from dcgan_training.config import Settings
from dcgan_training.losses import discriminator_loss, generator_loss
from dcgan_training.machine import Machine
from dcgan_training.networks import Discriminator, Generator, channels_last, initialize, signed


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over the steps since they were last read; losses in nats, beliefs as probabilities."""

    discriminator: float
    generator: float
    belief_real: float  # how likely the discriminator holds real images to be real
    belief_fake: float  # the same for fakes; both 0.5 where neither side wins
    gap: float = 0.0  # mean logit of real images minus that of fakes
    norm_discriminator: float = 0.0  # of its gradient, in the last step
    norm_generator: float = 0.0


class Trainer:
    """The state of a run and the step that changes it."""

    def __init__(self, settings: Settings, machine: Machine) -> None:
        self.settings, self.machine = settings, machine
        self.images = 0  # real images shown so far
        random = torch.Generator().manual_seed(settings.seed)
        self.generator = Generator(settings.size, settings.channels, settings.width, settings.latent_dim)
        self.discriminator = Discriminator(settings.size, settings.channels, settings.width)
        for network in (self.generator, self.discriminator):
            initialize(network, random)
            network.to(machine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self._generator_optimizer = self._adam(self.generator)
        self._discriminator_optimizer = self._adam(self.discriminator)
        self._decay = decay_per_step(settings.average_half_life_images, settings.batch_size)
        self._clear_losses()

    def step(self, pixels: torch.Tensor, latents: torch.Tensor) -> None:
        """Trains the discriminator, then the generator, on one batch; both use the same fakes.

        Args:
            pixels: real images, uint8 of shape (batch, height, width, channels), on the CPU.
            latents: float32 of shape (batch, latent_dim), on the CPU.
        """
        real = self._normalized(pixels)
        with self._mixed_precision():
            fake = self.generator(latents.to(self.machine.device, non_blocking=True))
            logits_real = self.discriminator(real).float()
            logits_fake = self.discriminator(fake.detach()).float()
        loss_discriminator = discriminator_loss(logits_real, logits_fake)
        self._discriminator_optimizer.zero_grad()
        torch.autograd.backward(loss_discriminator)
        self._discriminator_optimizer.step()

        self.discriminator.requires_grad_(False)  # spares the gradients that this half wouldn't use
        with self._mixed_precision():
            logits = self.discriminator(fake).float()
        loss_generator = generator_loss(logits)
        self._generator_optimizer.zero_grad()
        torch.autograd.backward(loss_generator)
        self._generator_optimizer.step()
        self.discriminator.requires_grad_(True)

        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1.0 - self._decay)
            beliefs = logits_real.sigmoid().mean(), logits_fake.sigmoid().mean()
            self._loss_sums += torch.stack([loss_discriminator, loss_generator, *beliefs])
        self._loss_steps += 1
        self.images += len(pixels)

    def read_losses(self) -> Losses:
        """Gives the means since the last reading; this waits for the device."""
        means = (self._loss_sums / max(1, self._loss_steps)).tolist()
        self._clear_losses()
        return Losses(*means)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        return {
            "images": self.images,
            "settings": asdict(self.settings),
            "machine": asdict(self.machine),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes up a state that `state` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.images = state["images"]

    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }

    def _adam(self, network: torch.nn.Module) -> torch.optim.Adam:
        settings = self.settings
        return torch.optim.Adam(network.parameters(), settings.learning_rate, betas=(settings.beta1, 0.999), fused=True)

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(
            torch.device(self.machine.device).type, torch.bfloat16, enabled=self.machine.precision == "bfloat16"
        )

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turns uint8 NHWC into float32 NCHW in [-1, 1], on the device."""
        return channels_last(signed(pixels.to(self.machine.device, non_blocking=True)))

    def _clear_losses(self) -> None:
        self._loss_sums = torch.zeros(4, device=self.machine.device)
        self._loss_steps = 0
