import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from dcgan import bundle, latents
from dcgan.bundle.manifest import HeldOutSpec
from dcgan.errors import BundleError
from dcgan.latents import Prior
from dcgan_training import average, encoder_network, frozen, gradient_graph, reconstruct
from dcgan_training.cli import main
from dcgan_training.data import digest_of, load, split
from dcgan_training.encoder_network import Encoder
from dcgan_training.encoder_training import BATCH_SIZE
from dcgan_training.errors import DataError
from dcgan_training.export import Labels, export_random
from dcgan_training.fitting import fitting
from dcgan_training.frozen import FrozenGenerator, Weights
from dcgan_training.graph import to_onnx
from dcgan_training.networks import DcganGenerator, initialize
from runs import SUBSET, settings

DIM = 6


def arguments(path: Path, *more: str) -> list[str]:
    """The command line of a tiny encoder."""
    tiny = ["--images", "512", "--width", "2", "--seed", "3", "--threads", "1"]
    return ["encoder", str(path), "--data", str(SUBSET), *tiny, *more]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights, without an encoder."""
    path = tmp_path_factory.mktemp("encoder") / "plain"
    export_random(settings(images=0, latent_dim=DIM), path, Labels())
    return path


def pictures(folder: Path, images: np.ndarray) -> Path:
    """A folder of these images, grey ones (n, h, w, 1) or RGB (n, h, w, 3)."""
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(np.ascontiguousarray(image).squeeze()).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def extended(plain: Path) -> Path:
    """The same with an encoder, made by the command; mirrored images are held out."""
    path = plain.with_name("extended")
    held_out = pictures(plain.with_name("held-out"), load(SUBSET).images[:210, :, ::-1])
    assert main(arguments(plain, "--output", str(path), "--held-out", str(held_out))) == 0
    return path


def weights_of(size: int, channels: int, *, full_size_map: bool = False) -> Weights:
    """The weights of a generator with contrast, taken out of its graph."""
    network = DcganGenerator(size, channels, width=4, latent_dim=DIM, full_size_map=full_size_map)
    initialize(network, torch.Generator().manual_seed(size))
    with torch.no_grad():
        network.to_image.weight *= 20
    calibrated = average.calibrated(network, settings(latent_dim=DIM, batch_size=16))
    return frozen._weights(onnx.load_model_from_string(to_onnx(calibrated)).graph, Path("generator.onnx"))


def inputs(weights: Weights, count: int, prior: Prior = "normal") -> tuple[np.ndarray, np.ndarray]:
    """Latents, and noise as images."""
    channels, height, width = weights.image
    pixels = np.random.default_rng(count).integers(0, 256, (count, height, width, channels), np.uint8)
    return latents.draw(1, np.arange(count, dtype=np.uint64), DIM, prior), pixels


def normalized(pixels: np.ndarray) -> torch.Tensor:
    """Pixels as the networks take them."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def run(graph: bytes, given: dict[str, np.ndarray], wanted: Sequence[str]) -> list[np.ndarray]:
    """What onnxruntime computes."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return list(session.run(list(wanted), given))


@pytest.mark.parametrize("full_size_map", [False, True])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (14, 3), (28, 1), (32, 3)])
def test_the_gradient_is_that_of_autograd(size: int, channels: int, full_size_map: bool) -> None:
    """At every depth, grey and colour, for any number of rows; the errors too."""
    weights = weights_of(size, channels, full_size_map=full_size_map)
    graph = gradient_graph.to_onnx(weights)
    for count in (1, 7):
        values, pixels = inputs(weights, count)
        gradients, errors = run(graph, {"latents": values, "images": pixels}, ["gradients", "errors"])
        given = torch.from_numpy(values).requires_grad_()
        expected = (FrozenGenerator(weights)(given) - normalized(pixels)).square().mean((1, 2, 3))
        torch.autograd.backward(expected.sum())
        assert given.grad is not None
        scale = float(given.grad.abs().max())
        assert gradients == pytest.approx(given.grad.numpy(), rel=1e-4, abs=1e-5 * scale)
        assert errors == pytest.approx(expected.detach().numpy(), rel=1e-4)


@pytest.mark.parametrize(("size", "channels", "prior"), [(8, 1, "normal"), (28, 1, "uniform"), (32, 3, "normal")])
def test_the_encoder_graph_gives_what_torch_gives(size: int, channels: int, prior: Prior) -> None:
    """Both passes, for any number of rows; latents of a uniform prior stay in [-1, 1]."""
    weights = weights_of(size, channels, full_size_map=size == 28)
    encoder = Encoder(weights, prior, width=2)
    encoder_network.initialize(encoder, torch.Generator().manual_seed(1))
    graph = encoder_network.to_onnx(encoder, weights)
    for count in (1, 7):
        _, pixels = inputs(weights, count)
        (found,) = run(graph, {"images": pixels}, ["latents"])
        with torch.no_grad():
            expected = encoder.encode(FrozenGenerator(weights), normalized(pixels)).second.numpy()
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert prior == "normal" or np.abs(found).max() <= 1.0


def test_the_command_adds_an_encoder_to_a_bundle(plain: Path, extended: Path) -> None:
    """The new bundle loads, draws what it drew, has the figures and tells of them; the old one stays as it was."""
    before, after = bundle.load(plain), bundle.load(extended)
    assert before.encoder is None
    assert after.encoder is not None
    assert after.latent_gradient is not None
    assert after.generator == before.generator
    assert after.manifest.encoder is not None
    assert after.manifest.encoder.images_seen == 4 * BATCH_SIZE
    figures = after.manifest.encoder.figures
    assert set(figures) == {
        "generated_mse", "generated_best_of_1000_mse", "generated_refined_mse",
        "real_mse", "real_nearest_of_10000_mse", "real_refined_mse",
    }  # fmt: skip
    assert "reconstructions.png" in after.manifest.files
    card = (extended / "MODEL_CARD.md").read_text()
    assert "## Encoder" in card
    assert f"{figures['real_refined_mse']:.4f}" in card


def test_refinement_never_makes_an_encoding_worse(extended: Path) -> None:
    """It begins with the encoder's latents and keeps the best."""
    encoder = bundle.load(extended).manifest.encoder
    assert encoder is not None
    assert encoder.figures["generated_refined_mse"] <= encoder.figures["generated_mse"]
    assert encoder.figures["real_refined_mse"] <= encoder.figures["real_mse"]


