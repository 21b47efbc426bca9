"""Small real bundles for tests: a generator of one layer and what belongs to it, written out as ONNX without torch."""

import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors import numpy as safetensors

from dcgan import bundle as bundles
from dcgan import latents
from dcgan.bundle.manifest import (
    CalibrationSpec,
    DirectionSpec,
    EncoderSpec,
    ImageSpec,
    LatentSpec,
    Manifest,
    Tolerance,
    TrainingSpec,
)

OPSET = 17
CALIBRATION = CalibrationSpec(
    slope=1.5,
    offset=-0.25,
    real_quantiles=[at / 25 - 2.0 for at in range(101)],  # logits of real images: evenly from -2 to 2
    auc=0.875,
    real_count=1000,
    generated_count=2000,
)
ENCODER = EncoderSpec(images_seen=5000, figures={"generated_mse": 0.01})

_Operation: TypeAlias = tuple[str, str, str]
"""Operator, its inputs, its output."""


def linear_weights(dim: int, pixels: int) -> np.ndarray:
    """The one layer, float32 (dim, pixels): images are tanh(latents @ weights)."""
    return np.random.default_rng(0).normal(size=(dim, pixels)).astype(np.float32) / dim**0.5


def linear_generator(dim: int, height: int, width: int, channels: int) -> bytes:
    """Builds tanh(latents @ W) as images: a generator in everything but its pictures."""
    operations = [
        ("MatMul", "latents w", "hidden"),
        ("Tanh", "hidden", "signed"),
        ("Mul", "signed half", "scaled"),
        ("Add", "scaled half", "shifted"),
        ("Round", "shifted", "rounded"),
        ("Cast", "rounded", "bytes"),
        ("Reshape", "bytes shape", "images"),
    ]
    shape = np.array([-1, height, width, channels])
    constants = {
        "w": linear_weights(dim, height * width * channels),
        "shape": shape,
        "half": np.float32(127.5),
    }
    return _graph("generator", operations, constants, ("latents",), ("images",), dim, (height, width, channels))


def brightness_discriminator(dim: int, height: int, width: int, channels: int, defect: bool = False) -> bytes:
    """Builds logits that say how bright an image is: -4 where it is black, 4 where it is white.

    With a `defect` they are no number where it is black, and -3 elsewhere.
    """
    operations = [
        ("Cast", "images", "levels"),
        ("Reshape", "levels flat", "rows"),
        ("ReduceMean", "rows", "mean"),
        ("Mul", "mean scale", "scaled"),
        *([("Div", "scaled scaled", "signed")] if defect else []),
        ("Sub", "signed four" if defect else "scaled four", "logits"),
    ]
    constants = {"flat": _flat(height, width, channels), "scale": np.float32(8 / 255), "four": np.float32(4)}
    return _graph("discriminator", operations, constants, ("images",), ("logits",), dim, (height, width, channels))


def linear_encoder(dim: int, height: int, width: int, channels: int) -> bytes:
    """Builds the pixels in [-1, 1] times the inverse of W: near the latents, as tanh bends what it takes."""
    operations = [
        ("Cast", "images", "levels"),
        ("Reshape", "levels flat", "rows"),
        ("Div", "rows half", "halves"),
        ("Sub", "halves one", "signed"),
        ("MatMul", "signed inverse", "latents"),
    ]
    constants = {
        "flat": _flat(height, width, channels),
        "half": np.float32(127.5),
        "one": np.float32(1),
        "inverse": np.linalg.pinv(linear_weights(dim, height * width * channels)).astype(np.float32),
    }
    return _graph("encoder", operations, constants, ("images",), ("latents",), dim, (height, width, channels))


