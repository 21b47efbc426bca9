"""Bundles: what is written can be read, and whatever is wrong with one is refused by file and reason."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors import numpy as safetensors

from bundles import linear_generator, write_bundle
from dcgan import bundle as bundles
from dcgan.bundle.manifest import ImageSpec, LatentSpec, Tolerance
from dcgan.errors import BundleError, OutputError
from dcgan.generator import Generator


def test_a_written_bundle_loads_with_what_was_put_in(tmp_path):
    """Manifest, generator, golden images and directions come back as they were."""
    bundle = bundles.load(write_bundle(tmp_path / "b", dim=9, directions=("up", "down")))
    assert bundle.manifest.name == "linear"
    assert bundle.golden_images.shape == (4, 6, 5, 3)
    assert list(bundle.directions) == ["down", "up"]
    assert bundle.generator == linear_generator(9, 6, 5, 3)
    assert len(bundle.digest) == 64


@pytest.mark.parametrize("name", bundles.bundled())
def test_every_shipped_bundle_is_whole_credited_and_small(name):
    """It reproduces its golden images, says whose data it learned from, and takes 14 MB at most."""
    path = bundles.locate(name)
    shipped = bundles.load(path)
    Generator(shipped, "cpu")  # refuses what it can't reproduce
    assert shipped.manifest.name == name
    assert shipped.manifest.licence != ""
    assert shipped.manifest.attribution.startswith("Trained on ")
    assert sum(file.stat().st_size for file in path.iterdir()) <= 14_000_000


def test_a_bundle_is_never_written_over_another(tmp_path):
    """Publishing is a new directory; what is there stays as it is."""
    path = write_bundle(tmp_path / "b")
    before = sorted((file.name, file.read_bytes()) for file in path.iterdir())
    with pytest.raises(OutputError, match="exists"):
        write_bundle(path)
    assert sorted((file.name, file.read_bytes()) for file in path.iterdir()) == before


def test_a_bundle_that_can_t_be_written_leaves_nothing(tmp_path):
    """Neither a partial directory nor a file beside it."""
    with pytest.raises(OutputError, match="can't be written"):
        write_bundle(Path("/proc/nowhere/b"))
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        write_bundle(blocker / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _edit_manifest(**changes: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | changes))

    return edit


def _flip(name: str) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray((path / name).read_bytes())
        data[len(data) // 2] ^= 1
        (path / name).write_bytes(data)

    return flip


def _truncate(name: str) -> Callable[[Path], None]:
    return lambda path: os.truncate(path / name, 100)


def _remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


def _link_outside(path: Path) -> None:
    outside = path.parent / "outside.onnx"
    (path / "generator.onnx").rename(outside)
    (path / "generator.onnx").symlink_to(outside)


def _link_to_itself(path: Path) -> None:
    (path / "generator.onnx").unlink()
    (path / "generator.onnx").symlink_to("generator.onnx")


def _pipe(name: str) -> Callable[[Path], None]:
    def pipe(path: Path) -> None:
        (path / name).unlink()
        os.mkfifo(path / name)

    return pipe


def _name_outside(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["../outside"] = manifest["files"]["MODEL_CARD.md"]
    (path / "manifest.json").write_text(json.dumps(manifest))


def _wrong_size(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["generator.onnx"]["size_bytes"] += 1
    (path / "manifest.json").write_text(json.dumps(manifest))


DAMAGES = {
    "flipped byte": (_flip("generator.onnx"), "generator.onnx", "sha256 differs"),
    "flipped byte in golden": (_flip("golden.safetensors"), "golden.safetensors", "sha256 differs"),
    "truncated generator": (_truncate("generator.onnx"), "generator.onnx", "has 100 bytes"),
    "truncated manifest": (_truncate("manifest.json"), "manifest.json", "is not JSON"),
    "missing generator": (_remove("generator.onnx"), "generator.onnx", "is missing"),
    "missing manifest": (_remove("manifest.json"), "manifest.json", "is missing"),
    "broken JSON": (lambda path: (path / "manifest.json").write_text("{"), "manifest.json", "is not JSON"),
    "deep JSON": (lambda path: (path / "manifest.json").write_text("[" * 100_000), "manifest.json", "is not JSON"),
    "JSON of another kind": (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json", "it: "),
    "another format": (_edit_manifest(format=2), "manifest.json", "reads format 1"),
    "wrong dim": (_edit_manifest(latent={"dim": 7, "prior": "normal"}), "generator.onnx", "['n', 7]"),
    "negative dim": (_edit_manifest(latent={"dim": -7, "prior": "normal"}), "manifest.json", "latent.dim"),
    "wrong image size": (
        _edit_manifest(image={"height": 6, "width": 6, "channels": 3}),
        "generator.onnx",
        "['n', 6, 6, 3]",
    ),
    "wrong opset": (_edit_manifest(opset=18), "generator.onnx", "has opset 17"),
    "no files": (_edit_manifest(files={}), "manifest.json", "lists no generator.onnx"),
    "directions without a file": (
        _edit_manifest(directions={"up": {"min_strength": 0, "max_strength": 1}}),
        "directions.safetensors",
        "has []",
    ),
    "made before 1970": (_edit_manifest(created="0001-01-01T00:00:00+14:00"), "manifest.json", "created: "),
    "made after 9999": (_edit_manifest(created="9999-12-31T23:59:59-14:00"), "manifest.json", "created: "),
    "pipe for a manifest": (_pipe("manifest.json"), "manifest.json", "is no regular file"),
    "pipe for a file": (_pipe("MODEL_CARD.md"), "MODEL_CARD.md", "is no regular file"),
    "wrong file size": (_wrong_size, "generator.onnx", "are expected"),
    "link that leads outside": (_link_outside, "generator.onnx", "leads out of the bundle"),
    "link to itself": (_link_to_itself, "generator.onnx", "can't be read"),
    "name that leads outside": (_name_outside, "manifest.json", "../outside"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_by_file_and_reason(tmp_path, damage):
    """One line for a person: the file and what is wrong with it."""
    path = write_bundle(tmp_path / "b")
    harm, file, why = DAMAGES[damage]
    harm(path)
    with pytest.raises(BundleError) as refusal:
        bundles.load(path)
    assert file in refusal.value.metadata["file"]
    assert why in refusal.value.message
    assert "\n" not in refusal.value.message


def test_a_link_inside_the_bundle_is_followed(tmp_path):
    """Kubernetes mounts files that way."""
    path = write_bundle(tmp_path / "b")
    (path / "generator.onnx").rename(path / "data")
    (path / "generator.onnx").symlink_to("data")
    bundles.load(path)


PLACES: dict[str, Callable[[onnx.ModelProto], onnx.TensorProto]] = {
    "initializer": lambda model: model.graph.initializer.add(),
    "sparse initializer": lambda model: model.graph.sparse_initializer.add().values,
    "attribute": lambda model: model.graph.node.add().attribute.add().t,
    "sparse attribute": lambda model: model.graph.node.add().attribute.add().sparse_tensor.values,
    "list of sparse attributes": lambda model: model.graph.node.add().attribute.add().sparse_tensors.add().indices,
    "subgraph": lambda model: model.graph.node.add().attribute.add().g.initializer.add(),
    "function": lambda model: model.functions.add().node.add().attribute.add().tensors.add(),
}


@pytest.mark.parametrize("place", PLACES)
def test_tensors_outside_the_model_are_refused(tmp_path, place):
    """ONNX may point to other files; a bundle's generator may not."""
    model = onnx.load_model_from_string(linear_generator(8, 6, 5, 3))
    tensor = PLACES[place](model)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundleError, match="another file"):
        _load_with_generator(tmp_path, model.SerializeToString())


