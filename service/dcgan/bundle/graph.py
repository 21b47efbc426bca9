"""Checks an ONNX graph against the manifest before a runtime sees it: names, types, shapes, opset, no outside data."""

from collections.abc import Iterator
from typing import Final

import onnx
from google.protobuf.message import DecodeError, Message

from dcgan.bundle.manifest import Manifest
from dcgan.errors import BundleError

_DOMAINS: Final = {"", "ai.onnx", "com.microsoft"}


def check_generator(data: bytes, manifest: Manifest, file: str) -> None:
    """Checks that `data` maps `latents` float32 [n, dim] to `images` uint8 [n, height, width, channels], n free.

    Raises:
        BundleError: it is no ONNX model, or not the one that the manifest describes.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise BundleError(file, "is not an ONNX model") from None
    _check_opset(model, manifest, file)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise BundleError(file, "keeps tensors in another file; export it with all of its data inside")
    image = manifest.image
    _check_value(model.graph.input, "latents", onnx.TensorProto.FLOAT, [manifest.latent.dim], file)
    _check_value(
        model.graph.output, "images", onnx.TensorProto.UINT8, [image.height, image.width, image.channels], file
    )


def _check_opset(model: onnx.ModelProto, manifest: Manifest, file: str) -> None:
    opsets = {imported.domain: imported.version for imported in model.opset_import}
    foreign = sorted(set(opsets) - _DOMAINS)
    if foreign:
        raise BundleError(file, f"uses operators of {', '.join(foreign)}, which no server has")
    found = opsets.get("", opsets.get("ai.onnx"))
    if found != manifest.opset:
        raise BundleError(file, f"has opset {found} but the manifest says {manifest.opset}")


def _check_value(values: object, name: str, element: int, shape: list[int], file: str) -> None:
    """Checks that there is one input (or output), called `name`, of shape [n, *shape] with n free."""
    found = list(values)  # type: ignore[call-overload]  # a repeated protobuf field
    if [value.name for value in found] != [name]:
        raise BundleError(file, f"has {[value.name for value in found]} where it should have just {name!r}")
    tensor = found[0].type.tensor_type
    if tensor.elem_type != element:
        kinds = [onnx.TensorProto.DataType.Name(kind) for kind in (tensor.elem_type, element)]
        raise BundleError(file, f"{name} is {kinds[0]} but must be {kinds[1]}")
    dimensions = tensor.shape.dim
    sizes = [dimension.dim_value for dimension in dimensions[1:]]
    if not dimensions or dimensions[0].HasField("dim_value") or sizes != shape:
        seen = [dimension.dim_value if dimension.HasField("dim_value") else "n" for dimension in dimensions]
        raise BundleError(file, f"{name} has shape {seen} but the manifest says {['n', *shape]}")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Gives every tensor of the model, wherever it stands: in subgraphs, functions, attributes, sparse tensors."""
    messages: list[Message] = [model]
    while messages:
        message = messages.pop()
        if isinstance(message, onnx.TensorProto):
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages.extend([value] if isinstance(value, Message) else value)
