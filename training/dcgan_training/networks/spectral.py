"""Spectral normalisation: a layer's weight divided by its largest singular value, estimated as training goes.

Each forward pass in training mode takes one step of power iteration, with the two vectors kept as buffers. The first
ones are drawn from a generator that is handed in, which torch's own does not, and are computed in float32 whatever
the rest of the network is in.

Source: Miyato, Kataoka, Koyama, Yoshida, 2018, arXiv:1802.05957, algorithm 1.
"""

from typing import Final

import torch
from torch import nn
from torch.nn.utils import parametrize

_FIRST_STEPS: Final = 16  # of power iteration on new weights; what is missing then, training adds


class SpectralNorm(nn.Module):
    """The parametrization of one weight; its matrix is (outputs, the rest)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.left = nn.Buffer(torch.full((rows,), rows**-0.5))
        self.right = nn.Buffer(torch.full((columns,), columns**-0.5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Gives the weight with a largest singular value of about 1."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self._iterate(matrix)
            # copies, for the graph of this pass must survive the next one's step
            return weight / torch.dot(self.left.clone(), torch.mv(matrix, self.right.clone()))

    @torch.no_grad()
    def start(self, weight: torch.Tensor, random: torch.Generator) -> None:
        """Draws the first vectors and brings them near the singular ones of a new weight."""
        for vector in (self.left, self.right):
            nn.init.normal_(vector, generator=random)
        for _ in range(_FIRST_STEPS):
            self._iterate(weight.flatten(1))

    @torch.no_grad()
    def _iterate(self, matrix: torch.Tensor) -> None:
        self.left.copy_(nn.functional.normalize(torch.mv(matrix, self.right), dim=0))
        self.right.copy_(nn.functional.normalize(torch.mv(matrix.t(), self.left), dim=0))


def normalize_layers(network: nn.Module) -> None:
    """Puts every convolution and linear layer of a network under spectral norm."""
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def start_spectral_norms(network: nn.Module, random: torch.Generator) -> None:
    """Draws the vectors of every spectral norm in a network whose weights were drawn."""
    for layer in network.modules():
        if isinstance(layer, parametrize.ParametrizationList) and isinstance(layer[0], SpectralNorm):
            layer[0].start(layer.original, random)