def linear_gradient(dim: int, height: int, width: int, channels: int) -> bytes:
    """Builds the mean squared errors of tanh(latents @ W) in [-1, 1], and their exact gradients."""
    operations = [
        ("Cast", "images", "levels"),
        ("Reshape", "levels flat", "rows"),
        ("Div", "rows half", "halves"),
        ("Sub", "halves one", "wanted"),
        ("MatMul", "latents w", "hidden"),
        ("Tanh", "hidden", "signed"),
        ("Sub", "signed wanted", "off"),
        ("Mul", "off off", "squares"),
        ("ReduceMean", "squares", "errors"),
        ("Mul", "signed signed", "bent"),
        ("Sub", "one bent", "slope"),
        ("Mul", "off slope", "product"),
        ("Mul", "product two", "pulls"),
        ("MatMul", "pulls across", "gradients"),
    ]
    weights = linear_weights(dim, height * width * channels)
    constants = {
        "flat": _flat(height, width, channels),
        "half": np.float32(127.5),
        "one": np.float32(1),
        "two": np.float32(2 / weights.shape[1]),
        "w": weights,
        "across": np.ascontiguousarray(weights.T),
    }
    names = ("latents", "images"), ("gradients", "errors")
    return _graph("latent_gradient", operations, constants, *names, dim, (height, width, channels))


def _flat(height: int, width: int, channels: int) -> np.ndarray:
    return np.array([-1, height * width * channels])


def _graph(
    name: str,
    operations: list[_Operation],
    constants: dict[str, Any],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    dim: int,
    image: tuple[int, ...],
) -> bytes:
    """Writes a graph of operations, whose values have the types that their names have in every bundle."""
    attributes: dict[str, dict[str, Any]] = {"ReduceMean": {"axes": [1], "keepdims": 0}}
    kinds = {"bytes": TensorProto.UINT8, "levels": TensorProto.FLOAT}
    nodes = []
    for operator, operands, result in operations:
        given = {"to": kinds[result]} if operator == "Cast" else attributes.get(operator, {})
        nodes.append(helper.make_node(operator, operands.split(), [result], **given))

    def value(called: str) -> onnx.ValueInfoProto:
        if called == "images":
            return helper.make_tensor_value_info(called, TensorProto.UINT8, ["n", *image])
        row = [dim] if called in ("latents", "gradients") else []
        return helper.make_tensor_value_info(called, TensorProto.FLOAT, ["n", *row])

    initializers = [numpy_helper.from_array(np.asarray(array), called) for called, array in constants.items()]
    graph = helper.make_graph(
        nodes, name, [value(one) for one in inputs], [value(one) for one in outputs], initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_bundle(
    path: Path,
    *,
    dim: int = 8,
    height: int = 6,
    width: int = 5,
    channels: int = 3,
    prior: Any = "normal",
    version: str = "1",
    directions: tuple[str, ...] = (),
    encoder: bool = False,
    discriminator: bool = False,
    defect: bool = False,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Writes a bundle, with an encoder and its gradient and a discriminator where they are asked for.

    With a `defect` the discriminator fails at black images.
    `changes` replaces fields of its manifest, to make a wrong one.
    """
    generator = linear_generator(dim, height, width, channels)
    golden_latents = latents.draw(0, np.arange(4), dim, prior)
    session = onnxruntime.InferenceSession(generator, providers=["CPUExecutionProvider"])
    golden_images = session.run(["images"], {"latents": golden_latents})[0]
    files = {
        bundles.GENERATOR: generator,
        bundles.GOLDEN: safetensors.save({"latents": golden_latents, "images": golden_images}),
        "MODEL_CARD.md": b"# A model for tests\n",
    }
    if directions:
        vectors = {name: latents.draw(99, [at], dim, "normal")[0] for at, name in enumerate(directions)}
        files[bundles.DIRECTIONS] = safetensors.save(vectors)
    if encoder:
        files[bundles.ENCODER] = linear_encoder(dim, height, width, channels)
        files[bundles.LATENT_GRADIENT] = linear_gradient(dim, height, width, channels)
    if discriminator:
        files[bundles.DISCRIMINATOR] = brightness_discriminator(dim, height, width, channels, defect)
    manifest = Manifest(
        name="linear",
        version=version,
        created=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        latent=LatentSpec(dim=dim, prior=prior),
        image=ImageSpec(height=height, width=width, channels=channels),
        files={},
        opset=OPSET,
        golden=Tolerance(max_levels=2, mean_levels=0.1),
        directions={name: DirectionSpec(min_strength=-3, max_strength=3) for name in directions},
        calibration=CALIBRATION if discriminator else None,
        encoder=ENCODER if encoder else None,
        training=TrainingSpec(recipe="linear", dataset="none", dataset_digest="0" * 64, seed=0, steps=0, images_seen=0),
        licence="Apache-2.0",
    )
    bundles.write(path, manifest.model_copy(update=changes or {}), files)
    return path
