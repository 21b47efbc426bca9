"""Small real bundles for tests: a generator of one layer, written out as ONNX without torch."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors import numpy as safetensors

from dcgan import bundle as bundles
from dcgan import latents
from dcgan.bundle.manifest import DirectionSpec, ImageSpec, LatentSpec, Manifest, Tolerance, TrainingSpec

OPSET = 17


def linear_generator(dim: int, height: int, width: int, channels: int) -> bytes:
    """Builds tanh(latents @ W) as images: a generator in everything but its pictures."""
    weights = np.random.default_rng(0).normal(size=(dim, height * width * channels)).astype(np.float32) / dim**0.5
    constants = {"w": weights, "shape": np.array([-1, height, width, channels]), "half": np.float32(127.5)}
    nodes = [
        helper.make_node("MatMul", ["latents", "w"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["signed"]),
        helper.make_node("Mul", ["signed", "half"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["shifted"]),
        helper.make_node("Round", ["shifted"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", dim])],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", height, width, channels])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
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
    changes: dict[str, Any] | None = None,
) -> Path:
    """Writes a bundle; `changes` replaces fields of its manifest, to make a wrong one."""
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
        training=TrainingSpec(recipe="linear", dataset="none", dataset_digest="0" * 64, seed=0, steps=0, images_seen=0),
        licence="Apache-2.0",
    )
    bundles.write(path, manifest.model_copy(update=changes or {}), files)
    return path
