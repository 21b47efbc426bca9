import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors import numpy as safetensors

from bundles import OPSET, write_bundle
from dcgan import bundle, latents
from dcgan.bundle.manifest import HeldOutSpec, TrainingSpec
from dcgan.errors import SettingsError
from dcgan_training import evaluate as evaluation
from dcgan_training import label_classifier
from dcgan_training.cli import main
from dcgan_training.data import digest_of, split
from dcgan_training.errors import DataError
from dcgan_training.evaluate import Request, evaluate, publish
from dcgan_training.extractors import OnnxFeatures
from dcgan_training.memorisation import memorisation
from dcgan_training.quality import Report
from dcgan_training.real_images import gather
from runs import arguments

COUNT = 1200  # of which 500 are held out


def pictures(count: int, seed: int) -> np.ndarray:
    """Images of 8 px, uint8 (n, 8, 8, 1): in each a bright block somewhere on noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, 8, 8, 1))
    for image, (top, left) in zip(images, rng.integers(0, 6, (count, 2)), strict=True):
        image[top : top + 3, left : left + 3] += 100
    return images.astype(np.uint8)


def lookup(images: np.ndarray) -> bytes:
    """A generator that draws one of these images as it is: that of the largest value of the latent."""
    nodes = [
        helper.make_node("ArgMax", ["latents"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "place"], ["images"], axis=0),
    ]
    given = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", len(images)])
    wanted = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *images.shape[1:]])
    table = numpy_helper.from_array(images, "table")
    graph = helper.make_graph(nodes, "lookup", [given], [wanted], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return model.SerializeToString()


def bundle_of(path: Path, images: np.ndarray, data: np.ndarray, *, recorded: bool = True) -> Path:
    """A bundle whose generator draws `images`, of a run on `data` that held a part of it out."""
    held_out = data[split(data).held_out]
    spec = HeldOutSpec(source="content-hash", image_count=len(held_out), digest=digest_of(held_out))
    training = TrainingSpec(
        recipe="lookup",
        dataset="blocks",
        dataset_digest=digest_of(data),
        held_out=spec if recorded else None,
        seed=0,
        steps=0,
        images_seen=0,
    )
    write_bundle(path, dim=len(images), height=8, width=8, channels=1, discriminator=True)
    graph, values = lookup(images), latents.draw(0, np.arange(4), len(images), "normal")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    golden = session.run(["images"], {"latents": values})[0]
    tensors = safetensors.save({"latents": values, "images": golden})
    bundle.extend(path, None, {"training": training}, {bundle.GENERATOR: graph, bundle.GOLDEN: tensors})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set, an .npy file."""
    file = tmp_path_factory.mktemp("data") / "blocks.npy"
    np.save(file, pictures(COUNT, 0))
    return file


@pytest.fixture(scope="module")
def honest(data: Path) -> Path:
    """A bundle that draws new images of the same kind."""
    return bundle_of(data.with_name("honest"), pictures(300, 1), np.load(data))


@pytest.fixture(scope="module")
def copying(data: Path) -> Path:
    """A bundle that draws images that it was trained on."""
    images = np.load(data)
    return bundle_of(data.with_name("copying"), images[split(images).train[:300]], images)


def measured(path: Path, data: Path, **more: Any) -> Report:
    """Evaluates with few samples."""
    return evaluate(path, Request(data=data, samples=400, **more), lambda _: None)


def test_a_generator_that_copies_training_images_is_found_out(copying: Path, data: Path) -> None:
    """Half of the trained images or so lie in the half that is compared; those are all found there."""
    found = measured(copying, data).flat()
    assert found["memorisation_points"] > found["memorisation_interval"] + 5
    assert found["memorisation_share"] > 0.65


def test_an_honest_generator_is_not_accused(honest: Path, data: Path) -> None:
    """Its nearest images lie in either half as often as real ones' do."""
    found = measured(honest, data).flat()
    assert abs(found["memorisation_points"]) < found["memorisation_interval"]


def test_every_figure_has_real_against_real_beside_it(honest: Path, data: Path) -> None:
    """Under the documented keys, in the named features."""
    report = measured(honest, data)
    keys = {"frechet_distance", "frechet_distance_percent", "precision", "recall", "density", "coverage"}
    found = report.flat()
    for key in keys:
        assert {f"{key}/random-conv-1", f"{key}/random-conv-1/real"} <= set(found)
    assert found["coverage/random-conv-1/real"] > 0.9
    assert report.find("coverage") == found["coverage/random-conv-1"]
    assert report.find("kl") is None


