"""What all generators and discriminators have in common: what others need to know of one without knowing which.

A network says what its images are (`low`), draws its first weights from a generator that it is handed, and is
float32 or bfloat16 NCHW, laid out channels-last.
"""

from typing import Final

import torch
from torch import nn

from dcgan_training.networks.pixels import SIGNED, channels_last
from dcgan_training.networks.spectral import start_spectral_norms
from dcgan_training.values import SIZES

LEAK: Final = 0.2  # slope of LeakyReLU below zero, in every convolutional network
_WEIGHT_DEVIATION: Final = 0.02


class _Network(nn.Module):
    """Attributes: low: what black is in its images, which are in [low, 1]."""

    def __init__(self, size: int, channels: int, low: float = SIGNED) -> None:
        super().__init__()
        self.size, self.channels, self.low = size, channels, low

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights from N(0, 0.02), scales of batch norm from N(1, 0.02), and clears every offset.

        Source: arXiv:1511.06434, section 4; the scales as in its authors' code.
        """
        for name, value in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(value)
            else:
                nn.init.normal_(value, 1.0 if "norms" in name else 0.0, _WEIGHT_DEVIATION, generator=random)


class Generator(_Network):
    """Latents, float32 (n, latent_dim), to images (n, channels, size, size)."""

    def __init__(self, size: int, channels: int, latent_dim: int, low: float = SIGNED) -> None:
        super().__init__(size, channels, low)
        self.latent_dim = latent_dim


class Discriminator(_Network):
    """Images (n, channels, size, size) to logits, positive for real: one for each pack of `packing` images.

    Real and fake images go through in batches of their own: batch norm and minibatch discrimination mix what is in
    one batch.

    Source of packing: Lin, Khetan, Fanti, Oh, 2018, arXiv:1712.04086.
    """

    def __init__(self, size: int, channels: int, packing: int = 1, low: float = SIGNED) -> None:
        super().__init__(size, channels, low)
        self.packing = packing

    @property
    def judges_alone(self) -> bool:
        """Whether one image by itself has a logit, which others beside it don't change once it is trained."""
        return self.packing == 1

    def packed(self, images: torch.Tensor) -> torch.Tensor:
        """Stacks each `packing` consecutive images along their channels: (n / packing, packing * channels, h, w).

        Raises:
            ValueError: n is no multiple of `packing`.
        """
        if self.packing == 1:
            return images
        n, _, height, width = images.shape
        if n % self.packing:
            raise ValueError(f"{n} images can't be judged {self.packing} at a time")
        return channels_last(images.reshape(n // self.packing, -1, height, width))


def initialize(network: Generator | Discriminator, random: torch.Generator) -> None:
    """Draws the weights that a network begins with: a function of its shape and `random` alone."""
    network.draw_weights(random)
    start_spectral_norms(network, random)


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Gives a network's batch norms, in the order that images go through them; some networks have none."""
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]


def levels(size: int) -> tuple[int, int]:
    """Splits a size into the side of the first feature map (4 or 7) and the number of doublings after it."""
    for base in (4, 7):
        doublings = (size // base).bit_length() - 1
        if size in SIZES and base << doublings == size:
            return base, doublings
    raise ValueError(f"size {size} is none of {SIZES}")
