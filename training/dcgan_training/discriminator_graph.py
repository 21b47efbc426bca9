"""The discriminator as an ONNX graph: `images` uint8 [n, height, width, channels] in, `logits` float32 [n] out.

It is built as the generator's is, by `graph.GraphBuilder`; batch norm is folded into the layer before it, spectral
norm into the layer's own weights. The scaling of pixels stays a step of its own: folded into the first convolution it
would be wrong at the borders, which are padded with zeros after it.
"""

import numpy as np
from onnx import TensorProto, helper
from torch import nn

from dcgan_training.graph import GraphBuilder, Values, affine, array, convolution, linear, normalized, residual_block
from dcgan_training.networks import (
    ConvolutionalDiscriminator,
    Discriminator,
    MlpDiscriminator,
    ResidualDiscriminator,
)
from dcgan_training.networks.base import LEAK
from dcgan_training.networks.mlp import LEAK as MLP_LEAK


def to_onnx(discriminator: Discriminator) -> bytes:
    """Gives the serialized graph of a discriminator in eval mode, with all of its weights inside.

    Raises:
        ValueError: it has no logit for an image alone.
    """
    if not discriminator.judges_alone:
        raise ValueError("this discriminator judges images beside others, which one image of a request isn't")
    graph = GraphBuilder()
    images = normalized(graph, "images", discriminator.low)
    match discriminator:
        case ConvolutionalDiscriminator():
            judged = _convolutional(graph, images, discriminator)
        case MlpDiscriminator():
            judged = _mlp(graph, images, discriminator)
        case ResidualDiscriminator():
            judged = _residual(graph, images, discriminator)
        case _:
            raise TypeError(f"no graph is known for {type(discriminator).__name__}")
    graph.add("Reshape", judged, graph.constant("shape", np.array([-1], np.int64)), output="logits")
    size, channels = discriminator.size, discriminator.channels
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, channels])
    wanted = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"])
    return graph.finish("discriminator", [given], [wanted])


def _convolutional(graph: GraphBuilder, images: str, discriminator: ConvolutionalDiscriminator) -> str:
    maps = _halved(graph, images, array(discriminator.from_image.weight), _offset(discriminator.from_image))
    for layer, norm in zip(discriminator.convolutions, discriminator.norms, strict=True):
        maps = _halved(graph, maps, *_folded(layer, norm))
    return _flat(graph, maps, discriminator.judge, discriminator.base, name="judge")


def _mlp(graph: GraphBuilder, images: str, discriminator: MlpDiscriminator) -> str:
    rows = _flat(graph, images, discriminator.hidden, discriminator.size, name="linear")
    return linear(graph, graph.add("LeakyRelu", rows, alpha=MLP_LEAK), discriminator.judge)


def _residual(graph: GraphBuilder, images: str, discriminator: ResidualDiscriminator) -> str:
    first = discriminator.from_image
    maps = convolution(graph, images, array(first.weight), array(first.bias), stride=2)
    maps = residual_block(graph, maps, discriminator.blocks[0])
    for widen, block in zip(discriminator.widenings, discriminator.blocks[1:], strict=True):
        maps = graph.add("AveragePool", maps, kernel_shape=[2, 2], strides=[2, 2])
        maps = residual_block(graph, convolution(graph, maps, array(widen.weight), None), block)
    maps = graph.add("LeakyRelu", maps, alpha=LEAK)
    return _flat(graph, maps, discriminator.judge, discriminator.base, name="judge")


def _halved(graph: GraphBuilder, maps: str, kernel: Values, offset: Values) -> str:
    return graph.add("LeakyRelu", convolution(graph, maps, kernel, offset, stride=2), alpha=LEAK)


def _folded(layer: nn.Module, norm: nn.Module) -> tuple[Values, Values]:
    """Gives the kernel and the offset of a convolution with the batch norm after it, where there is one."""
    if isinstance(norm, nn.Identity):
        return array(layer.weight), _offset(layer)
    scale, shift = affine(norm)
    return array(layer.weight) * scale[:, None, None, None], shift


def _flat(graph: GraphBuilder, maps: str, layer: nn.Linear, side: int, name: str) -> str:
    """Adds a linear layer over whole maps, its columns put from (h, w, channel) into (channel, h, w)."""
    weight = array(layer.weight)
    columns = weight.reshape(len(weight), side, side, -1).transpose(0, 3, 1, 2).reshape(len(weight), -1)
    flat = graph.add("Reshape", maps, graph.constant("shape", np.array([-1, columns.shape[1]], np.int64)))
    return graph.add("Gemm", flat, graph.weight(name, columns), graph.weight("offset", _offset(layer)), transB=1)


def _offset(layer: object) -> Values:
    return array(layer.bias)  # type: ignore[attr-defined]  # a convolution or linear layer with an offset