def test_a_generator_that_is_no_onnx_is_refused(tmp_path):
    """Bytes that protobuf can't read, and a model with nothing in it."""
    for at, data in enumerate((b"\xff" * 200, b"")):
        with pytest.raises(BundleError, match=r"generator\.onnx"):
            _load_with_generator(tmp_path / str(at), data)


def _load_with_generator(tmp_path: Path, data: bytes, **changes: Any) -> bundles.Bundle:
    good = bundles.load(write_bundle(tmp_path / "good"))
    files = {"generator.onnx": data, "golden.safetensors": (good.path / "golden.safetensors").read_bytes()}
    bundles.write(tmp_path / "other", good.manifest.model_copy(update=changes), files)
    return bundles.load(tmp_path / "other")


@pytest.mark.parametrize("values", [np.float32(1), np.zeros((0, 8)), np.full((4, 8), np.nan), np.full((4, 8), np.inf)])
def test_golden_latents_that_are_none_are_refused(tmp_path, values):
    """They would prove nothing, and what comes of NaN differs between devices."""
    good = bundles.load(write_bundle(tmp_path / "good"))
    golden = {"latents": np.asarray(values, np.float32), "images": good.golden_images[: len(np.atleast_1d(values))]}
    files = {"generator.onnx": good.generator, "golden.safetensors": safetensors.save(golden)}
    bundles.write(tmp_path / "other", good.manifest, files)
    with pytest.raises(BundleError, match=r"golden\.safetensors: latents .* finite float32 \(k, 8\)"):
        bundles.load(tmp_path / "other")


