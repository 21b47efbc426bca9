import hashlib
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dcgan import latents
from dcgan_training import average
from dcgan_training.config import Architecture
from dcgan_training.graph import to_onnx
from dcgan_training.networks import DcganGenerator, Generator, build_generator, initialize
from runs import settings

KINDS = [*({"architecture": name} for name in get_args(Architecture)), {"architecture": "dcgan", "full_size_map": True}]


def generator(size: int, channels: int, architecture: str = "dcgan", *, full_size_map: bool = False) -> Generator:
    """A generator with weights large enough for contrast, and statistics that aren't the initial ones."""
    kind = {"architecture": architecture, "full_size_map": full_size_map}
    facts = settings(size=size, channels=channels, width=4, latent_dim=6, prior="normal", batch_size=16, **kind)
    network = build_generator(facts)
    initialize(network, torch.Generator().manual_seed(size + channels))
    with torch.no_grad():
        network.to_image.weight *= 20.0 if architecture == "dcgan" else 2.0
        for name, value in network.named_parameters():
            if name.endswith("last.weight"):  # of residual blocks, which begin as zero
                value.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(1))
    return average.calibrated(network, facts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (14, 3), (28, 1), (32, 3)])
def test_the_graph_draws_what_torch_draws(size: int, channels: int, kind: dict[str, Any]) -> None:
    """At every depth, grey and colour, any number of rows: at most a rounding that fell the other way."""
    network = generator(size, channels, **kind)
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    for count in (1, 2, 7, 64):
        values = latents.draw(3, np.arange(count, dtype=np.uint64), 6, "normal")
        (drawn,) = session.run(["images"], {"latents": values})
        expected = average.draw(network, values)
        assert drawn.dtype == np.uint8
        assert drawn.shape == (count, size, size, channels)
        assert expected.std() > 10
        assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_what_leaves_the_range_is_clipped() -> None:
    """A residual generator ends in no function that would hold it; graph and torch agree on black and white."""
    network = generator(16, 1, "residual")
    with torch.no_grad():
        network.to_image.weight *= 10
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    values = latents.draw(3, np.arange(7, dtype=np.uint64), 6, "normal")
    (drawn,) = session.run(["images"], {"latents": values})
    expected = average.draw(network, values)
    assert {0, 255} <= set(np.unique(expected))
    assert np.abs(drawn.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("architecture", "operators"),
    [
        ("dcgan", "Gemm Relu Reshape ConvTranspose Tanh"),
        ("keras", "Gemm Relu Reshape ConvTranspose Relu Conv Sigmoid"),
        ("mlp", "Gemm LeakyRelu Gemm Tanh Reshape Transpose"),
        ("residual", "Gemm Reshape Mul LeakyRelu Conv LeakyRelu Conv Add LeakyRelu Resize Conv"),
    ],
)
def test_batch_norm_is_folded_away(architecture: str, operators: str) -> None:
    """A server runs linear layers, convolutions and what makes pixels of them."""
    model = onnx.load_model_from_string(to_onnx(generator(14, 1, architecture)))
    pixels = "Add Mul Round Clip Cast Transpose"
    assert " ".join(node.op_type for node in model.graph.node) == f"{operators} {pixels}"


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_the_same_weights_give_the_same_bytes(architecture: str) -> None:
    """So that a bundle's version can be the hash of its generator."""
    network = generator(8, 3, architecture)
    assert to_onnx(network) == to_onnx(network)


def test_the_dcgan_s_graph_is_still_the_one_of_older_bundles() -> None:
    """Byte for byte, from weights that no random generator made: versions are hashes, and encoders read this graph."""
    network = DcganGenerator(14, 3, width=3, latent_dim=4).eval()
    with torch.no_grad():
        for number, value in enumerate(network.parameters()):
            value.copy_((torch.arange(value.numel()) % 17 - 8).reshape(value.shape) / 16 + number / 4)
    assert hashlib.sha256(to_onnx(network)).hexdigest() == (
        "4c17b420e9d2542f5f4f0a3454209e636630082d9f0e32c3883ed26ecf81b818"
    )