def test_a_better_generator_is_nearer(honest: Path, data: Path) -> None:
    """One that draws a single picture is far off and covers nothing."""
    one = bundle_of(data.with_name("one"), np.repeat(pictures(1, 5), 20, 0), np.load(data))
    poor, good = measured(one, data).flat(), measured(honest, data).flat()
    assert poor["frechet_distance/random-conv-1"] > 3 * good["frechet_distance/random-conv-1"]
    assert poor["coverage/random-conv-1"] < 0.2 < good["coverage/random-conv-1"]


def test_without_a_record_figures_are_against_all_data_and_say_so(data: Path) -> None:
    """And memorisation isn't measured."""
    path = bundle_of(data.with_name("unrecorded"), pictures(300, 1), np.load(data), recorded=False)
    report = measured(path, data)
    assert "memorisation_points" not in report.flat()
    assert "--held-out" in report.omitted["memorisation"]
    assert any("images that the model was trained on, for none are known" in told for told in report.conditions)


def test_a_test_set_takes_the_place_of_what_was_held_out(honest: Path, data: Path, tmp_path: Path) -> None:
    """Of a recorded run it is the null of memorisation; the halves stay those of the training split."""
    np.save(tmp_path / "test.npy", pictures(150, 7))
    report = measured(honest, data, held_out=tmp_path / "test.npy")
    assert any("150 images of the test set" in told for told in report.conditions)
    assert any("500 trained and 500 other images; the null is the test set" in told for told in report.conditions)


def test_other_data_than_the_runs_are_refused(honest: Path, tmp_path: Path) -> None:
    """What was held out of other images says nothing of this run."""
    np.save(tmp_path / "other.npy", pictures(COUNT, 99))
    with pytest.raises(DataError, match="isn't the data of linear"):
        measured(honest, tmp_path / "other.npy")


def test_the_real_images_of_a_run_are_disjoint(honest: Path, data: Path) -> None:
    """Trained, held out and neither: no image is in two of them."""
    real = gather(data, None, bundle.load(honest).manifest, 10_000)
    assert real.halves is not None
    parts = [real.halves.trained, real.halves.held_out, real.halves.neither, real.trained, real.reference]
    names = [{hashlib.sha256(image.tobytes()).digest() for image in part} for part in parts]
    assert len(names[0]) == len(names[1]) == 334
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]
    assert not names[3] & names[4]
    assert len(names[3]) == 700


