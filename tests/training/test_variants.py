"""Faster variants of a generator: how they are made, how far they are off, and where there are none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from PIL import Image
from safetensors import numpy as safetensors

from dcgan import bundle, latents
from dcgan.errors import BundleError
from dcgan.generator import Generator
from dcgan.generator.sessions import Session
from dcgan_training import variants
from dcgan_training.cli import main
from dcgan_training.variants.int8 import as_convolution
from runs import untrained


@pytest.fixture(scope="module")
def colourful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle of three transposed convolutions in colour, as the command makes it."""
    output = tmp_path_factory.mktemp("bundles") / "colourful"
    assert main(["export", "--random", "--size", "32", "--width", "4", "--output", str(output)]) == 0
    return output


def images_of(loaded: bundle.Bundle, variant: str, count: int = 64) -> np.ndarray:
    """Draws samples of seed 5 with a form of the generator."""
    values = latents.draw(5, np.arange(count), loaded.manifest.latent.dim, loaded.manifest.latent.prior)
    return Generator(loaded, "cpu", variant).run(values)


@given(
    above=st.integers(1, 5),
    below=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0),
)
@settings(max_examples=50, deadline=None)
def test_a_transposed_convolution_is_a_convolution_laid_out_in_space(
    above: int, below: int, height: int, width: int, seed: int
) -> None:
    """For maps of any shape, also where only one pixel is."""
    random = np.random.default_rng(seed)
    maps = torch.from_numpy(random.normal(size=(2, above, height, width)))
    kernel = random.normal(size=(above, below, 4, 4))
    wanted = torch.nn.functional.conv_transpose2d(maps, torch.from_numpy(kernel), stride=2, padding=1)
    parities = torch.nn.functional.conv2d(maps, torch.from_numpy(as_convolution(kernel)), padding=1)
    by_parity = parities.view(2, 2, 2, below, height + 1, width + 1).permute(0, 3, 4, 1, 5, 2)
    laid_out = by_parity.reshape(2, below, 2 * height + 2, 2 * width + 2)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(laid_out, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["int8", "float16"])
def test_an_export_has_variants_that_are_as_far_off_as_its_manifest_says(colourful: Path, variant: str) -> None:
    """On samples other than those that they were calibrated and measured on."""
    loaded = bundle.load(colourful)
    levels = np.abs(images_of(loaded, variant).astype(int) - images_of(loaded, "float32"))
    stated = loaded.manifest.variants[variant]
    assert 0 < levels.mean() < 1.5 * stated.mean_levels
    assert stated.mean_levels <= variants.MOST_MEAN_LEVELS
    assert levels.max() <= stated.max_levels + 8


def test_a_generator_with_a_full_size_map_has_them_too(tmp_path: Path) -> None:
    """Its last layer is of another kind."""
    run, output = untrained(tmp_path / "run", full_size_map=True, width=4), tmp_path / "bundle"
    assert main(["export", str(run), "--output", str(output)]) == 0
    loaded = bundle.load(output)
    assert set(loaded.variants) == {"int8", "float16"}
    levels = np.abs(images_of(loaded, "int8").astype(int) - images_of(loaded, "float32"))
    assert 0 < levels.mean() < 1.5 * loaded.manifest.variants["int8"].mean_levels


@pytest.mark.parametrize("variant", ["int8", "float16"])
def test_the_shipped_model_has_variants(variant: str) -> None:
    """Both of them draw its golden images, and what its card says of them is what was measured."""
    shipped = bundle.load(bundle.locate("fashion"))
    assert Generator(shipped, "cpu", variant).variant == variant
    stated = shipped.manifest.variants[variant]
    card = (shipped.path / bundle.MODEL_CARD).read_text()
    assert f"| `{variant}` | {stated.mean_levels:.3f} | {stated.max_levels} |" in card


def test_a_picture_shows_them_side_by_side(colourful: Path) -> None:
    """A row of samples for the generator itself and each of its variants."""
    with Image.open(colourful / variants.PICTURE) as picture:
        assert picture.size == (10 * 34 + 2, 3 * 34 + 2)


@pytest.mark.parametrize("recipe", ["keras-digits", "mlp-digits", "strong"])
def test_other_architectures_have_float16_alone_and_the_export_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    """Their layers are none that int8 knows."""
    output = tmp_path / "bundle"
    width = [] if recipe == "mlp-digits" else ["--width", "2"]
    assert main(["export", "--random", "--recipe", recipe, *width, "--output", str(output)]) == 0
    assert "no variant int8: " in capsys.readouterr().err
    assert set(bundle.load(output).variants) == {"float16"}


