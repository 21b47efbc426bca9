"""The gradient of the generator as an ONNX graph, so that a server without torch can move latents towards an image.

`latents` float32 [n, dim] and `images` uint8 [n, height, width, channels] in; out `errors` float32 [n], for each
image the mean over its pixels of the squared difference in [-1, 1] before rounding, and `gradients` float32
[n, dim], the derivatives of each error by its latents. The way back is written out node by node: a transposed
convolution's is a convolution with the same weights, the projection's a product with the same matrix.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from dcgan_training.frozen import Weights
from dcgan_training.graph import GraphBuilder, geometry, normalized


@dataclass(frozen=True, slots=True)
class Drawn:
    """The generator in a graph, by the names of its values.

    Attributes:
        images: float32 [n, channels, height, width] in [-1, 1].
        maps: of each transposed convolution's input, after the ReLU.
        kernels: of each transposed convolution.
        project: the matrix of the projection.
    """

    images: str
    maps: list[str]
    kernels: list[str]
    project: str


def to_onnx(weights: Weights) -> bytes:
    """Gives the serialized graph, with all weights inside once."""
    graph = GraphBuilder()
    drawn = draw(graph, weights, "latents")
    difference = graph.add("Sub", drawn.images, normalized(graph, "images"))
    axes = graph.constant("axes", np.array([1, 2, 3], np.int64))
    graph.add("ReduceMean", graph.add("Mul", difference, difference), axes, keepdims=0, output="errors")
    _add_way_back(graph, weights, drawn, difference)
    channels, height, width = weights.image
    given = [
        helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", weights.dim]),
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", height, width, channels]),
    ]
    wanted = [
        helper.make_tensor_value_info("gradients", TensorProto.FLOAT, ["n", weights.dim]),
        helper.make_tensor_value_info("errors", TensorProto.FLOAT, ["n"]),
    ]
    return graph.finish("latent_gradient", given, wanted)


def draw(graph: GraphBuilder, weights: Weights, latents: str) -> Drawn:
    """Adds the generator, up to its tanh."""
    project = graph.weight("project", weights.project.astype(np.float64))
    offset = graph.weight("offset", weights.offset.astype(np.float64))
    shape = graph.constant("shape", np.array([-1, *weights.shape], np.int64))
    values = graph.add("Reshape", graph.add("Gemm", latents, project, offset, transB=1), shape)
    maps, kernels = [], []
    for kernel, below in zip(weights.kernels, weights.offsets, strict=True):
        maps.append(graph.add("Relu", values))
        kernels.append(graph.weight("kernel", kernel.astype(np.float64)))
        parts = kernels[-1], graph.weight("offset", below.astype(np.float64))
        values = graph.add("ConvTranspose", maps[-1], *parts, **geometry(kernel.shape[-1]))
    return Drawn(graph.add("Tanh", values), maps, kernels, project)


def _add_way_back(graph: GraphBuilder, weights: Weights, drawn: Drawn, difference: str) -> None:
    """Adds `gradients`: from the mean of squares through tanh and each layer to the latents."""
    of_mean = graph.weight("scalar", np.array(2.0 / np.prod(weights.image)))
    one = graph.weight("scalar", np.array(1.0))
    of_tanh = graph.add("Sub", one, graph.add("Mul", drawn.images, drawn.images))
    back = graph.add("Mul", graph.add("Mul", difference, of_mean), of_tanh)
    layers = zip(weights.kernels, drawn.kernels, drawn.maps, strict=True)
    for kernel, name, maps in reversed(list(layers)):
        back = graph.add("Conv", back, name, **geometry(kernel.shape[-1]))
        back = graph.add("Mul", back, graph.add("Sign", maps))  # after a ReLU the sign is 1 where it lets through
    graph.add("MatMul", graph.add("Flatten", back), drawn.project, output="gradients")
