"""Runs in memory that is taken once, as on a GPU, here with the CPU; and what CUDA would be told."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bundles import linear_generator
from dcgan import bundle as bundles
from dcgan.generator import Generator
from dcgan.generator.binding import Bound
from dcgan.generator.cuda import arena_bytes, pinned, provider_options
from dcgan.generator.sessions import Session
from dcgan.latents import draw

SIZES = [16, 8, 4, 2, 1]


@pytest.fixture(scope="module")
def fashion() -> bundles.Bundle:
    """The bundled model."""
    return bundles.load(bundles.locate("fashion"))


def opened(graph: bytes) -> onnxruntime.InferenceSession:
    """Opens a graph on the CPU."""
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_bound_runs_give_the_bytes_of_unbound_ones(fashion):
    """For every number of rows, those that need padding too, again and again and in any order."""
    session = opened(fashion.generator)
    bound = Bound(session, SIZES, "cpu")
    latents = draw(0, np.arange(16), 100, "normal")
    expected = session.run(["images"], {"latents": latents})[0]
    for count in [16, 1, 3, 16, 7, 2, 9, 5, 16, 1]:
        rows = latents[16 - count :]
        np.testing.assert_array_equal(bound.run({"latents": rows})["images"], expected[16 - count :])


def test_bound_runs_of_all_inputs_and_outputs(fashion):
    """The gradient takes latents and images and gives two values."""
    session = opened(fashion.latent_gradient)
    given = {"latents": fashion.golden_latents[:5], "images": fashion.golden_images[:5]}
    bound = Bound(session, SIZES, "cpu").run(given)
    for name, expected in zip(["gradients", "errors"], session.run(["gradients", "errors"], given), strict=True):
        np.testing.assert_array_equal(bound[name], expected)


def test_outputs_are_lent_until_the_next_run():
    """All batches lie in the same memory, so it doesn't grow, and who keeps rows has to copy them."""
    bound = Bound(opened(linear_generator(4, 8, 8, 3)), SIZES, "cpu")
    first = bound.run({"latents": np.ones((3, 4), np.float32)})["images"]
    kept = first.copy()
    second = bound.run({"latents": -np.ones((16, 4), np.float32)})["images"]
    assert np.shares_memory(first, second)
    assert not np.array_equal(first, kept)


def test_memory_is_flat_over_many_runs():
    """Batches of all sizes, 12 MiB of images each at most."""
    bound = Bound(opened(linear_generator(4, 512, 512, 3)), SIZES, "cpu")
    latents = np.ones((16, 4), np.float32)

    def run_all() -> int:
        for count in range(1, 17):
            bound.run({"latents": latents[:count]})
        return int(Path("/proc/self/statm").read_text().split()[1])

    before = max(run_all() for _ in range(3))
    assert max(run_all() for _ in range(5)) - before < 1024  # pages: 4 MiB


def test_rows_of_another_dtype_are_refused():
    """As ONNX Runtime does, rather than rounded on the way."""
    bound = Bound(opened(linear_generator(4, 8, 8, 3)), SIZES, "cpu")
    with pytest.raises(TypeError, match="float64"):
        bound.run({"latents": np.ones((3, 4))})


def test_what_a_session_on_a_gpu_gives_is_the_callers_to_keep(fashion):
    """`run` takes any number of rows and gives fresh arrays; only `lend` lends. The device is a CPU, bound as a GPU."""
    session = Session(fashion.generator, Path("generator.onnx"), "cpu")
    session._bound = Bound(session._session, session.batch_sizes, "cpu")
    latents = draw(0, np.arange(37), 100, "normal")
    images = session.run({"latents": latents})["images"]
    session.run({"latents": latents[::-1].copy()})
    np.testing.assert_array_equal(images, opened(fashion.generator).run(["images"], {"latents": latents})[0])
    assert np.shares_memory(*(session.lend({"latents": latents[:3]})["images"] for _ in range(2)))


def test_batches_are_warmed_before_all_else_and_the_largest_first(monkeypatch, fashion):
    """So that smaller ones fit into the memory that it took."""
    sizes: list[int] = []
    checked = Session.checked

    def spied(self, inputs, kinds):
        sizes.append(len(next(iter(inputs.values()))))
        return checked(self, inputs, kinds)

    monkeypatch.setattr(Session, "checked", spied)
    Generator(fashion, "cpu")
    assert sizes == [16, 8, 4, 2, 1, len(fashion.golden_latents)]


def test_cudas_memory_is_bounded_by_what_a_graph_computes(fashion):
    """It grows with the batch and holds the weights; an image of the bundled model needs about half a megabyte."""
    one, many = arena_bytes(fashion.generator, 1), arena_bytes(fashion.generator, 257)
    assert one > 2 * len(fashion.generator)
    assert 0.1e6 < (many - one) / 256 < 2e6
    assert int(provider_options(fashion.generator, 257)["gpu_mem_limit"]) == many


def test_host_memory_is_ordinary_where_there_is_no_cuda():
    """And zero, as it is with CUDA."""
    memory = pinned(100)
    assert memory.size == 100
    assert memory.flags.writeable
    assert not memory.any()
