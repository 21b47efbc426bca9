import numpy as np
import onnxruntime
import pytest
import torch

from dcgan import latents
from dcgan_training import average
from dcgan_training.graph import to_onnx
from dcgan_training.networks import Generator, initialize
from runs import settings


def generator(size: int, channels: int) -> Generator:
    """A generator with weights large enough for contrast, and statistics that aren't the initial ones."""
    network = Generator(size, channels, width=4, latent_dim=6)
    initialize(network, torch.Generator().manual_seed(size + channels))
    with torch.no_grad():
        network.to_image.weight *= 20
    return average.calibrated(network, settings(latent_dim=6, batch_size=16))


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (14, 3), (28, 1), (32, 3)])
def test_the_graph_draws_what_torch_draws(size: int, channels: int) -> None:
    """At every depth, grey and colour, any number of rows: at most a rounding that fell the other way."""
    network = generator(size, channels)
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    for count in (1, 2, 7, 64):
        values = latents.draw(3, np.arange(count, dtype=np.uint64), 6, "normal")
        (drawn,) = session.run(["images"], {"latents": values})
        expected = average.draw(network, values)
        assert drawn.dtype == np.uint8
        assert drawn.shape == (count, size, size, channels)
        assert expected.std() > 10
        assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_batch_norm_is_folded_away() -> None:
    """A server runs a linear layer, transposed convolutions and what makes pixels of them."""
    import onnx

    model = onnx.load_model_from_string(to_onnx(generator(14, 1)))
    assert [node.op_type for node in model.graph.node] == [
        "Gemm", "Relu", "Reshape", "ConvTranspose", "Tanh", "Add", "Mul", "Round", "Clip", "Cast", "Transpose",
    ]  # fmt: skip


def test_the_same_weights_give_the_same_bytes() -> None:
    """So that a bundle's version can be the hash of its generator."""
    network = generator(8, 3)
    assert to_onnx(network) == to_onnx(network)
