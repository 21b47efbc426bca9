"""The encoder: images to the latents that draw them, in two passes of one small network around the generator.

A pass sees the image, what the latents so far draw, and these latents, and gives a correction of them:

    z1 = E(x, G(0), 0)        z2 = z1 + E(x, G(z1), z1)

Owns the network, its pass through torch, and the same as a graph: `images` uint8 [n, height, width, channels] in,
`latents` float32 [n, dim] out, with the generator inside once.

Source: Alaluf, Patashnik, Cohen-Or, 2021, "ReStyle", arXiv:2104.02699, section 3.
"""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import nn

from dcgan.latents import Prior
from dcgan_training.frozen import FrozenGenerator, Weights
from dcgan_training.gradient_graph import draw
from dcgan_training.graph import GraphBuilder, array, normalized

_LEAK: Final = 0.2
_HIDDEN_PER_WIDTH: Final = 16  # values in the layer before the last, for each channel of width
_SMALLEST_SIDE: Final = 4


class Passes(NamedTuple):
    """Latents after each pass, float32 (n, dim), and what those of the first draw, (n, channels, height, width)."""

    first: torch.Tensor
    drawn: torch.Tensor
    second: torch.Tensor


class Encoder(nn.Module):
    """A correction of latents.

    image and reconstruction     (n, 2 * channels, height, width)
    convolutions 4x4 stride 2, LeakyReLU, until a side is 4 or less; the channels double from `width` on
    flatten; linear, plus a linear map of the latents; LeakyReLU     (n, 16 * width)
    linear                       (n, dim)

    Nothing is normalised: a correction must shrink with the difference that it sees, which batch norm would hide.
    """

    def __init__(self, weights: Weights, prior: Prior, width: int) -> None:
        super().__init__()
        self.prior = prior
        channels, height, side = weights.image
        wide = [2 * channels]
        while max(height, side) > _SMALLEST_SIDE:
            wide.append(width << (len(wide) - 1))
            height, side = height // 2, side // 2
        self.convolutions = nn.ModuleList(
            nn.Conv2d(above, below, 4, stride=2, padding=1) for above, below in pairwise(wide)
        )
        self.seen = nn.Linear(wide[-1] * height * side, _HIDDEN_PER_WIDTH * width)
        self.known = nn.Linear(weights.dim, _HIDDEN_PER_WIDTH * width, bias=False)
        self.correct = nn.Linear(_HIDDEN_PER_WIDTH * width, weights.dim)

    def forward(self, images: torch.Tensor, drawn: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Corrects latents (n, dim), which draw `drawn`, towards `images`, both (n, channels, height, width)."""
        maps = torch.cat([images, drawn], 1).contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            maps = nn.functional.leaky_relu(convolution(maps), _LEAK)
        hidden = self.seen(maps.permute(0, 2, 3, 1).flatten(1)) + self.known(latents)
        corrected: torch.Tensor = latents + self.correct(nn.functional.leaky_relu(hidden, _LEAK))
        return corrected.clamp(-1.0, 1.0) if self.prior == "uniform" else corrected

    def encode(self, generator: FrozenGenerator, images: torch.Tensor) -> Passes:
        """Makes both passes for images in [-1, 1], (n, channels, height, width)."""
        nothing = images.new_zeros(len(images), self.known.in_features)
        first = self(images, generator(nothing[:1]).expand_as(images), nothing)
        drawn = generator(first)
        return Passes(first, drawn, self(images, drawn, first))


def initialize(encoder: Encoder, random: torch.Generator) -> None:
    """Draws weights as He et al. do for LeakyReLU, and clears every offset.

    Source: He, Zhang, Ren, Sun, 2015, arXiv:1502.01852, section 2.2.
    """
    for name, value in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(value)
        else:
            nn.init.kaiming_normal_(value, _LEAK, generator=random)


def to_onnx(encoder: Encoder, weights: Weights) -> bytes:
    """Gives the serialized graph of both passes, with all weights inside."""
    graph = GraphBuilder()
    channels, height, width = weights.image
    images = normalized(graph, "images")
    with torch.no_grad():
        nothing = FrozenGenerator(weights)(torch.zeros(1, weights.dim))
    drawn = graph.add("Expand", graph.weight("nothing", array(nothing)), graph.add("Shape", images))
    layers = _Layers(graph, encoder)
    first = layers.correct(images, drawn, None)
    layers.correct(images, draw(graph, weights, first).images, first, output="latents")
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", height, width, channels])
    wanted = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", weights.dim])
    return graph.finish("encoder", [given], [wanted])


class _Layers:
    """The weights of the network in a graph, for as many passes as are wanted."""

    def __init__(self, graph: GraphBuilder, encoder: Encoder) -> None:
        self._graph, self._clip = graph, encoder.prior == "uniform"
        self._convolutions = [self._weights(layer) for layer in encoder.convolutions]
        self._seen, self._correct = self._weights(encoder.seen), self._weights(encoder.correct)
        self._known = graph.weight("known", array(encoder.known.weight).T)

    def _weights(self, layer: nn.Module) -> tuple[str, str]:
        return self._graph.weight("weight", array(layer.weight)), self._graph.weight("offset", array(layer.bias))

    def correct(self, images: str, drawn: str, latents: str | None, output: str = "") -> str:
        """Adds one pass; `latents` None stands for zeros."""
        add = self._graph.add
        maps = add("Concat", images, drawn, axis=1)
        for weights in self._convolutions:
            maps = add("Conv", maps, *weights, kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])
            maps = add("LeakyRelu", maps, alpha=_LEAK)
        seen = add("Flatten", add("Transpose", maps, perm=[0, 2, 3, 1]))
        hidden = add("Gemm", seen, *self._seen, transB=1)
        if latents is not None:
            hidden = add("Add", hidden, add("MatMul", latents, self._known))
        hidden = add("LeakyRelu", hidden, alpha=_LEAK)
        plain = "" if self._clip or latents is not None else output
        corrected = add("Gemm", hidden, *self._correct, transB=1, output=plain)
        if latents is not None:
            corrected = add("Add", latents, corrected, output="" if self._clip else output)
        if self._clip:
            limits = (self._graph.weight("limit", np.array(limit)) for limit in (-1.0, 1.0))
            corrected = add("Clip", corrected, *limits, output=output)
        return corrected
