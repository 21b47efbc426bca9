"""The generator in float16, for CUDA: weights and feature maps. Latents and what leads to pixels stay in float32."""

from collections.abc import Iterator

import onnx
from onnxruntime.transformers import float16, onnx_model

from dcgan_training.errors import RunError


def to_float16(generator: bytes) -> bytes:
    """Converts generator.onnx.

    What turns the image's values into pixels stays in float32, which between 128 and 256 is finer than float16's 1/8.

    Raises:
        RunError: it is none that this program writes.
    """
    model = onnx.load_model_from_string(generator)
    converted: onnx.ModelProto = float16.convert_float_to_float16(
        model, keep_io_types=True, node_block_list=list(_to_pixels(model.graph))
    )
    onnx_model.OnnxModel.graph_topological_sort(converted.graph)  # the converter adds its casts at the end
    onnx.checker.check_model(converted, full_check=True)
    return converted.SerializeToString(deterministic=True)


def _to_pixels(graph: onnx.GraphProto) -> Iterator[str]:
    """Names the nodes that `graph.to_pixels` added: the way back from the cast to uint8 over four operators."""
    makers = {node.output[0]: node for node in graph.node}
    node = next((node for node in graph.node if node.op_type == "Cast"), None)
    for operator in ("Clip", "Round", "Mul", "Add"):
        node = makers.get(node.input[0]) if node is not None else None
        if node is None or node.op_type != operator:
            raise RunError("its last operators aren't those that this program writes")
        yield node.name
