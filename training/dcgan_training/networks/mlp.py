"""The fully connected networks of the first GAN tutorials: one hidden layer on either side, no normalisation.

At 28 px grey, width 128 and latents of 100 the generator has 114,064 parameters, the discriminator 100,609. Images
are seen as rows in the order (height, width, channel), which is their order in memory.
"""

from typing import Final

import torch
from torch import nn

from dcgan_training.networks.base import Discriminator, Generator
from dcgan_training.networks.pixels import channels_last
from dcgan_training.networks.spectral import normalize_layers

LEAK: Final = 0.01  # slope of LeakyReLU below zero, torch's own default


class MlpGenerator(Generator):
    """Latents to images in [-1, 1].

    z                      (n, latent_dim)
    linear, LeakyReLU 0.01 (n, width)
    linear, tanh           (n, size * size * channels), seen as (n, channels, size, size)
    """

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        super().__init__(size, channels, latent_dim)
        self.hidden = nn.Linear(latent_dim, width)
        self.to_image = nn.Linear(width, size * size * channels)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Draws images in [-1, 1], shape (n, channels, size, size), from latents of shape (n, latent_dim)."""
        rows = torch.tanh(self.to_image(nn.functional.leaky_relu(self.hidden(latents), LEAK)))
        return channels_last(rows.view(-1, self.size, self.size, self.channels).permute(0, 3, 1, 2))

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights and offsets as tutorials do, who leave it to torch."""
        draw_as_torch(self, random)


class MlpDiscriminator(Discriminator):
    """Images to a logit for each pack of them.

    x                      (n, channels, size, size), packed and seen as (n / packing, size * size * packing * channels)
    linear, LeakyReLU 0.01 (n / packing, width)
    linear                 (n / packing,)
    """

    def __init__(self, size: int, channels: int, width: int, *, packing: int = 1, spectral_norm: bool = False) -> None:
        super().__init__(size, channels, packing)
        self.hidden = nn.Linear(packing * size * size * channels, width)
        self.judge = nn.Linear(width, 1)
        if spectral_norm:
            normalize_layers(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Judges images in [-1, 1], shape (n, channels, size, size); gives logits of shape (n / packing,)."""
        rows = self.packed(images).permute(0, 2, 3, 1).flatten(1)
        logits: torch.Tensor = self.judge(nn.functional.leaky_relu(self.hidden(rows), LEAK))
        return logits.squeeze(1)

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights and offsets as tutorials do, who leave it to torch."""
        draw_as_torch(self, random)


@torch.no_grad()
def draw_as_torch(network: nn.Module, random: torch.Generator) -> None:
    """Draws weights and offsets of linear layers from U(-a, a) with a = 1 / sqrt(inputs), as `nn.Linear` does."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for value in layer.parameters():
                value.uniform_(-bound, bound, generator=random)
