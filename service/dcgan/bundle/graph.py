"""Checks the ONNX graphs of a bundle before a runtime sees them: names, types, shapes, opset, no outside data."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message

from dcgan.bundle.manifest import Manifest
from dcgan.errors import BundleError

_DOMAINS: Final = {"", "ai.onnx", "com.microsoft"}


# What the graph in each file takes and gives, by name, of latents, images or one number an image; n is free.
GRAPHS: Final = {
    "generator.onnx": (("latents",), ("images",)),
    "discriminator.onnx": (("images",), ("logits",)),
    "encoder.onnx": (("images",), ("latents",)),
    "latent_gradient.onnx": (("latents", "images"), ("gradients", "errors")),
}


Kind: TypeAlias = tuple[np.dtype[Any], tuple[int, ...]]  # dtype and shape of a row


def kind_of(name: str, manifest: Manifest) -> Kind:
    """Tells of what dtype and shape a row of the graphs' values called `name` is, for the model of a manifest."""
    if name == "images":
        image = manifest.image
        return np.dtype(np.uint8), (image.height, image.width, image.channels)
    return np.dtype(np.float32), (manifest.latent.dim,) if name in ("latents", "gradients") else ()


def check_graph(data: bytes, name: str, manifest: Manifest, file: str) -> None:
    """Checks that `data` is the graph that belongs into the file called `name`.

    Its values are rows of `kind_of`: [n, ...], n free.

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
    for found, wanted in zip((model.graph.input, model.graph.output), GRAPHS[name], strict=True):
        _check_values(found, wanted, manifest, file)


def _check_opset(model: onnx.ModelProto, manifest: Manifest, file: str) -> None:
    opsets = {imported.domain: imported.version for imported in model.opset_import}
    foreign = sorted(set(opsets) - _DOMAINS)
    if foreign:
        raise BundleError(file, f"uses operators of {', '.join(foreign)}, which no server has")
    found = opsets.get("", opsets.get("ai.onnx"))
    if found != manifest.opset:
        raise BundleError(file, f"has opset {found} but the manifest says {manifest.opset}")


def _check_values(values: Sequence[onnx.ValueInfoProto], names: tuple[str, ...], manifest: Manifest, file: str) -> None:
    if sorted(value.name for value in values) != sorted(names):
        raise BundleError(file, f"has {[value.name for value in values]} where it should have just {', '.join(names)}")
    for value in values:
        dtype, shape = kind_of(value.name, manifest)
        _check_value(value, onnx.helper.np_dtype_to_tensor_dtype(dtype), list(shape), file)


def _check_value(value: onnx.ValueInfoProto, element: int, shape: list[int], file: str) -> None:
    """Checks that an input or output has shape [n, *shape] with n free."""
    name, tensor = value.name, value.type.tensor_type
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