def test_labels_give_classes_a_probe_and_classifier_features(
    honest: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares of the samples add to one; the name of the features has the digest of the labels."""
    monkeypatch.setattr(label_classifier, "_SHOWN", 4_000)
    images = np.load(data)
    codes = (images[:, :4].mean((1, 2, 3)) > images[:, 4:].mean((1, 2, 3))).astype(np.uint8)  # top or bottom
    labels = data.with_name("labels")
    labels.write_bytes(np.array([0x801, COUNT], ">u4").tobytes() + codes.tobytes())
    report = measured(honest, data, labels=labels, features=("classifier", "random"))
    found = report.flat()
    shares = [value for key, value in found.items() if key.startswith("class_share/") and not key.endswith("/real")]
    assert sum(shares) == pytest.approx(1)
    assert found["least_class_share"] == min(shares)
    assert found["classifier_accuracy/class"] > 0.6
    assert report.features[0] == f"classifier-{hashlib.sha256(labels.read_bytes()).hexdigest()[:12]}"
    assert f"frechet_distance/{report.features[0]}" in found
    assert report.omitted["the linear probe"] == "the bundle has no discriminator with convolutions"


def test_the_command_writes_manifest_card_and_json(
    honest: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All three say the same, and the bundle still loads; again, and the section is replaced."""
    path = tmp_path / "bundle"
    bundle.extend(honest, path, {}, {})
    file = tmp_path / "figures.json"
    command = ["evaluate", str(path), "--data", str(data), "--samples", "200", "--json", str(file)]
    assert main(command) == 0
    assert main(command) == 0
    figures = bundle.load(path).manifest.figures
    assert figures == pytest.approx(json.loads(file.read_text())["figures"])
    card = (path / "MODEL_CARD.md").read_text()
    assert card.count("\n## Quality\n") == 1
    assert "| coverage/random-conv-1 |" in card
    assert "coverage/random-conv-1" in capsys.readouterr().out


def test_a_bundle_can_be_measured_and_left_as_it_is(honest: Path, data: Path) -> None:
    """--no-write."""
    before = bundle.load(honest).digest
    assert main(["evaluate", str(honest), "--data", str(data), "--samples", "200", "--no-write"]) == 0
    assert bundle.load(honest).digest == before


def test_figures_that_are_no_numbers_stay_out_of_the_manifest(honest: Path, tmp_path: Path) -> None:
    """A manifest has finite numbers only."""
    bundle.extend(honest, tmp_path / "bundle", {}, {})
    publish(tmp_path / "bundle", Report((evaluation.Figure("one", float("nan"), 2.0),), ()))
    assert bundle.load(tmp_path / "bundle").manifest.figures == {"one/real": 2.0}


@pytest.mark.parametrize(
    ("features", "fault"),
    [(("classifier",), "needs --labels"), (("random", "random"), "twice"), (("inception",), "ends in .onnx")],
)
def test_features_that_cannot_be_are_refused(features: tuple[str, ...], fault: str, honest: Path, data: Path) -> None:
    """Before anything takes long."""
    with pytest.raises(SettingsError, match=fault):
        measured(honest, data, features=features)


@pytest.mark.parametrize("floats", [False, True])
def test_a_graph_of_the_users_own_gives_features(floats: bool, tmp_path: Path) -> None:
    """Bytes NHWC as they are, or floats NCHW in [0, 1]; grey becomes RGB where it wants that; named by its hash."""
    file, images = graph_file(tmp_path, floats, side=8), pictures(5, 0)
    look = OnnxFeatures(file, 8, 1)
    found = look(images)
    expected = np.repeat(images, 3, 3).transpose(0, 3, 1, 2) / 255 if floats else np.repeat(images, 3, 3)
    np.testing.assert_allclose(found, expected.reshape(5, -1), rtol=1e-6)
    assert look.name == f"onnx-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"


def test_a_graph_for_other_images_is_refused(tmp_path: Path) -> None:
    """Resizing belongs into the graph."""
    with pytest.raises(DataError, match=r"takes images of \(height, width, channels\) \(299, 299, 3\)"):
        OnnxFeatures(graph_file(tmp_path, True, side=299), 8, 1)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match="is no ONNX model"):
        OnnxFeatures(tmp_path / "broken.onnx", 8, 1)


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[0, 1, 2, 3], keepdims=0), "a row for each is needed"),
        (helper.make_node("Mul", ["x", "zero"], ["y"]), "the same ones for all"),
        (helper.make_node("Div", ["x", "zero"], ["y"]), "no finite values"),
    ],
    ids=["one number", "constant", "infinite"],
)
def test_a_graph_whose_output_cannot_be_features_is_refused(output: onnx.NodeProto, fault: str, tmp_path: Path) -> None:
    """Before a run trains for hours: a constant would pass any bar on distances."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])
    wanted = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    zero = numpy_helper.from_array(np.zeros((), np.float32), "zero")
    graph = helper.make_graph([output], "g", [given], [wanted], [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=fault):
        OnnxFeatures(tmp_path / "g.onnx", 8, 1)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    """A model can be trained on two, which have no five neighbours."""
    np.save(tmp_path / "two.npy", pictures(2, 0))
    assert main(arguments(tmp_path / "run", data=tmp_path / "two.npy", images=128)) == 0
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "model")]) == 0
    with pytest.raises(DataError, match="has 2 images; to measure needs 12 or more"):
        measured(tmp_path / "model", tmp_path / "two.npy")


def test_images_wider_than_32_px_are_compared_by_areas() -> None:
    """A copy whose pixels are noisy is still found among the trained."""
    rng = np.random.default_rng(0)
    trained, held_out, neither = rng.integers(20, 230, (3, 40, 64, 64, 3)).astype(np.uint8)
    noisy = (trained + rng.integers(0, 20, trained.shape)).astype(np.uint8)
    found = memorisation(noisy, trained, held_out, neither)
    assert found.share == 1.0
    assert 0.1 < found.real_share < 0.9


def graph_file(folder: Path, floats: bool, side: int) -> Path:
    """A graph that gives its input's values as floats, for RGB images."""
    kind, shape = (TensorProto.FLOAT, [3, side, side]) if floats else (TensorProto.UINT8, [side, side, 3])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["levels", "flat"], ["features"]),
    ]
    given = helper.make_tensor_value_info("pixels", kind, ["n", *shape])
    wanted = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", "d", 1, 1])
    flat = numpy_helper.from_array(np.array([0, -1, 1, 1]), "flat")
    graph = helper.make_graph(nodes, "features", [given], [wanted], [flat])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    file = folder / "features.onnx"
    file.write_bytes(onnx.ModelProto.SerializeToString(model))
    return file
