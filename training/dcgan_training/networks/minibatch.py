"""Minibatch discrimination: features that say how like an image is to the others of its batch.

Source: Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, 2016, arXiv:1606.03498, section 3.2.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

VALUES: Final = 5  # of a kernel, C in the paper


class MinibatchDiscrimination(nn.Module):
    """Features (n, features) to nearness (n, kernels): for each kernel the sum over the other images of exp(-L1).

    L1 is between the `VALUES` values that the kernel makes of each image's features. The sum leaves the image itself
    out, so that an image alone has 0, and images far from all others too.

    Attributes:
        everyone: gives the rows of all processes of one training, for the rows of this one.
    """

    def __init__(self, features: int, kernels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, kernels, VALUES))  # T in the paper
        self.everyone: Callable[[torch.Tensor], torch.Tensor] = _own_rows

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compares the rows of a batch with each other, in float32: a distance is a small difference of large sums."""
        values = features @ self.weight.flatten(1)
        with torch.autocast(values.device.type, enabled=False):
            own, everyone = _by_kernel(values.float()), _by_kernel(self.everyone(values.float()))
            apart = torch.cdist(own, everyone, p=1)  # three times as fast as the differences written out
            return (torch.exp(-apart).sum(2) - 1.0).t()


def _by_kernel(values: torch.Tensor) -> torch.Tensor:
    """Turns (n, kernels * VALUES) into (kernels, n, VALUES)."""
    return values.view(len(values), -1, VALUES).transpose(0, 1)


def _own_rows(rows: torch.Tensor) -> torch.Tensor:
    return rows