def _reshaping(*shape: int) -> bytes:
    model = onnx.load_model_from_string(linear_generator(8, 6, 5, 3))
    (constant,) = (tensor for tensor in model.graph.initializer if tensor.name == "shape")
    constant.CopyFrom(numpy_helper.from_array(np.array(shape), "shape"))
    return model.SerializeToString()


def _constant(count: int) -> bytes:
    model = onnx.load_model_from_string(linear_generator(8, 6, 5, 3))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((count, 6, 5, 3), np.uint8), "constant"))
    model.graph.node[-1].CopyFrom(helper.make_node("Identity", ["constant"], ["images"]))
    return model.SerializeToString()


UNFIT = {
    "one image for all latents": (_constant(1), "gives uint8 (1, 6, 5, 3) where it should give uint8 (16, 6, 5, 3)"),
    "as many as golden latents": (_constant(4), "gives uint8 (4, 6, 5, 3) where it should give uint8 (16, 6, 5, 3)"),
    "more than any batch": (_constant(300), "gives uint8 (300, 6, 5, 3)"),
    "channels first": (_reshaping(-1, 3, 6, 5), "gives uint8 (16, 3, 6, 5)"),
    "channels as images": (_reshaping(-1, 6, 5, 1), "gives uint8 (48, 6, 5, 1)"),
    "batches of four": (_reshaping(4, 6, 5, 3), "can't run 16 rows on CPUExecutionProvider"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_generator_that_gives_not_one_image_for_each_latent_is_refused(tmp_path, capfd, unfit):
    """In one line, though it says of itself that it does, and any grey level is within tolerance."""
    generator, why = UNFIT[unfit]
    bundle = _load_with_generator(tmp_path, generator, golden=Tolerance(max_levels=255, mean_levels=255))
    with pytest.raises(BundleError) as refusal:
        Generator(bundle, "cpu")
    assert refusal.value.message.startswith(f"{bundle.path / 'generator.onnx'}: {why}")
    assert "\n" not in refusal.value.message
    assert capfd.readouterr() == ("", "")


def test_a_generator_that_misses_its_golden_images_is_refused(tmp_path):
    """A whole and well-formed bundle whose images come out otherwise, and how far off they are."""
    good = bundles.load(write_bundle(tmp_path / "good"))
    for off, allowed in ((3, False), (1, True)):
        images = np.where(good.golden_images > 100, good.golden_images - off, good.golden_images)
        files = {
            "generator.onnx": good.generator,
            "golden.safetensors": safetensors.save({"latents": good.golden_latents, "images": images}),
        }
        tolerance = Tolerance(max_levels=2, mean_levels=1.0)
        path = tmp_path / f"off-by-{off}"
        bundles.write(path, good.manifest.model_copy(update={"golden": tolerance}), files)
        if allowed:
            assert Generator(bundles.load(path), "cpu").golden_exact is False
        else:
            with pytest.raises(BundleError, match="off by 3 grey levels"):
                Generator(bundles.load(path), "cpu")


def test_specs_state_their_sizes():
    """Bytes of one raw image."""
    assert ImageSpec(height=28, width=28, channels=1).size_bytes == 784
    assert LatentSpec(dim=4096, prior="uniform").dim == 4096


def test_a_bundle_that_is_written_as_a_version_states_it(tmp_path: Path):
    """Name and version follow the place; a place that is no version's changes neither."""
    before = write_bundle(tmp_path / "linear")
    bundles.extend(before, tmp_path / "models" / "fashion" / "7", {}, {})
    bundles.extend(before, tmp_path / "copy", {}, {})
    stated = [bundles.load(tmp_path / place).manifest for place in ("models/fashion/7", "copy")]
    assert [(manifest.name, manifest.version) for manifest in stated] == [("fashion", "7"), ("linear", "1")]
