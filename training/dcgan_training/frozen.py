"""The generator of a bundle, read back from generator.onnx: its weights, and a torch module that draws with them.

A bundle outlives the run that made it, so what is trained or derived for a bundle begins here. Only the graph that
`graph` writes for architecture dcgan is read: a projection, transposed convolutions 4x4 of stride 2 with ReLU between,
the last of them 3x3 of stride 1 after a full-size map, tanh, pixels.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from dcgan.bundle import GENERATOR, Bundle
from dcgan.errors import BundleError
from dcgan.generator import levels_apart
from dcgan.latents import Floats32
from dcgan_training.graph import OPSET, geometry
from dcgan_training.networks import to_uint8

_CHAIN: Final = re.compile(
    r"Gemm (Relu Reshape|Reshape Relu) (ConvTranspose Relu )*ConvTranspose Tanh Add Mul Round Clip Cast Transpose"
)
_DOUBLING: Final = 4  # side of a kernel that doubles the side of a map
_KEEPING: Final = 3  # side of one that keeps it


@dataclass(frozen=True, slots=True)
class Weights:
    """A generator with nothing left to fold.

    Attributes:
        project: float32 (maps * height * width, dim), and offset: float32 (maps * height * width,), of the projection.
        shape: maps, height and width of the first feature map.
        kernels: float32 (maps above, maps below, 4, 4), and offsets: float32 (maps below,), of the deconvolutions.
            After a full-size map the last kernel is 3x3.
    """

    project: Floats32
    offset: Floats32
    shape: tuple[int, int, int]
    kernels: tuple[Floats32, ...]
    offsets: tuple[Floats32, ...]

    @property
    def dim(self) -> int:
        """Values in a latent."""
        return int(self.project.shape[1])

    @property
    def full_size_map(self) -> bool:
        """Whether the last map has the size of the image already."""
        return int(self.kernels[-1].shape[-1]) == _KEEPING

    @property
    def width(self) -> int:
        """What the settings of its run call so."""
        return int(self.kernels[-2 if self.full_size_map else -1].shape[0])

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, height, width = self.shape
        doublings = len(self.kernels) - self.full_size_map
        return int(self.kernels[-1].shape[1]), height << doublings, width << doublings


class FrozenGenerator(nn.Module):
    """Draws with the weights of a bundle; gradients flow through it, and none of it is trained."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        maps, height, width = self._shape = weights.shape
        by_place = np.arange(maps * height * width).reshape(maps, height, width).transpose(1, 2, 0).reshape(-1)
        self._project = nn.Buffer(torch.from_numpy(weights.project[by_place]))  # channels-last needs no copy then
        self._offset = nn.Buffer(torch.from_numpy(weights.offset[by_place]))
        self._layers = len(weights.kernels)
        for place, (kernel, offset) in enumerate(zip(weights.kernels, weights.offsets, strict=True)):
            self.register_buffer(f"kernel_{place}", torch.from_numpy(kernel))
            self.register_buffer(f"offset_{place}", torch.from_numpy(offset))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Draws images in [-1, 1], shape (n, channels, height, width), from latents of shape (n, dim)."""
        *_, drawn = self.maps(latents)
        return torch.tanh(drawn)

    def maps(self, latents: torch.Tensor) -> Iterator[torch.Tensor]:
        """Gives what each layer takes, after ReLU, of shape (n, maps, height, width); then what the last one gives."""
        maps, height, width = self._shape
        drawn = nn.functional.linear(latents, self._project, self._offset)
        drawn = drawn.view(-1, height, width, maps).permute(0, 3, 1, 2)
        for place in range(self._layers):
            kernel, offset = self.get_buffer(f"kernel_{place}"), self.get_buffer(f"offset_{place}")
            drawn = torch.relu(drawn)
            yield drawn
            strides = geometry(kernel.shape[-1])["strides"]
            drawn = nn.functional.conv_transpose2d(drawn, kernel, offset, stride=strides, padding=1)
        yield drawn


def read(bundle: Bundle) -> Weights:
    """Reads the generator of a bundle and proves that it draws the bundle's golden images.

    Raises:
        BundleError: its graph is none that this program writes.
    """
    file = bundle.path / GENERATOR
    if bundle.manifest.opset != OPSET:
        raise BundleError(file, f"has opset {bundle.manifest.opset}; graphs to go with it are written in {OPSET} only")
    weights = _weights(onnx.load_model_from_string(bundle.generator).graph, file)
    with torch.no_grad():
        drawn = to_uint8(FrozenGenerator(weights)(torch.from_numpy(bundle.golden_latents))).numpy()
    if drawn.shape != bundle.golden_images.shape or levels_apart(drawn, bundle.golden_images)[0] > 1:
        raise BundleError(file, "draws something else than its layers say, so nothing can be derived from them")
    return weights


def _weights(graph: onnx.GraphProto, file: Path) -> Weights:
    """Takes the weights out of a graph that is one chain of the known operators."""
    nodes = list(graph.node)
    operators = " ".join(node.op_type for node in nodes)
    if not _CHAIN.fullmatch(operators):
        raise BundleError(
            file,
            "is no DCGAN's: an encoder and gradients can be derived for bundles of architecture dcgan only, not for "
            "keras, mlp, residual or another program's, nor can a run begin with these weights; its operators are "
            f"{operators[:500]}",
        )
    if any(after.input[0] != node.output[0] for node, after in pairwise(nodes)):
        raise BundleError(file, "is no generator of this program: its operators aren't one chain")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    try:
        return _taken(nodes, values)
    except (KeyError, ValueError, IndexError) as error:
        raise BundleError(file, f"is no generator of this program: {error}") from error


def _taken(nodes: Sequence[onnx.NodeProto], values: dict[str, np.ndarray]) -> Weights:
    """Raises KeyError, ValueError or IndexError where a node isn't as `graph` writes it."""
    projection = nodes[0]
    if _attributes(projection).get("transB") != 1:
        raise ValueError("its projection isn't transposed")
    reshape = next(node for node in nodes if node.op_type == "Reshape")
    _, maps, height, width = values[reshape.input[1]].tolist()
    layers = [node for node in nodes if node.op_type == "ConvTranspose"]
    kernels = [_floats(values[layer.input[1]]) for layer in layers]
    for layer, kernel in zip(layers, kernels, strict=True):
        sides = (_DOUBLING, _KEEPING) if layer is layers[-1] and len(layers) > 1 else (_DOUBLING,)
        if kernel.shape[-1] not in sides or _attributes(layer) != geometry(kernel.shape[-1]):
            raise ValueError(f"a transposed convolution has weights {kernel.shape} and {_attributes(layer)}")
    return Weights(
        project=_floats(values[projection.input[1]]),
        offset=_floats(values[projection.input[2]]),
        shape=(maps, height, width),
        kernels=tuple(kernels),
        offsets=tuple(_floats(values[layer.input[2]]) for layer in layers),
    )


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _floats(values: np.ndarray) -> Floats32:
    if values.dtype != np.float32:
        raise ValueError(f"it has weights in {values.dtype}")
    return values.copy()
