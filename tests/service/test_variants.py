"""Variants of a generator, as an operator chooses them and a caller sees them."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bundles import write_bundle
from conftest import serving_here, serving_in_thread
from dcgan import bundle as bundles
from dcgan import connect, connect_async, swapping
from dcgan.errors import BundleError, DeviceError
from dcgan.generator import CPU, CUDA, Generator
from dcgan.generator.variants import device_for, drawback
from dcgan.latents import draw

FASHION = bundles.locate("fashion")


def test_the_operators_variant_draws_and_every_answer_says_so():
    """The exact form's images are others, and the description says how far off they are."""
    expected = Generator(bundles.load(FASHION), "cpu", "int8").run(draw(7, np.arange(16), 100, "normal"))
    with serving_in_thread(FASHION, variant="int8", device="auto") as running, connect(running.target) as client:
        samples, model = client.sample(16, seed=7), client.model()
    np.testing.assert_array_equal(samples.images, expected)
    assert (samples.identity.variant, samples.identity.provider) == ("int8", CPU)
    stated = bundles.load(FASHION).manifest.variants
    assert {one.name: (one.mean_levels, one.max_levels) for one in model.variants} == {
        name: (spec.mean_levels, spec.max_levels) for name, spec in stated.items()
    }
    assert not model.golden_exact


def test_int8_gives_the_same_bytes_in_any_batch():
    """Though all images of a batch are one wide image to it: for batches of 1 to 64, and by two threads at once."""
    generator = Generator(bundles.load(FASHION), "cpu", "int8")
    latents = draw(0, np.arange(64), 100, "normal")
    alone = np.concatenate([generator.run(latent[None]) for latent in latents])

    def together(size: int) -> np.ndarray:
        return np.concatenate([generator.run(latents[at : at + size]) for at in range(0, 64, size)])

    with ThreadPoolExecutor(2) as pool:
        for images in pool.map(together, [2, 3, 7, 16, 17, 64]):
            np.testing.assert_array_equal(images, alone)


async def test_a_model_without_the_variant_is_not_served(bundle):
    """The program ends with what there is and how to make it."""
    with pytest.raises(BundleError, match="has no variant int8, but float32; `dcgan-train variants` adds"):
        async with serving_here(bundle, variant="int8"):
            pass


async def test_a_version_without_the_variant_does_not_take_over(tmp_path: Path, monkeypatch):
    """It would draw other images than the operator asked for; its refusal says so."""
    monkeypatch.setattr(swapping, "_LOOK_EVERY_S", 0.01)
    shutil.copytree(FASHION, tmp_path / "fashion" / bundles.load(FASHION).manifest.version)
    async with (
        serving_here(tmp_path / "fashion", variant="int8") as running,
        connect_async(running.target) as client,
    ):
        ready = write_bundle(tmp_path / "ready", version="9", changes={"name": "fashion"})
        ready.rename(tmp_path / "fashion" / "9")
        while not (refused := (await client.model()).refused_versions):
            pass
    assert "has no variant int8" in refused[0].reason


def test_int8_is_for_cpus():
    """It takes the CPU by itself, and refuses another device; the other forms run wherever they are told to."""
    assert device_for("int8", "auto") == device_for("int8", "cpu") == "cpu"
    with pytest.raises(DeviceError, match="use --variant float16 or float32"):
        device_for("int8", "cuda")
    assert device_for("float16", "auto") == "auto"
    assert device_for("float32", "cuda") == "cuda"


@pytest.mark.parametrize(
    ("variant", "provider", "flags", "told"),
    [
        ("int8", CPU, "sse4_2 avx2 avx512f", "no dot products of bytes"),
        ("int8", CPU, "avx2 avx512_vnni", ""),
        ("int8", CPU, "avx2 avx_vnni", ""),
        ("int8", CPU, "asimd asimddp", ""),
        ("float32", CPU, "avx2", ""),
        ("float16", CPU, "avx2", "slower than float32"),
        ("float16", CUDA, "avx2", ""),
    ],
)
def test_what_a_variant_costs_on_this_machine_is_told(tmp_path: Path, variant, provider, flags, told):
    """From what the processor says it can do."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    assert told in drawback(variant, provider, cpuinfo)
    assert bool(told) == bool(drawback(variant, provider, cpuinfo))
