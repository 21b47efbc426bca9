"""Residual networks without any normalisation, for relativistic training under gradient penalties.

The sides and channels are the DCGAN's: k feature maps, doubling from 4 or 7 to half the image. At each, one residual
block; between them a 1x1 convolution and bilinear resampling. R3GAN's own blocks, grouped 3x3 between 1x1, were
slower on a CPU than two plain 3x3 (390 to 480 images/s at 28 px and width 32), and blocks at the image's full side six
times slower than at half of it.

Fix-up initialisation keeps the sums from growing with depth: the last convolution of a block begins at zero, so that
a new network is linear but for its ends, and the first is scaled down by the number of blocks.

Sources: Huang, Gokaslan, Kuleshov, Tompkin, 2024, arXiv:2501.05441; Zhang, Dauphin, Ma, 2019, arXiv:1901.09321.
"""

from itertools import pairwise

import torch
from torch import nn

from dcgan_training.networks.base import LEAK, Discriminator, Generator, levels
from dcgan_training.networks.pixels import channels_last


class ResidualBlock(nn.Module):
    """x + convolve(LeakyReLU(convolve(LeakyReLU(x)))), both convolutions 3x3, slope 0.2."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(maps, maps, 3, padding=1)
        self.last = nn.Conv2d(maps, maps, 3, padding=1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Adds to feature maps (n, maps, side, side) what the block makes of them."""
        inner = self.first(nn.functional.leaky_relu(maps, LEAK))
        added: torch.Tensor = self.last(nn.functional.leaky_relu(inner, LEAK))
        return maps + added


class ResidualGenerator(Generator):
    """Latents to images that are meant to lie in [-1, 1]; nothing holds them there until they become pixels.

    z                      (n, latent_dim)
    linear                 (n, width * 2^(k-1)), times a learned constant of (width * 2^(k-1), base, base)
    residual block: x + convolution 3x3(LeakyReLU 0.2(convolution 3x3(LeakyReLU 0.2(x))))
    k - 1 times: convolution 1x1, bilinear upsampling, residual block; the side doubles, the channels halve
    LeakyReLU 0.2, bilinear upsampling, convolution 3x3   (n, channels, size, size)
    """

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        super().__init__(size, channels, latent_dim)
        self.base, doublings = levels(size)
        wide = [width << k for k in reversed(range(doublings))]
        self.style = nn.Linear(latent_dim, wide[0])
        self.constant = nn.Parameter(torch.empty(wide[0], self.base, self.base))
        self.blocks = nn.ModuleList(ResidualBlock(maps) for maps in wide)
        self.narrowings = nn.ModuleList(nn.Conv2d(above, below, 1, bias=False) for above, below in pairwise(wide))
        self.to_image = nn.Conv2d(wide[-1], channels, 3, padding=1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Draws images of shape (n, channels, size, size) from latents of shape (n, latent_dim)."""
        maps = self.blocks[0](channels_last(self.style(latents)[:, :, None, None] * self.constant))
        for narrow, block in zip(self.narrowings, self.blocks[1:], strict=True):
            maps = block(upsampled(narrow(maps)))
        return channels_last(self.to_image(upsampled(nn.functional.leaky_relu(maps, LEAK))))

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights by fix-up; the constant from N(0, 1)."""
        _draw_by_fixup(self, self.blocks, random)
        nn.init.normal_(self.constant, generator=random)


class ResidualDiscriminator(Discriminator):
    """Images to a logit for each pack of them; twice differentiable, as gradient penalties need.

    x                                                (n, channels, size, size), packed
    convolution 4x4 stride 2, residual block         (n / packing, width, size / 2, size / 2)
    k - 1 times: convolution 1x1, bilinear downsampling, residual block; the side halves, the channels double
    LeakyReLU 0.2, flatten, linear                   (n / packing,)
    """

    def __init__(self, size: int, channels: int, width: int, *, packing: int = 1) -> None:
        super().__init__(size, channels, packing)
        self.base, doublings = levels(size)
        wide = [width << k for k in range(doublings)]
        self.from_image = nn.Conv2d(packing * channels, width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(maps) for maps in wide)
        self.widenings = nn.ModuleList(nn.Conv2d(above, below, 1, bias=False) for above, below in pairwise(wide))
        self.judge = nn.Linear(self.base * self.base * wide[-1], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Judges images in [-1, 1], shape (n, channels, size, size); gives logits of shape (n / packing,)."""
        maps = self.blocks[0](self.from_image(self.packed(images)))
        for widen, block in zip(self.widenings, self.blocks[1:], strict=True):
            maps = block(widen(downsampled(maps)))
        features = nn.functional.leaky_relu(maps, LEAK).permute(0, 2, 3, 1).flatten(1)
        logits: torch.Tensor = self.judge(features)
        return logits.squeeze(1)

    def draw_weights(self, random: torch.Generator) -> None:
        """Draws weights by fix-up."""
        _draw_by_fixup(self, self.blocks, random)


def upsampled(maps: torch.Tensor) -> torch.Tensor:
    """Doubles the side of feature maps, bilinearly."""
    return nn.functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def downsampled(maps: torch.Tensor) -> torch.Tensor:
    """Halves the side of feature maps: the mean of 2x2, which is what bilinear interpolation at their middle is."""
    return nn.functional.avg_pool2d(maps, 2)


@torch.no_grad()
def _draw_by_fixup(network: nn.Module, blocks: nn.ModuleList, random: torch.Generator) -> None:
    """Draws each layer's weights from N(0, 1 / inputs), in blocks as below; every offset is zero.

    A block's first convolution has the gain of LeakyReLU, sqrt(2 / (1 + 0.2^2)), divided by the square root of the
    number of blocks; its last is zero. Source: section 3.3 of arXiv:1901.09321, for two layers in a block.
    """
    inside = {id(block.first): nn.init.calculate_gain("leaky_relu", LEAK) / len(blocks) ** 0.5 for block in blocks}
    inside |= {id(block.last): 0.0 for block in blocks}
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.normal_(0.0, inside.get(id(layer), 1.0) * layer.weight[0].numel() ** -0.5, generator=random)
            if layer.bias is not None:
                layer.bias.zero_()
