"""Generator and discriminator of the DCGAN at any size 4*2^k or 7*2^k from 8 to 128, and of the Keras books.

`width` is the number of channels of the largest hidden feature map; they double with each halving of its side.
At 28 px and width 32 the DCGAN's generator goes 7x7x64 -> 14x14x32 -> 28x28, at 64 px and width 128 it is the paper's:
4x4x1024 -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64. The discriminator is its mirror; from 7x7 it goes on to 4x4.

The seam between a linear layer and a feature map is ordered (height, width, channel), so that channels-last needs no
copy there: together with channels-last this made a step 15 % faster on a CPU.

Source: Radford, Metz, Chintala, 2016, arXiv:1511.06434, section 3.
"""

from itertools import pairwise
from typing import Final

import torch
from torch import nn

from dcgan_training.networks.base import LEAK, Discriminator, Generator, levels
from dcgan_training.networks.grey import FromImage, ToImage
from dcgan_training.networks.minibatch import MinibatchDiscrimination
from dcgan_training.networks.pixels import SIGNED, channels_last
from dcgan_training.networks.spectral import normalize_layers

UNSIGNED: Final = 0.0  # what black is for a sigmoid


class _Deconvolutional(Generator):
    """A projection and transposed convolutions 4x4 stride 2, each with batch norm and ReLU."""

    def __init__(self, size: int, channels: int, wide: list[int], latent_dim: int, low: float) -> None:
        super().__init__(size, channels, latent_dim, low)
        self.base, _ = levels(size)
        self.project = nn.Linear(latent_dim, self.base * self.base * wide[0], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(maps) for maps in wide)
        self.deconvolutions = nn.ModuleList(
            nn.ConvTranspose2d(above, below, 4, stride=2, padding=1, bias=False) for above, below in pairwise(wide)
        )

    def _last_maps(self, latents: torch.Tensor) -> torch.Tensor:
        maps = self.project(latents).view(len(latents), self.base, self.base, -1).permute(0, 3, 1, 2)
        maps = torch.relu_(self.norms[0](maps))
        for deconvolution, norm in zip(self.deconvolutions, self.norms[1:], strict=True):
            maps = torch.relu_(norm(deconvolution(maps)))
        return maps


