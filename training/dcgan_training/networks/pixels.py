"""Pixels to what the networks see and back, and how images are laid out; the only place that knows the scale.

Most generators end in tanh, so that images are in [-1, 1]; one ends in a sigmoid, in [0, 1]. Images of a network are
in [low, 1], and `low` is an attribute of it.
"""

import torch

SIGNED: float = -1.0
"""What black is where images are in [-1, 1]."""


def signed(pixels: torch.Tensor) -> torch.Tensor:
    """Turns uint8 of shape (n, height, width, channels) into float32 (n, channels, height, width) in [-1, 1]."""
    return normalized(pixels, SIGNED)


def normalized(pixels: torch.Tensor, low: float) -> torch.Tensor:
    """Turns uint8 of shape (n, height, width, channels) into float32 (n, channels, height, width) in [low, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div_(levels_per_unit(low)).add_(low)


def to_uint8(images: torch.Tensor, low: float = SIGNED) -> torch.Tensor:
    """Turns images in [low, 1] of shape (n, c, h, w) into uint8 of shape (n, h, w, c), rounding half to even.

    What lies outside is clipped: not every generator ends in a function that can't leave the range.
    """
    return ((images - low) * levels_per_unit(low)).round().clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)


def levels_per_unit(low: float) -> float:
    """Gives the grey levels in 1 where 255 of them span [low, 1]."""
    return 255.0 / (1.0 - low)


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Lays images (n, c, h, w) out channels-last.

    For one channel both layouts hold the same bytes and torch keeps whichever strides it saw, which then costs
    copies in every layer that follows; so the strides are set here.
    """
    if images.shape[1] == 1:
        n, _, height, width = images.shape
        return images.reshape(n, height, width, 1).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)
