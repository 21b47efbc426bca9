"""The generator as an ONNX graph: `latents` float32 [n, dim] in, `images` uint8 [n, height, width, channels] out.

The graph is built node by node rather than traced: batch norm is folded into the layer before it, the rounding to
pixels is part of the graph, n is free, and the same weights give the same bytes, without anybody's paths in them.
That it computes what torch does is for `export` to prove.
"""

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from dcgan_training.networks import (
    DcganGenerator,
    Generator,
    KerasGenerator,
    MlpGenerator,
    ResidualBlock,
    ResidualGenerator,
)
from dcgan_training.networks.base import LEAK
from dcgan_training.networks.mlp import LEAK as MLP_LEAK
from dcgan_training.networks.pixels import SIGNED, levels_per_unit

OPSET: Final = 18
_IR_VERSION: Final = 10  # read by every onnxruntime since 1.18

Values = NDArray[np.float64]


def to_onnx(generator: Generator) -> bytes:
    """Gives the serialized graph of a calibrated generator, with all of its weights inside."""
    graph = GraphBuilder()
    match generator:
        case DcganGenerator():
            images = _dcgan(graph, generator)
        case KerasGenerator():
            images = _keras(graph, generator)
        case MlpGenerator():
            images = _mlp(graph, generator)
        case ResidualGenerator():
            images = _residual(graph, generator)
        case _:
            raise TypeError(f"no graph is known for {type(generator).__name__}")
    graph.add("Transpose", to_pixels(graph, images, generator.low), perm=[0, 2, 3, 1], output="images")
    size = generator.size
    given = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", generator.latent_dim])
    wanted = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, generator.channels])
    return graph.finish("generator", [given], [wanted])