class DcganGenerator(_Deconvolutional):
    """Latents to images in [-1, 1].

    z                      (n, latent_dim)
    project                (n, base * base * width * 2^(k-1)), seen as (n, width * 2^(k-1), base, base)
    batch norm, ReLU
    k - 1 times: transposed convolution 4x4 stride 2, batch norm, ReLU; the side doubles, the channels halve
    transposed convolution 4x4 stride 2, tanh        (n, channels, size, size)
    with a full-size map instead:
    transposed convolution 4x4 stride 2, batch norm, ReLU        (n, width / 2, size, size)
    transposed convolution 3x3 stride 1, tanh        (n, channels, size, size)

    Args:
        full_size_map: whether it has that map. At 28 px there is a single layer between projection and image without
            it; with it stacked digits were learned in half the images, at the same speed for each.
    """

    def __init__(self, size: int, channels: int, width: int, latent_dim: int, *, full_size_map: bool = False) -> None:
        wide = _wide(width, levels(size)[1])
        if full_size_map:
            wide.append(max(1, width // 2))
        super().__init__(size, channels, wide, latent_dim, SIGNED)
        self.to_image = (
            nn.ConvTranspose2d(wide[-1], channels, 3, padding=1) if full_size_map else ToImage(wide[-1], channels)
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Draws images in [-1, 1], shape (n, channels, size, size), from latents of shape (n, latent_dim)."""
        return channels_last(torch.tanh(self.to_image(self._last_maps(latents))))


class KerasGenerator(_Deconvolutional):
    """Latents to images in [0, 1], as the Keras books draw digits.

    z                      (n, latent_dim)
    project                (n, base * base * width * 2^k), seen as (n, width * 2^k, base, base)
    batch norm, ReLU
    k times: transposed convolution 4x4 stride 2, batch norm, ReLU; the side doubles, the channels halve
    convolution 5x5, sigmoid                         (n, channels, size, size)

    At 28 px and width 32: 7x7x128 -> 14x14x64 -> 28x28x32 -> 28x28.
    """

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        super().__init__(size, channels, _wide(width, levels(size)[1] + 1), latent_dim, UNSIGNED)
        self.to_image = nn.Conv2d(width, channels, 5, padding=2)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Draws images in [0, 1], shape (n, channels, size, size), from latents of shape (n, latent_dim)."""
        return channels_last(torch.sigmoid(self.to_image(self._last_maps(latents))))

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights as Keras does."""
        draw_as_keras(self, random)


class ConvolutionalDiscriminator(Discriminator):
    """Images to a logit for each pack of them.

    x                                                (n, channels, size, size), packed
    convolution 4x4 stride 2, LeakyReLU 0.2          (n / packing, width, size / 2, size / 2)
    k - 1 times: convolution 4x4 stride 2, batch norm, LeakyReLU 0.2; the side halves, the channels double
    from 7x7: convolution 3x3 stride 2, batch norm, LeakyReLU 0.2; the side becomes 4, the channels double
    flatten, with minibatch discrimination beside it, linear    (n / packing,)

    What follows the last map only adds up what its cells say. At 28 px one of 7x7 sees 10 pixels across, so that two
    halves of different digits pass for one; one of 4x4 sees 18.

    Args:
        to_four: go on from 7x7 to 4x4.
        batch_norm: without it, as under spectral norm, the convolutions have offsets of their own.
        kernels: of minibatch discrimination; 0 is without.
        spectral_norm: of all layers. It takes the place of batch norm, which would scale back what it bounds
            (arXiv:1802.05957 trains its discriminators without, too).
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int,
        *,
        to_four: bool = True,
        batch_norm: bool = True,
        packing: int = 1,
        kernels: int = 0,
        spectral_norm: bool = False,
        low: float = SIGNED,
    ) -> None:
        super().__init__(size, channels, packing, low)
        self.base, doublings = levels(size)
        wide = _wide(width, doublings)[::-1]
        normed = batch_norm and not spectral_norm
        self.from_image = FromImage(packing * channels, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(above, below, 4, stride=2, padding=1, bias=not normed) for above, below in pairwise(wide)
        )
        if to_four and self.base == 7:
            self.base = 4
            wide = [*wide, 2 * wide[-1]]
            self.convolutions.append(nn.Conv2d(wide[-2], wide[-1], 3, stride=2, padding=1, bias=not normed))
        self.norms = nn.ModuleList(nn.BatchNorm2d(maps) if normed else nn.Identity() for maps in wide[1:])
        features = self.base * self.base * wide[-1]
        self.minibatch = MinibatchDiscrimination(features, kernels) if kernels else None
        self.judge = nn.Linear(features + kernels, 1)
        if spectral_norm:
            normalize_layers(self)

    @property
    def judges_alone(self) -> bool:
        """Whether one image by itself has a logit; with minibatch discrimination none has."""
        return super().judges_alone and self.minibatch is None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Judges images in [low, 1], shape (n, channels, size, size); gives logits of shape (n / packing,)."""
        maps = nn.functional.leaky_relu_(self.from_image(self.packed(images)), LEAK)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            maps = nn.functional.leaky_relu_(norm(convolution(maps)), LEAK)
        features = maps.permute(0, 2, 3, 1).flatten(1)
        if self.minibatch is not None:
            features = torch.cat([features, self.minibatch(features).to(features.dtype)], 1)
        logits: torch.Tensor = self.judge(features)
        return logits.squeeze(1)


class KerasDiscriminator(ConvolutionalDiscriminator):
    """Images in [0, 1] to a logit for each pack of them; the books' sigmoid is in the loss.

    x                                                (n, channels, size, size), packed
    convolution 4x4 stride 2, LeakyReLU 0.2          (n / packing, width, size / 2, size / 2)
    k - 1 times: convolution 4x4 stride 2, LeakyReLU 0.2; the side halves, the channels double
    flatten, linear                                  (n / packing,)
    """

    def __init__(self, size: int, channels: int, width: int, *, packing: int = 1, spectral_norm: bool = False) -> None:
        super().__init__(
            size,
            channels,
            width,
            to_four=False,
            batch_norm=False,
            packing=packing,
            spectral_norm=spectral_norm,
            low=UNSIGNED,
        )

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights as Keras does."""
        draw_as_keras(self, random)


def draw_as_keras(network: nn.Module, random: torch.Generator) -> None:
    """Draws weights from U(-a, a) with a = sqrt(6 / (inputs + outputs)); scales of batch norm are 1, offsets 0.

    Source: Glorot, Bengio, 2010, which is what Keras takes where nothing else is said.
    """
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(value)
        elif "norms" in name:
            nn.init.ones_(value)
        else:
            nn.init.xavier_uniform_(value, generator=random)


def _wide(width: int, count: int) -> list[int]:
    """Gives the channels of `count` hidden feature maps, from the smallest map on."""
    return [width << k for k in reversed(range(count))]
