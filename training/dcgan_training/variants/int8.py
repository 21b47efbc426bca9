"""The generator in integers of 8 bits, for CPUs: uint8 feature maps and int8 weights between two ends in float32.

A transposed convolution 4x4 of stride 2 and padding 1 is, exactly, a convolution 2x2 of padding 1 with four times the
channels, one set for each parity of row and column, laid out in space with one pixel cut off on every side. As such
it is a matrix product, which processors do several times faster in 8 bits. What makes it fast and close:

- The projection and the last convolution stay in float32: they are little work, and before a tanh 8 bits show.
- Each channel of a map has a step of its own, at no cost: ReLU lets a positive factor through, so the step is divided
  out of the weights that make the channel and multiplied into those that take it (Nagel et al., 2019,
  arXiv:1906.04721). What is left to quantise has step 1 and zero point 0, and saturation at 0 is the ReLU.
- Channels come last, so that laying out in space moves whole runs of bytes.
- The images of a batch lie side by side as one wide image, a column of zeros between, so that the weights are read
  once a batch: a tenth faster at 64 pixels.

Integer sums are exact, so an image doesn't depend on the batch that it is in.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import torch
from onnx import TensorProto, helper

from dcgan.latents import Floats32
from dcgan_training.batches import batches
from dcgan_training.frozen import FrozenGenerator, Weights
from dcgan_training.graph import GraphBuilder, Values, deconvolution, to_pixels

_RUNTIME: Final = "com.microsoft"  # ONNX Runtime's own operators, of which QLinearConv takes channels last
_BATCH: Final = 64
_LEAST_STEP: Final = 1e-3  # of the map's largest, for channels that samples hardly use
_OFFSET_RANGE: Final = 2.0**30


def to_onnx(weights: Weights, samples: Floats32) -> bytes:
    """Gives the serialized graph: `latents` float32 [n, dim] to `images` uint8 [n, height, width, channels].

    Args:
        weights: of the generator.
        samples: latents from its prior, float32 (n, dim), for which the steps are chosen.
    """
    graph = GraphBuilder()
    steps = chosen_steps(weights, samples)
    maps = _projection(graph, weights, steps[0])
    for layer, (step, following) in enumerate(pairwise(steps)):
        kernel = as_convolution(weights.kernels[layer] * step[:, None, None, None] / following[:, None, None])
        offset = np.tile(weights.offsets[layer] / following, 4)
        maps = _quantised(graph, maps, kernel, offset, _side(weights, layer))
    _last_layer(graph, maps, weights, steps[-1])
    channels, height, width = weights.image
    given = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", weights.dim])
    wanted = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", height, width, channels])
    return graph.finish("generator", [given], [wanted])


def as_convolution(kernel: Values) -> Values:
    """Gives the 2x2 kernel of the convolution that a transposed one of 4x4 is.

    In an output of side 2h + 2, before the cut, row u = 2a + p takes input rows a - 1 and a, by the kernel's rows
    p + 2 and p; columns alike.

    Args:
        kernel: (maps above, maps below, 4, 4).

    Returns:
        (4 * maps below, maps above, 2, 2), ordered (row parity, column parity, map).
    """
    above, below = kernel.shape[:2]
    taps = kernel.reshape(above, below, 2, 2, 2, 2)[:, :, ::-1, :, ::-1]  # (..., row tap, parity, column tap, parity)
    return taps.transpose(3, 5, 1, 0, 2, 4).reshape(4 * below, above, 2, 2)


@torch.no_grad()
def chosen_steps(weights: Weights, samples: Floats32) -> list[Values]:
    """Chooses the step of each channel of each map that a transposed convolution takes: its largest value by 255.

    To clip rarer values off for finer steps gained nothing in the mean, and made the largest errors larger.

    Returns:
        float64 (maps,) each.
    """
    generator = FrozenGenerator(weights)
    tops: list[torch.Tensor] = []
    for part in batches(samples, _BATCH):
        *maps, _ = generator.maps(torch.from_numpy(part))
        largest = [values.amax((0, 2, 3)) for values in maps]
        tops = [torch.maximum(*pair) for pair in zip(tops, largest, strict=True)] if tops else largest
    steps = [top.double().numpy() / 255 for top in tops]
    return [np.maximum(step, max(_LEAST_STEP * step.max(), 1e-30)) for step in steps]


def _projection(graph: GraphBuilder, weights: Weights, step: Values) -> str:
    """Adds the projection, its rows ordered (row, column, channel), to uint8 [n, height, width, maps]."""
    maps, height, width = weights.shape
    by_place = np.arange(maps * height * width).reshape(maps, height * width).T.reshape(-1)
    steps = np.tile(step, height * width)
    matrix = graph.weight("project", weights.project[by_place] / steps[:, None])
    offset = graph.weight("offset", weights.offset[by_place] / steps)
    rows = graph.add("Gemm", "latents", matrix, offset, transB=1)
    one, zero = graph.weight("step", np.array(1.0)), graph.constant("zero", np.array(0, np.uint8))
    return _reshaped(graph, graph.add("QuantizeLinear", rows, one, zero), -1, height, width, maps)


def _quantised(graph: GraphBuilder, maps: str, kernel: Values, offset: Values, side: tuple[int, int]) -> str:
    """Adds a transposed convolution with its ReLU: uint8 [n, height, width, above] to [n, 2 height, 2 width, below]."""
    height, width = side
    one, zero = graph.weight("step", np.array(1.0)), graph.constant("zero", np.array(0, np.uint8))
    largest = np.maximum(np.abs(kernel).max((1, 2, 3)) / 127, np.maximum(np.abs(offset) / _OFFSET_RANGE, 1e-30))
    scale = largest.astype(np.float32)
    integers = np.rint(kernel / scale[:, None, None, None]).clip(-127, 127).astype(np.int8)
    gap = graph.constant("gap", np.array([0, 0, 0, 0, 0, 0, 1, 0]))
    # [height, n, width + 1, above]
    apart = graph.add("Transpose", graph.add("Pad", maps, gap, zero), perm=[1, 0, 2, 3])
    wide = graph.add(
        "QLinearConv",
        _reshaped(graph, apart, 1, height, -1, kernel.shape[1]),
        *(one, zero),
        *(graph.constant("kernel", integers), graph.weight("scale", scale)),
        graph.constant("zeros", np.zeros(len(scale), np.int8)),
        *(one, zero),
        graph.constant("offset", np.rint(offset / scale).astype(np.int32)),
        domain=_RUNTIME,
        channels_last=1,
        kernel_shape=[2, 2],
        pads=[1, 1, 1, 0],
    )
    below = len(kernel) // 4
    parities = _reshaped(graph, wide, height + 1, -1, width + 1, 2, 2, below)
    return _laid_out(graph, graph.add("Transpose", parities, perm=[1, 0, 3, 2, 4, 5]), side, below)


def _last_layer(graph: GraphBuilder, maps: str, weights: Weights, step: Values) -> None:
    """Adds the transposed convolution to the image, in float32, tanh and pixels."""
    height, width = side = _side(weights, len(weights.kernels) - 1)
    channels, *_ = weights.image
    stepped = weights.kernels[-1] * step[:, None, None, None]
    offset = weights.offsets[-1].astype(np.float64)
    values = graph.add("Cast", graph.add("Transpose", maps, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    if weights.full_size_map:
        images = deconvolution(graph, values, stepped, offset)
        graph.add("Transpose", to_pixels(graph, graph.add("Tanh", images)), perm=[0, 2, 3, 1], output="images")
        return
    kernel = as_convolution(stepped)
    parts = graph.weight("kernel", kernel), graph.weight("offset", np.tile(offset, 4))
    images = graph.add("Conv", values, *parts, kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    pixels = graph.add("Transpose", to_pixels(graph, graph.add("Tanh", images)), perm=[0, 2, 3, 1])
    parities = _reshaped(graph, pixels, -1, height + 1, width + 1, 2, 2, channels)
    _laid_out(graph, graph.add("Transpose", parities, perm=[0, 1, 3, 2, 4, 5]), side, channels, "images")


def _laid_out(graph: GraphBuilder, parities: str, side: tuple[int, int], below: int, output: str = "") -> str:
    """Makes one map of [n, height + 1, row parity, width + 1, column parity, below], and cuts its edge off."""
    rows, columns = 2 * side[0] + 2, 2 * side[1] + 2
    whole = _reshaped(graph, parities, -1, rows, columns, below)
    ends = (np.array(values) for values in ([1, 1], [rows - 1, columns - 1], [1, 2]))
    return graph.add("Slice", whole, *(graph.constant("cut", values) for values in ends), output=output)


def _side(weights: Weights, layer: int) -> tuple[int, int]:
    """Height and width of the map that a transposed convolution takes."""
    _, height, width = weights.shape
    return height << layer, width << layer


def _reshaped(graph: GraphBuilder, value: str, *shape: int) -> str:
    return graph.add("Reshape", value, graph.constant("shape", np.array(shape, np.int64)))
