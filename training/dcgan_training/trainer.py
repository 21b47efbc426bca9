"""One adversarial step and the state it changes: two networks, their optimizers and the average.

Everything random is handed in or follows from (seed, number of the image in the run), so the state after a step is a
function of the state before it, the real images and the latents. Nothing in a step waits for the device: the losses
pile up there until `read_losses` asks for them.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan import latents
from dcgan_training import augment, checkpoint
from dcgan_training.average import decay_per_step
from dcgan_training.config import Settings
from dcgan_training.data import positions
from dcgan_training.distributed import World
from dcgan_training.losses import losses, zero_centred
from dcgan_training.machine import Machine, placed
from dcgan_training.networks import build_discriminator, build_generator, channels_last, initialize, normalized


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over the steps since they were last read, and the gradients' norms in the last one."""

    discriminator: float  # in nats where the objective is a likelihood
    generator: float
    belief_real: float  # mean of sigmoid(logit) of real images: how likely the discriminator holds them to be real
    belief_fake: float  # the same of fakes; both 0.5 where neither side wins a minimax or non-saturating game
    gap: float  # mean logit of real images minus that of fakes
    norm_discriminator: float
    norm_generator: float


class Trainer:
    """The state of a run and the step that changes it."""

    def __init__(self, settings: Settings, machine: Machine, world: World | None = None) -> None:
        self.settings, self.machine, self.world = settings, machine, world or World()
        self.images = 0  # real images shown so far
        random = torch.Generator().manual_seed(settings.seed)
        self.generator, self.discriminator = build_generator(settings), build_discriminator(settings)
        for network in (self.generator, self.discriminator):
            initialize(network, random)
            network.to(machine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.world.prepare(network)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self._losses = losses(settings)
        self._generator_optimizer = self._adam(self.generator)
        self._discriminator_optimizer = self._adam(self.discriminator)
        self._decay = decay_per_step(settings.average_half_life_images, self.images_per_step)
        self._share = self.world.share(settings.batch_size, settings.packing)
        self._clear_losses()

    @property
    def images_per_step(self) -> int:
        """Real images shown in a step, by all processes together."""
        return self.settings.batch_size * self.settings.discriminator_steps

    def step(self, pixels: torch.Tensor, latents: torch.Tensor) -> None:
        """Trains the discriminator `discriminator_steps` times, then the generator once, on the last one's fakes.

        Args:
            pixels: real images, uint8 of shape (images_per_step, height, width, channels), on the CPU.
            latents: float32 of shape (images_per_step, latent_dim), on the CPU.
            Of both each process is given all, and takes its share.
        """
        batch = self.settings.batch_size
        self._set_learning_rate()
        for at in range(0, self.images_per_step, batch):
            part = slice(at + self._share.start, at + self._share.stop)
            last = at + batch == self.images_per_step
            first = self.images + part.start
            real, fake = self._real(pixels[part], first), self._fake(latents[part], keep_graph=last)
            self._train_discriminator(real, fake.detach(), first)
        self._train_generator(real, fake, first)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1.0 - self._decay)
        self.images += self.images_per_step

    def read_losses(self) -> Losses:
        """Gives the means since the last reading; this waits for the device."""
        sums, steps = self.world.mean(self._sums).tolist(), max(1, self._steps)
        per_discriminator_step = steps * self.settings.discriminator_steps
        discriminator, belief_real, belief_fake, gap = (value / per_discriminator_step for value in sums[:4])
        norms = [_gradient_norm(network) for network in (self.discriminator, self.generator)]
        self._clear_losses()
        return Losses(discriminator, sums[4] / steps, belief_real, belief_fake, gap, *norms)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        return {
            "images": self.images,
            "settings": asdict(self.settings),
            "machine": asdict(self.machine),
            "sums": self._sums,
            "steps": self._steps,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes up a state that `state` gave; raises RunError where it is of other networks."""
        for name, part in self._parts().items():
            checkpoint.fill(part, state, name)
        self.images = state["images"]
        self._sums, self._steps = state["sums"].to(self.machine.device, copy=True), state["steps"]

    def _train_discriminator(self, real: torch.Tensor, fake: torch.Tensor, first: int) -> None:
        settings = self.settings
        seen_real = self._seen(real, first, augment.REAL_STREAM)
        seen_fake = self._seen(fake, first, augment.FAKE_STREAM)
        if settings.penalty > 0:
            seen_real, seen_fake = (seen.detach().requires_grad_() for seen in (seen_real, seen_fake))
        logits_real, logits_fake = self._judged(seen_real), self._judged(seen_fake)
        loss = objective = self._losses.discriminator(logits_real, logits_fake)
        if settings.penalty > 0:
            penalties = zero_centred(logits_real, seen_real) + zero_centred(logits_fake, seen_fake)
            loss = objective + settings.penalty * penalties
        self._descend(loss, self.discriminator, self._discriminator_optimizer)
        with torch.no_grad():
            beliefs = logits_real.sigmoid().mean(), logits_fake.sigmoid().mean()
            self._sums[:4] += torch.stack([objective, *beliefs, logits_real.mean() - logits_fake.mean()])

    def _train_generator(self, real: torch.Tensor, fake: torch.Tensor, first: int) -> None:
        self.discriminator.requires_grad_(False)  # spares the gradients that this half wouldn't use
        logits = self._judged(self._seen(fake, first, augment.GENERATOR_STREAM))
        logits_real = self._judged(self._seen(real, first, augment.REAL_STREAM)) if self._losses.pairs else logits
        loss = self._losses.generator(logits_real, logits)
        self._descend(loss, self.generator, self._generator_optimizer)
        self.discriminator.requires_grad_(True)
        self._sums[4] += loss.detach()
        self._steps += 1

    def _set_learning_rate(self) -> None:
        for optimizer in (self._generator_optimizer, self._discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.settings.learning_rate_at(self.images)

    def _descend(self, loss: torch.Tensor, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.world.average_gradients(network)
        optimizer.step()

    def _real(self, pixels: torch.Tensor, first: int) -> torch.Tensor:
        """Brings uint8 NHWC to float32 NCHW in the generator's range, on the device, mirrored where that is set."""
        images = normalized(placed(pixels, self.machine.device), self.generator.low)
        if self.settings.flip:
            images = augment.flipped(images, self.settings.seed, first)
        return channels_last(images)

    def _fake(self, latents: torch.Tensor, keep_graph: bool) -> torch.Tensor:
        with torch.set_grad_enabled(keep_graph), self._mixed_precision():
            drawn: torch.Tensor = self.generator(placed(latents, self.machine.device))
        return drawn

    def _judged(self, images: torch.Tensor) -> torch.Tensor:
        with self._mixed_precision():
            logits: torch.Tensor = self.discriminator(images).float()
        return logits

    def _seen(self, images: torch.Tensor, first: int, stream: int) -> torch.Tensor:
        """Gives what the discriminator sees of images: the same, or augmented, or with noise."""
        settings, given = self.settings, images
        if settings.augment != "none":
            images = augment.augmented(images, settings.augment, self.generator.low, settings.seed, first, stream)
        if settings.instance_noise > 0:
            images = augment.noise(images, self.generator.low, settings.instance_noise, settings.seed, first, stream)
        return images if images is given else channels_last(images)

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
        betas = float(settings.beta1), float(settings.beta2)  # torch refuses a whole 0
        return torch.optim.Adam(network.parameters(), settings.learning_rate, betas=betas, fused=True)

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(
            torch.device(self.machine.device).type, torch.bfloat16, enabled=self.machine.precision == "bfloat16"
        )

    def _clear_losses(self) -> None:
        self._sums = torch.zeros(5, device=self.machine.device)
        self._steps = 0


def batch_of(
    settings: Settings, pixels: NDArray[np.uint8], rows: NDArray[np.int64], first: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives what a step is taken with: a function of the seed and of how many images were shown before.

    Args:
        settings: of the run.
        pixels: of the whole data set, uint8 (n, size, size, channels).
        rows: places of the images that are trained on.
        first: images shown before.
        count: images wanted.

    Returns:
        Real images, uint8 (count, size, size, channels), and latents, float32 (count, latent_dim).
    """
    shown = rows[positions(settings.seed, first, count, len(rows))]
    names = np.arange(first, first + count, dtype=np.uint64)
    values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior, stream=latents.TRAINING_STREAM)
    return torch.from_numpy(pixels[shown]), torch.from_numpy(values)


def _gradient_norm(network: torch.nn.Module) -> float:
    """The Euclidean norm over all gradients of the last step, which lie there until the next; 0 before any."""
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
