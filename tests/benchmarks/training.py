"""Training beside the loop that tutorials write: networks of the same layers, the same images, in turns in one run.

The tutorials' loop opens an image file for each sample with PIL, turns it into floats by itself, stacks a batch and
trains in float32 and torch's own layout with three optimizer calls, a loss that is read at every step, and no average.
Ours takes what `dcgan-train train` takes. What is compared is images/s of whole loops, data included. Both run in this
process.

    python tests/benchmarks/training.py --data ../shared/data/fashion-mnist [--size 28] [--width 32] [--rounds 5]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from dcgan import images
from dcgan_training import recipes
from dcgan_training.choices import chosen
from dcgan_training.config import Settings
from dcgan_training.data import load, positions
from dcgan_training.machine import Machine, keep_freed_memory
from dcgan_training.networks.base import LEAK, levels
from dcgan_training.trainer import Trainer, batch_of

FILES = 4000  # images on the disk for the tutorials' loop; the page cache holds them


def plain_networks(settings: Settings) -> tuple[nn.Sequential, nn.Sequential]:
    """Writes generator and discriminator of the recipe as tutorials do: one layer after the other, latents as 1x1 maps.

    Layers, parameters and what they compute are those of `networks.convolutional`; where the memory lies is not.
    """
    base, doublings = levels(settings.size)
    wide = [settings.width << k for k in reversed(range(doublings))]
    drawing: list[nn.Module] = [
        nn.Unflatten(1, (settings.latent_dim, 1, 1)),
        nn.ConvTranspose2d(settings.latent_dim, wide[0], base, bias=False),
    ]
    for above, below in pairwise(wide):
        drawing += [nn.BatchNorm2d(above), nn.ReLU(inplace=True), nn.ConvTranspose2d(above, below, 4, 2, 1, bias=False)]
    last = nn.ConvTranspose2d(wide[-1], settings.channels, 4, 2, 1)
    drawing += [nn.BatchNorm2d(wide[-1]), nn.ReLU(inplace=True), last, nn.Tanh()]
    judging = [nn.Conv2d(settings.channels, settings.width, 4, 2, 1), nn.LeakyReLU(LEAK, inplace=True)]
    sides = [4] * (doublings - 1) + ([3] if base == 7 else [])
    for k, side in enumerate(sides):
        maps = settings.width << (k + 1)
        convolution = nn.Conv2d(maps // 2, maps, side, 2, 1, bias=False)
        judging += [convolution, nn.BatchNorm2d(maps), nn.LeakyReLU(LEAK, inplace=True)]
    judging += [nn.Conv2d(settings.width << len(sides), 1, 4), nn.Flatten(0)]
    return nn.Sequential(*drawing), nn.Sequential(*judging)


def parameters(network: nn.Module) -> int:
    """Counts what is trained."""
    return sum(value.numel() for value in network.parameters())


def draw_weights(layer: nn.Module) -> None:
    """Begins as the paper does."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


class Tutorial:
    """The loop of a tutorial: one file a sample, transforms one by one, float32."""

    def __init__(self, settings: Settings, folder: Path, device: str) -> None:
        self.settings, self.device = settings, device
        self.files = sorted(folder.iterdir())
        self.generator, self.discriminator = plain_networks(settings)
        for network in (self.generator, self.discriminator):
            network.apply(draw_weights).to(device)
        rates = {"lr": settings.learning_rate, "betas": (settings.beta1, settings.beta2)}
        self.of_generator = torch.optim.Adam(self.generator.parameters(), **rates)
        self.of_discriminator = torch.optim.Adam(self.discriminator.parameters(), **rates)
        self.criterion = nn.BCEWithLogitsLoss()
        self.seen = 0

    def sample(self, file: Path) -> torch.Tensor:
        """Reads one image as float32 (channels, size, size) in [-1, 1]."""
        with Image.open(file) as image:
            side = self.settings.size, self.settings.size
            pixels = np.asarray(image.resize(side, Image.Resampling.BILINEAR), np.float32).reshape(*side, -1)
        return (torch.from_numpy(pixels).permute(2, 0, 1) / 255.0 - 0.5) / 0.5

    def step(self) -> int:
        """Takes one step; gives the images it showed."""
        count = self.settings.batch_size
        order = positions(0, self.seen, count, len(self.files))
        real = torch.stack([self.sample(self.files[place]) for place in order]).to(self.device)
        ones, zeros = torch.ones(count, device=self.device), torch.zeros(count, device=self.device)
        self.discriminator.zero_grad()
        loss_real = self.criterion(self.discriminator(real), ones)
        loss_real.backward()
        fake = self.generator(torch.randn(count, self.settings.latent_dim, device=self.device))
        loss_fake = self.criterion(self.discriminator(fake.detach()), zeros)
        loss_fake.backward()
        self.of_discriminator.step()
        self.generator.zero_grad()
        loss_generator = self.criterion(self.discriminator(fake), ones)
        loss_generator.backward()
        self.of_generator.step()
        (loss_real + loss_fake).item(), loss_generator.item()  # as tutorials print them
        self.seen += count
        return count


class Ours:
    """The loop of `dcgan-train`."""

    def __init__(self, settings: Settings, machine: Machine, pixels: np.ndarray) -> None:
        self.trainer, self.pixels, self.rows = Trainer(settings, machine), pixels, np.arange(len(pixels))

    def step(self) -> int:
        """Takes one step; gives the images it showed."""
        trainer = self.trainer
        trainer.step(*batch_of(trainer.settings, self.pixels, self.rows, trainer.images, trainer.images_per_step))
        return trainer.images_per_step


def speed(step: Callable[[], int], seconds: float, device: str) -> float:
    """Measures images/s over some seconds, after a warm-up."""
    for _ in range(3):
        step()
    wait(device)
    shown, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        shown += step()
    wait(device)
    return shown / (time.perf_counter() - began)


def wait(device: str) -> None:
    """Waits for what a GPU still has to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Prints each round and the median of the ratios."""
    options = parsed()
    machine = Machine.choose(options.device, "auto", options.threads)
    data = load(options.data, options.size)
    recipe = chosen(recipes.DEFAULT, [], width=options.width)
    facts = {"data": "", "data_digest": data.digest, "data_count": len(data), "seed": 1}
    settings = Settings.of(recipe, **facts, size=data.size, channels=data.channels)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in range(min(FILES, len(data))):
            (folder / f"{place:05}.png").write_bytes(images.encode(data.images[place], "png"))
        theirs, mine = Tutorial(settings, folder, machine.device), Ours(settings, machine, data.images)
        for name in ("generator", "discriminator"):
            plain, own = getattr(theirs, name), getattr(mine.trainer, name)
            assert parameters(plain) == parameters(own), f"not the same {name}s"
        ratios = []
        for _ in range(options.rounds):
            pair = (
                speed(theirs.step, options.seconds, machine.device),
                speed(mine.step, options.seconds, machine.device),
            )
            ratios.append(pair[1] / pair[0])
            print(f"tutorial {pair[0]:,.0f} images/s, dcgan-train {pair[1]:,.0f} images/s: {ratios[-1]:.2f} times")
    print(
        f"{machine.device} {machine.precision}, {machine.threads} threads, {data.size}x{data.size}x{data.channels}, "
        f"width {options.width}: median {statistics.median(ratios):.2f} times, {min(ratios):.2f} to {max(ratios):.2f}"
    )


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
