"""The discriminator as an ONNX graph: `images` uint8 [n, height, width, channels] in, `logits` float32 [n] out.

It is built as the generator's is, by `graph.GraphBuilder`, and batch norm is folded into the layer before it. The
scaling to [-1, 1] stays a step of its own: folded into the first convolution it would be wrong at the borders, which
are padded with zeros after it.
"""

import numpy as np
from onnx import TensorProto, helper

from dcgan_training.graph import GraphBuilder, Values, affine, array, normalized
from dcgan_training.networks import LEAK, Discriminator


def to_onnx(discriminator: Discriminator) -> bytes:
    """Gives the serialized graph of a discriminator in eval mode, with all of its weights inside."""
    graph = GraphBuilder()
    maps = _convolution(
        graph, normalized(graph, "images"), array(discriminator.from_image.weight), _offset(discriminator.from_image)
    )
    for layer, norm in zip(discriminator.convolutions, discriminator.norms, strict=True):
        scale, shift = affine(norm)
        maps = _convolution(graph, maps, array(layer.weight) * scale[:, None, None, None], shift)
    _judge(graph, maps, discriminator)
    size = discriminator.base << (len(discriminator.norms) + 1)
    channels = discriminator.from_image.in_channels
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, channels])
    wanted = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"])
    return graph.finish("discriminator", [given], [wanted])


def _convolution(graph: GraphBuilder, maps: str, kernel: Values, offset: Values) -> str:
    weights = graph.weight("kernel", kernel), graph.weight("offset", offset)
    maps = graph.add("Conv", maps, *weights, kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])
    return graph.add("LeakyRelu", maps, alpha=LEAK)


def _judge(graph: GraphBuilder, maps: str, discriminator: Discriminator) -> None:
    """Adds the last layer, its columns put from (h, w, channel) into (channel, h, w)."""
    base = discriminator.base
    columns = array(discriminator.judge.weight).reshape(base, base, -1).transpose(2, 0, 1).reshape(1, -1)
    flat = graph.add("Reshape", maps, graph.constant("shape", np.array([-1, columns.size], np.int64)))
    judged = graph.add(
        "Gemm", flat, graph.weight("judge", columns), graph.weight("offset", _offset(discriminator.judge)), transB=1
    )
    graph.add("Reshape", judged, graph.constant("shape", np.array([-1], np.int64)), output="logits")


def _offset(layer: object) -> Values:
    return array(layer.bias)  # type: ignore[attr-defined]  # a convolution or linear layer with an offset