def test_a_variant_that_is_too_far_off_is_refused(
    tmp_path: Path, colourful: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a last layer of large weights makes every error large; the bundle has the other, its card says why."""
    loaded, harsh, output = bundle.load(colourful), tmp_path / "harsh", tmp_path / "output"
    model = onnx.load_model_from_string(loaded.generator)
    kernel = next(tensor for tensor in model.graph.initializer if list(tensor.dims[1:]) == [3, 4, 4])
    kernel.CopyFrom(numpy_helper.from_array(300 * numpy_helper.to_array(kernel), kernel.name))
    images = Session(model.SerializeToString(), colourful, "cpu").run({"latents": loaded.golden_latents})["images"]
    golden = safetensors.save({"latents": loaded.golden_latents, "images": images})
    specs = loaded.manifest.model_copy(update={"variants": {}})
    files = {bundle.GENERATOR: model.SerializeToString(), bundle.GOLDEN: golden, bundle.MODEL_CARD: b"# Harsh\n"}
    bundle.write(harsh, specs.model_copy(update={"calibration": None}), files)
    assert main(["variants", str(harsh), "--output", str(output)]) == 0
    assert "in the mean are allowed" in capsys.readouterr().err
    assert set(bundle.load(output).variants) == {"float16"}
    assert "variant int8: it would be" in (output / bundle.MODEL_CARD).read_text()


def test_variants_of_a_bundle_without_any_are_those_of_its_export(tmp_path: Path, colourful: Path) -> None:
    """Byte for byte: the older bundle's own export would have made the same."""
    before = bundle.load(colourful)
    kept = {
        name: (colourful / name).read_bytes()
        for name in before.manifest.files
        if not name.startswith("generator.") or name == bundle.GENERATOR
    }
    old = tmp_path / "old"
    bundle.write(old, before.manifest.model_copy(update={"variants": {}}), kept)
    with pytest.raises(BundleError, match=r"has no variant int8, but float32; `dcgan-train variants` adds"):
        Generator(bundle.load(old), "cpu", "int8")
    assert main(["variants", str(old)]) == 0
    assert bundle.load(old).variants == before.variants


def test_what_somebody_put_into_a_bundle_stays_when_it_is_added_to(tmp_path: Path, colourful: Path) -> None:
    """Notes, figures, a folder: what the manifest doesn't list is nobody's to delete."""
    path = tmp_path / "bundle"
    bundle.extend(colourful, path, {}, {})
    (path / "mine").mkdir()
    (path / "mine" / "notes.txt").write_text("hi")
    (path / "figures.json").write_text("{}")
    assert main(["variants", str(path)]) == 0
    assert (path / "mine" / "notes.txt").read_text() == "hi"
    assert (path / "figures.json").read_text() == "{}"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_variant_that_draws_something_else_is_refused(tmp_path: Path, colourful: Path) -> None:
    """Though its file is the one that the manifest describes."""
    other = tmp_path / "other"
    assert main(["export", "--random", "--size", "32", "--width", "4", "--seed", "9", "--output", str(other)]) == 0
    wrong = tmp_path / "wrong"
    bundle.extend(colourful, wrong, {}, {"generator.int8.onnx": (other / "generator.int8.onnx").read_bytes()})
    with pytest.raises(BundleError, match=r"generator\.int8\.onnx.*golden images.*are allowed"):
        Generator(bundle.load(wrong), "cpu", "int8")


def test_a_broken_variant_is_refused_when_the_bundle_is_loaded(tmp_path: Path, colourful: Path) -> None:
    """Whether it is served or not: a manifest that names a file without it, and a graph of another shape."""
    specs = bundle.load(colourful).manifest.variants
    with pytest.raises(BundleError, match=r"'int4' but lists no generator\.int4\.onnx"):
        bundle.extend(colourful, tmp_path / "a", {"variants": {**specs, "int4": specs["int8"]}}, {})
    shipped = (bundle.locate("fashion") / "generator.int8.onnx").read_bytes()
    with pytest.raises(BundleError, match=r"generator\.int8\.onnx.*the manifest says"):
        bundle.extend(colourful, tmp_path / "b", {}, {"generator.int8.onnx": shipped})
