"""Takes a few steps of a tiny run in every process that torchrun started, and saves what came of them.

In float64 the networks' rounding can't tip a ReLU over its kink, which in float32 happens to one in a million.

python -m torch.distributed.run --standalone --nproc-per-node N steps.py FILE float32|float64 SETTING=VALUE...
"""

import sys
from pathlib import Path

import numpy as np
import torch

from dcgan import latents
from dcgan_training import recipes
from dcgan_training.choices import chosen
from dcgan_training.config import Settings
from dcgan_training.data import load
from dcgan_training.distributed import joined
from dcgan_training.machine import Machine
from dcgan_training.trainer import Trainer

IMAGES = load(Path(__file__).parents[1] / "data" / "fashion-mnist-subset").images
STEPS = 20
FACTS = {"data": "", "data_digest": "", "data_count": 400, "size": 28, "channels": 1, "seed": 1}


def main(file: str, dtype: str, *texts: str) -> None:
    """Saves the gradients of the first step, the losses of each, and the weights after the last."""
    machine = Machine.choose("cpu", "float32", 1)
    settings = Settings.of(chosen(recipes.DEFAULT, list(texts), width=4), **FACTS)
    with joined("cpu") as world:
        trainer = Trainer(settings, machine, world)
        if dtype == "float64":
            for network in (trainer.average, *networks(trainer)):
                network.double().register_forward_pre_hook(lambda _, given: tuple(value.double() for value in given))
        gradients: list[torch.Tensor] = []
        losses = []
        for step in range(STEPS):
            trainer.step(*batch(settings, step))
            if step == 0:
                gradients = [value.grad.clone() for network in networks(trainer) for value in network.parameters()]
            losses.append(trainer.read_losses())
        if world.rank == 0:
            weights = [value.detach() for network in networks(trainer) for value in network.state_dict().values()]
            table = torch.tensor([[each.discriminator, each.generator, each.gap] for each in losses])
            torch.save({"gradients": gradients, "losses": table, "weights": weights}, file)


def networks(trainer: Trainer) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Gives both networks of a trainer."""
    return trainer.generator, trainer.discriminator


def batch(settings: Settings, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives images and latents of a step."""
    count = settings.batch_size * settings.discriminator_steps
    names = list(range(step * count, (step + 1) * count))
    values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior)
    return torch.from_numpy(np.resize(IMAGES, (STEPS * count, *IMAGES.shape[1:]))[names]), torch.from_numpy(values)


if __name__ == "__main__":
    main(*sys.argv[1:])