def test_the_same_seed_gives_the_same_encoder_in_place(extended: Path, plain: Path, tmp_path: Path) -> None:
    """Run again, without --output, on a copy of the bundle: the bytes of both graphs come out again."""
    copy = tmp_path / "copy"
    bundle.extend(plain, copy, {}, {})
    assert main(arguments(copy)) == 0
    assert bundle.load(copy).encoder == bundle.load(extended).encoder
    assert bundle.load(copy).latent_gradient == bundle.load(extended).latent_gradient


def test_an_output_that_exists_is_refused_before_the_training(
    plain: Path, extended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so."""
    assert main(arguments(plain, "--output", str(extended))) == 1
    assert capsys.readouterr().err == f"error: {extended} exists; name a directory that doesn't\n"


def test_a_place_where_nothing_can_be_made_is_refused_before_the_training(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A million images would else be shown for nothing."""
    (tmp_path / "file").touch()
    assert main(arguments(plain, "--output", str(tmp_path / "file/bundle"), "--images", "1000000000")) == 1
    assert "is no directory that this user may write to" in capsys.readouterr().err


def test_broken_images_may_be_left_out(plain: Path, tmp_path: Path) -> None:
    """As in the training."""
    data = pictures(tmp_path / "data", load(SUBSET).images)
    (data / "half.png").write_bytes(b"half")
    copy = tmp_path / "copy"
    bundle.extend(plain, copy, {}, {})
    assert main(arguments(copy, "--data", str(data), "--broken", "skip")) == 0


def test_images_of_another_shape_are_refused(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They must be as the generator draws them: no colour for one that draws grey, and no shape but squares."""
    colour = pictures(tmp_path / "colour", np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), np.uint8))
    assert main(arguments(plain, "--data", str(colour))) == 1
    assert "has colour, but" in capsys.readouterr().err
    manifest = bundle.load(plain).manifest
    with pytest.raises(DataError, match="draws images of 28x14; squares of"):
        fitting(SUBSET, manifest.model_copy(update={"image": manifest.image.model_copy(update={"height": 14})}))


def test_grey_images_are_rgb_for_a_model_in_colour(plain: Path) -> None:
    """Three equal channels; the digest stays that of the data set."""
    manifest, grey = bundle.load(plain).manifest, load(SUBSET)
    data = fitting(SUBSET, manifest.model_copy(update={"image": manifest.image.model_copy(update={"channels": 3})}))
    assert data.digest == grey.digest
    assert np.array_equal(data.images, np.repeat(grey.images, 3, axis=3))


def test_held_out_images_that_are_trained_on_are_refused(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data itself, a single image of it, or what the generator was trained on; nothing is trained."""
    images = load(SUBSET).images
    mixed = pictures(tmp_path / "mixed", np.concatenate([255 - images[:3], images[5:6]]))
    other = pictures(tmp_path / "other", 255 - images[:3])
    changed = bundle.load(plain).manifest.training.model_copy(update={"dataset_digest": load(other).digest})
    bundle.extend(plain, tmp_path / "b", {"training": changed}, {})
    for path, held_out, why in (
        (plain, SUBSET, "are what the encoder is trained on"),
        (plain, mixed, "1 of the 4 held-out images are in the data too"),
        (tmp_path / "b", other, "are what the generator is trained on"),
    ):
        assert main(arguments(path, "--held-out", str(held_out))) == 1
        assert why in capsys.readouterr().err


def test_what_the_generators_run_held_out_is_measured_with_and_not_trained_on(plain: Path, tmp_path: Path) -> None:
    """Of its own data it's as if one had taken the two parts apart by hand and named both."""
    data = load(SUBSET)
    parts = split(data.images)
    trained, never = (
        pictures(tmp_path / str(n), data.images[rows]) for n, rows in enumerate((parts.train, parts.held_out))
    )
    digest = digest_of(data.images[parts.held_out])
    spec = HeldOutSpec(source="content-hash", image_count=len(parts.held_out), digest=digest)
    changed = {"dataset_digest": data.digest, "held_out": spec}
    bundle.extend(
        plain, tmp_path / "own", {"training": bundle.load(plain).manifest.training.model_copy(update=changed)}, {}
    )
    assert main(arguments(tmp_path / "own")) == 0
    by_hand = ("--data", str(trained), "--held-out", str(never), "--output", str(tmp_path / "by-hand"))
    assert main(arguments(plain, *by_hand)) == 0
    one, other = bundle.load(tmp_path / "own"), bundle.load(tmp_path / "by-hand")
    assert one.encoder == other.encoder
    assert one.manifest.encoder == other.manifest.encoder
    assert "held-out images, which no training saw" in (tmp_path / "own" / bundle.MODEL_CARD).read_text()


def test_figures_are_of_images_from_all_over_the_held_out_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are sorted by class: the first ones would be of one."""
    measured: dict[str, np.ndarray] = {}

    def note(_: object, name: str, originals: np.ndarray, *__: object) -> dict[str, float]:
        measured[name] = originals
        return {}

    monkeypatch.setattr(reconstruct.Reconstruction, "_figures", note)
    monkeypatch.setattr(reconstruct.Reconstruction, "_samples", lambda *_: None)
    runtime = object.__new__(reconstruct.Reconstruction)
    runtime.figures(np.repeat(np.arange(10, dtype=np.uint8), 100).reshape(-1, 1, 1, 1))
    assert len(measured["real"]) == 200
    assert np.bincount(measured["real"].ravel()).min() > 5


def test_the_nearest_of_many_images_is_found_in_parts() -> None:
    """The same as by comparing each with each."""
    one, two = (np.random.default_rng(seed).integers(0, 256, (count, 3, 3, 1), np.uint8)
                for seed, count in ((1, 4), (2, 1101)))  # fmt: skip
    apart = [min(float(((a / 127.5 - b / 127.5) ** 2).mean()) for b in two) for a in one]
    assert reconstruct._nearest(one, two) == pytest.approx(np.mean(apart), rel=1e-4)


def test_a_generator_of_another_make_is_refused(plain: Path) -> None:
    """Another operator, another stride, other golden images: nothing can be derived from what isn't understood."""
    whole = bundle.load(plain)
    model = onnx.load_model_from_string(whole.generator)
    tanh = next(node for node in model.graph.node if node.op_type == "Tanh")
    tanh.op_type = "Sigmoid"
    with pytest.raises(BundleError, match=r"its operators are Gemm .* Sigmoid"):
        frozen.read(dataclasses.replace(whole, generator=model.SerializeToString()))
    model = onnx.load_model_from_string(whole.generator)
    layer = next(node for node in model.graph.node if node.op_type == "ConvTranspose")
    next(attribute for attribute in layer.attribute if attribute.name == "strides").ints[0] = 1
    with pytest.raises(BundleError, match="a transposed convolution has"):
        frozen.read(dataclasses.replace(whole, generator=model.SerializeToString()))
    with pytest.raises(BundleError, match="draws something else than its layers say"):
        frozen.read(dataclasses.replace(whole, golden_images=255 - whole.golden_images))