class GraphBuilder:
    """Nodes and weights as they are added, each named by its place."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: object) -> str:
        """Adds a node, of ONNX itself or another domain, and gives the name of its output."""
        name = output or f"{operator.lower()}_{len(self._nodes)}"
        node = helper.make_node(operator, list(inputs), [name], name, None, domain or None, None, **attributes)
        self._nodes.append(node)
        return name

    def weight(self, name: str, values: Values) -> str:
        """Adds float32 weights and gives their name."""
        return self.constant(name, values.astype(np.float32))

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Adds an array as it is and gives its name, made unique."""
        name = f"{name}_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def finish(self, name: str, given: list[onnx.ValueInfoProto], wanted: list[onnx.ValueInfoProto]) -> bytes:
        """Checks the whole, which takes `given` and gives `wanted`, and serializes it."""
        graph = helper.make_graph(self._nodes, name, given, wanted, self._weights)
        domains = sorted({node.domain for node in self._nodes})
        opsets = [helper.make_opsetid(domain, 1 if domain else OPSET) for domain in domains]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="dcgan-train")
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def normalized(graph: GraphBuilder, images: str, low: float = SIGNED) -> str:
    """Turns uint8 [n, h, w, c] into float32 [n, c, h, w] in [low, 1]."""
    scale, lift = graph.weight("scalar", np.array(levels_per_unit(low))), graph.weight("scalar", np.array(-low))
    pixels = graph.add("Transpose", graph.add("Cast", images, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    return graph.add("Sub", graph.add("Div", pixels, scale), lift)


def to_pixels(graph: GraphBuilder, images: str, low: float = SIGNED) -> str:
    """Turns [low, 1] into uint8: rounds as `networks.to_uint8` does, half to even, and clips what lies outside."""
    values = -low, levels_per_unit(low), 0.0, 255.0
    lift, scale, zero, white = (graph.weight("scalar", np.array(value)) for value in values)
    levels = graph.add("Mul", graph.add("Add", images, lift), scale)
    return graph.add("Cast", graph.add("Clip", graph.add("Round", levels), zero, white), to=TensorProto.UINT8)


def convolution(graph: GraphBuilder, maps: str, kernel: Values, offset: Values | None, stride: int = 1) -> str:
    """Adds a convolution that keeps the side of maps, or with a stride of 2 halves it (7 becomes 4)."""
    side = kernel.shape[-1]
    weights = [graph.weight("kernel", kernel)] + ([] if offset is None else [graph.weight("offset", offset)])
    pads = [(side - 1) // 2] * 4
    return graph.add("Conv", maps, *weights, kernel_shape=[side, side], strides=[stride, stride], pads=pads)


def residual_block(graph: GraphBuilder, maps: str, block: object) -> str:
    """Adds what `ResidualBlock` does."""
    assert isinstance(block, ResidualBlock)
    inner = graph.add("LeakyRelu", maps, alpha=LEAK)
    inner = convolution(graph, inner, array(block.first.weight), array(block.first.bias))
    inner = graph.add("LeakyRelu", inner, alpha=LEAK)
    return graph.add("Add", maps, convolution(graph, inner, array(block.last.weight), None))


def linear(graph: GraphBuilder, rows: str, layer: nn.Linear) -> str:
    """Adds a linear layer with offsets."""
    weights = graph.weight("linear", array(layer.weight)), graph.weight("offset", array(layer.bias))
    return graph.add("Gemm", rows, *weights, transB=1)


def affine(norm: nn.Module) -> tuple[Values, Values]:
    """Reads a batch norm in eval mode as y = scale * x + shift, float64 of shape (channels,)."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
    return scale, array(norm.bias) - array(norm.running_mean) * scale


def array(tensor: object) -> Values:
    """Takes a parameter to numpy, in float64 so that folding rounds once."""
    values: Values = tensor.detach().cpu().double().numpy()  # type: ignore[attr-defined]  # modules type their parts loosely
    return values


def _dcgan(graph: GraphBuilder, generator: DcganGenerator) -> str:
    maps = _deconvolutions(graph, generator)
    maps = deconvolution(graph, maps, array(generator.to_image.weight), array(generator.to_image.bias))
    return graph.add("Tanh", maps)


def _keras(graph: GraphBuilder, generator: KerasGenerator) -> str:
    maps = _deconvolutions(graph, generator)
    maps = convolution(graph, maps, array(generator.to_image.weight), array(generator.to_image.bias))
    return graph.add("Sigmoid", maps)


def _mlp(graph: GraphBuilder, generator: MlpGenerator) -> str:
    """Its rows are ordered (h, w, channel) and become maps."""
    hidden = graph.add("LeakyRelu", linear(graph, "latents", generator.hidden), alpha=MLP_LEAK)
    rows = linear(graph, hidden, generator.to_image)
    shape = np.array([-1, generator.size, generator.size, generator.channels], np.int64)
    images = graph.add("Reshape", graph.add("Tanh", rows), graph.constant("shape", shape))
    return graph.add("Transpose", images, perm=[0, 3, 1, 2])


def _residual(graph: GraphBuilder, generator: ResidualGenerator) -> str:
    style = linear(graph, "latents", generator.style)
    shape = graph.constant("shape", np.array([-1, generator.style.out_features, 1, 1], np.int64))
    constant = graph.weight("constant", array(generator.constant))
    maps = residual_block(graph, graph.add("Mul", graph.add("Reshape", style, shape), constant), generator.blocks[0])
    for narrow, block in zip(generator.narrowings, generator.blocks[1:], strict=True):
        maps = _upsampled(graph, convolution(graph, maps, array(narrow.weight), None))
        maps = residual_block(graph, maps, block)
    maps = _upsampled(graph, graph.add("LeakyRelu", maps, alpha=LEAK))
    return convolution(graph, maps, array(generator.to_image.weight), array(generator.to_image.bias))


def _upsampled(graph: GraphBuilder, maps: str) -> str:
    """Doubles the side as torch's bilinear interpolation does without align_corners."""
    scales = graph.constant("scales", np.array([1, 1, 2, 2], np.float32))
    how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return graph.add("Resize", maps, "", scales, **how)


def _deconvolutions(graph: GraphBuilder, generator: DcganGenerator | KerasGenerator) -> str:
    """Adds the projection and every transposed convolution that batch norm follows."""
    scales, shifts = zip(*(affine(norm) for norm in generator.norms), strict=True)
    maps = graph.add("Gemm", "latents", *_projection(graph, generator, scales[0], shifts[0]), transB=1)
    shape = graph.constant("shape", np.array([-1, len(scales[0]), generator.base, generator.base], np.int64))
    maps = graph.add("Reshape", graph.add("Relu", maps), shape)
    for layer, scale, shift in zip(generator.deconvolutions, scales[1:], shifts[1:], strict=True):
        maps = graph.add("Relu", deconvolution(graph, maps, array(layer.weight) * scale[:, None, None], shift))
    return maps


def _projection(
    graph: GraphBuilder, generator: DcganGenerator | KerasGenerator, scale: Values, shift: Values
) -> tuple[str, str]:
    """Folds the first batch norm into the projection; puts its rows from (h, w, channel) into (channel, h, w)."""
    cells, channels = generator.base**2, len(scale)
    rows = array(generator.project.weight).reshape(cells, channels, -1) * scale[:, None]
    by_channel = rows.transpose(1, 0, 2).reshape(cells * channels, -1)
    return graph.weight("project", by_channel), graph.weight("offset", np.repeat(shift, cells))


def deconvolution(graph: GraphBuilder, maps: str, kernel: Values, offset: Values) -> str:
    """Adds a transposed convolution with these weights, float64 (maps above, maps below, side, side)."""
    weights = graph.weight("kernel", kernel), graph.weight("offset", offset)
    return graph.add("ConvTranspose", maps, *weights, **geometry(kernel.shape[-1]))


def geometry(side: int) -> dict[str, Any]:
    """Gives the attributes of a transposed convolution: one of 4x4 doubles the side of a map, one of 3x3 keeps it.

    Those of the convolution that is its way back are the same.
    """
    return {"kernel_shape": [side, side], "strides": [side - 2, side - 2], "pads": [1, 1, 1, 1]}
