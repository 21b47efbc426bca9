import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from dcgan import bundle
from dcgan.generator import parts_of
from dcgan_training.calibration import auc, calibration, to_images, with_statistics
from dcgan_training.cli import main
from dcgan_training.config import Settings
from dcgan_training.data import Dataset, load, split
from dcgan_training.discriminator import check_held_out, section
from dcgan_training.discriminator_graph import to_onnx
from dcgan_training.errors import DataError
from dcgan_training.networks import ConvolutionalDiscriminator, Discriminator, build_discriminator, initialize
from runs import SUBSET, settings, untrained

RANDOM = np.random.default_rng(0)


def pixels(count: int, size: int, channels: int) -> np.ndarray:
    """Random images, uint8."""
    return RANDOM.integers(0, 256, (count, size, size, channels), dtype=np.uint8)


KINDS = [
    {"architecture": "dcgan"},
    {"architecture": "dcgan", "spectral_norm": True},
    {"architecture": "keras"},
    {"architecture": "mlp"},
    {"architecture": "mlp", "spectral_norm": True},
    {"architecture": "residual"},
]
UNSCORED = [
    ({"packing": 2}, "judges 2 images together (packing)"),
    ({"minibatch_kernels": 3}, "judges each image beside its batch (minibatch_kernels)"),
]


def discriminator(size: int, channels: int, **kind: Any) -> Discriminator:
    """A discriminator with weights large enough for logits of about 1, and statistics that aren't the initial ones."""
    network = build_discriminator(settings(size=size, channels=channels, width=4, **kind))
    initialize(network, torch.Generator().manual_seed(size + channels))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name == "judge.weight":
                value *= 20
            if name.endswith("last.weight"):  # of residual blocks, which begin as zero
                value.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(1))
    return with_statistics(network, pixels(64, size, channels), pixels(64, size, channels) // 2, 32)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 120 images that no run saw: those of the subset, mirrored."""
    folder = tmp_path_factory.mktemp("held-out")
    for number, image in enumerate(load(SUBSET).images[:120]):
        Image.fromarray(np.ascontiguousarray(image[:, ::-1, 0])).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run, which held out half of the subset."""
    return untrained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def old_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was made before runs held images out."""
    run = untrained(tmp_path_factory.mktemp("runs") / "old", held_out_count=0, held_out_digest="", data_count=400)
    (run / "held_out.npy").unlink()
    return run


@pytest.fixture(scope="module")
def exported(old_run: Path, held_out: Path) -> Path:
    """Its bundle with a discriminator calibrated on images that were named, as the command makes it."""
    output = old_run.parent / "tiny"
    assert main(["export", str(old_run), "--output", str(output), "--held-out", str(held_out)]) == 0
    return output


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (14, 3), (28, 1), (32, 3)])
def test_the_graph_judges_as_torch_does(size: int, channels: int, kind: dict[str, Any]) -> None:
    """At every depth, grey and colour, any number of rows."""
    network = discriminator(size, channels, **kind)
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    for count in (1, 2, 7, 64):
        images = pixels(count, size, channels)
        (logits,) = session.run(["logits"], {"images": images})
        with torch.no_grad():
            expected = network(to_images(images, network.low)).numpy()
        assert (logits.dtype, logits.shape) == (np.float32, (count,))
        assert np.abs(logits - expected).max() <= 1e-4 * max(1.0, float(np.abs(expected).max()))
    assert expected.std() > 0.01


def test_the_dcgan_s_graph_is_still_the_one_of_older_bundles() -> None:
    """Byte for byte, from weights that no random generator made."""
    network = ConvolutionalDiscriminator(16, 3, width=3).eval()
    with torch.no_grad():
        for number, value in enumerate(network.parameters()):
            value.copy_((torch.arange(value.numel()) % 17 - 8).reshape(value.shape) / 16 + number / 4)
    assert hashlib.sha256(to_onnx(network)).hexdigest() == (
        "5533eb5cb32ac9858d71f5c75832a67169e00bdcc26299948a34dc9a617592cd"
    )


@pytest.mark.parametrize(("kind", "_"), UNSCORED)
def test_a_discriminator_that_looks_beside_an_image_has_no_graph(kind: dict[str, Any], _: str) -> None:
    """Its logit for an image alone would mean something else than in training."""
    with pytest.raises(ValueError, match="judges images beside others"):
        to_onnx(build_discriminator(settings(**kind)).eval())


def test_an_image_is_judged_alike_in_any_company() -> None:
    """The statistics of batch norm are fixed: neighbours in a batch don't count."""
    network = discriminator(14, 1)
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    images = pixels(7, 14, 1)
    (together,) = session.run(["logits"], {"images": images})
    apart = [session.run(["logits"], {"images": images[at : at + 1]})[0][0] for at in range(7)]
    assert np.allclose(together, apart, atol=1e-6)


def test_auc_counts_pairs_and_halves_ties() -> None:
    """As counting all pairs does."""
    real, generated = RANDOM.integers(0, 9, 50).astype(float), RANDOM.integers(-2, 7, 70).astype(float)
    above = (real[:, None] > generated).mean() + (real[:, None] == generated).mean() / 2
    assert auc(real, generated) == pytest.approx(above)
    assert auc(np.zeros(5), np.zeros(7)) == 0.5


def test_probabilities_are_calibrated() -> None:
    """Two normal distributions of logits with means +-1 and deviation 1 have the log odds 2 * logit."""
    spec = calibration(RANDOM.normal(1, 1, 20_000), RANDOM.normal(-1, 1, 20_000))
    assert (spec.slope, spec.offset) == (pytest.approx(2, abs=0.1), pytest.approx(0, abs=0.05))
    assert spec.auc == pytest.approx(0.921, abs=0.005)
    assert spec.real_quantiles == sorted(spec.real_quantiles)
    assert spec.real_quantiles[50] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shift", [0.0, -3.0, 50.0])
def test_a_calibration_can_always_be_written(shift: float) -> None:
    """Where logits say nothing, where they say the contrary, and where the kinds don't overlap at all."""
    generated = RANDOM.normal(0, 1, 200)
    spec = calibration(generated + shift, generated)
    assert 0 < spec.slope < 100
    assert np.isfinite(spec.offset)
    constant = calibration(np.ones(100), np.ones(100))
    assert constant.slope * 1.0 + constant.offset == pytest.approx(0, abs=1e-3)


def test_a_bundle_has_a_discriminator_with_its_calibration(exported: Path) -> None:
    """Half of the held-out images and as many generated ones, judged by the code that serves."""
    made = bundle.load(exported)
    spec = made.manifest.calibration
    assert spec is not None
    assert (spec.real_count, spec.generated_count) == (60, 60)
    (logits,) = parts_of(made, "cpu")["discriminator"].run(made.golden_images)
    assert np.isfinite(logits).all()


def test_the_quantiles_are_those_of_held_out_images(exported: Path, held_out: Path) -> None:
    """The second of every two; the first ones went into the statistics."""
    made = bundle.load(exported)
    assert made.manifest.calibration is not None
    images = np.ascontiguousarray(load(held_out).images[1::2])
    (logits,) = parts_of(made, "cpu")["discriminator"].run(images)
    low, high = made.manifest.calibration.real_quantiles[0], made.manifest.calibration.real_quantiles[-1]
    assert (low, high) == (pytest.approx(logits.min(), abs=1e-5), pytest.approx(logits.max(), abs=1e-5))


def test_the_card_says_what_a_score_is_not(exported: Path) -> None:
    """With the chance that a real image scores above a generated one."""
    card = (exported / "MODEL_CARD.md").read_text()
    spec = bundle.load(exported).manifest.calibration
    assert spec is not None
    assert f"## Score\n\n{section(spec, True)}\n\n## " in card
    assert "no likelihood" in card
    assert f"--output {exported.name} --held-out HELD_OUT" in card


def test_the_card_says_whose_word_it_takes(exported: Path) -> None:
    """Where the run's own images are gone, only its maker knows that the held-out ones are none of them."""
    spec = bundle.load(exported).manifest.calibration
    assert spec is not None
    assert "which its maker says the training never saw" in section(spec, False)
    assert "maker" not in section(spec, True)
    assert not check_held_out(Dataset(pixels(100, 28, 1), "1" * 64), settings(), "x")


def test_the_card_promises_an_equilibrium_of_classic_losses_only() -> None:
    """A hinge or a relativistic loss has no probability that its discriminator would end at."""
    spec = calibration(RANDOM.normal(1, 1, 100), RANDOM.normal(-1, 1, 100))
    assert "every image would have the probability 0.5" in section(spec, True, "minimax")
    assert "Its relativistic loss asks for an order" in section(spec, True, "relativistic")


def test_a_run_s_discriminator_is_calibrated_on_what_it_held_out(tmp_path: Path, run: Path) -> None:
    """Half of it, the other half for statistics; the manifest and the card say what was held out."""
    assert main(["export", str(run), "--output", str(tmp_path / "b")]) == 0
    made = bundle.load(tmp_path / "b")
    kept = np.load(run / "held_out.npy")
    assert made.manifest.calibration is not None
    assert made.manifest.calibration.real_count == len(kept) // 2
    (logits,) = parts_of(made, "cpu")["discriminator"].run(np.ascontiguousarray(kept[1::2]))
    assert made.manifest.calibration.real_quantiles[50] == pytest.approx(np.median(logits), abs=1e-5)
    training = made.manifest.training
    assert training.held_out is not None
    assert (training.held_out.source, training.held_out.image_count) == ("content-hash", len(kept))
    assert training.data_count + training.held_out.image_count == len(load(SUBSET))
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert "images, of the data, by a hash of their pixels" in card
    assert "images that the training never saw" in card
    assert "--held-out" not in card


def test_a_broken_image_that_was_held_out_is_named_or_skipped(
    tmp_path: Path, old_run: Path, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag that the refusal names is one of this command."""
    folder = tmp_path / "held-out"
    shutil.copytree(held_out, folder)
    (folder / "broken.png").write_bytes(b"none")
    command = ["export", str(old_run), "--output", str(tmp_path / "b"), "--held-out", str(folder)]
    assert main(command) == 1
    assert f"{folder / 'broken.png'}: the 4 bytes are no image in" in capsys.readouterr().err
    assert main([*command, "--broken", "skip"]) == 0
    assert "discriminator.onnx" in bundle.load(tmp_path / "b").manifest.files


def test_what_a_run_held_out_may_be_named_too(run: Path) -> None:
    """The data set that it came from is compared without it; one image that was trained on is still found."""
    own, facts = load(SUBSET).images, Settings.load(run / "config.json")
    parts = split(own)
    assert check_held_out(Dataset(own[parts.held_out], "1" * 64), facts, "x")
    mixed = np.concatenate([own[parts.held_out], own[parts.train[:1]]])
    with pytest.raises(DataError, match="1 of its"):
        check_held_out(Dataset(mixed, "1" * 64), facts, "x")


def test_held_out_images_that_were_changed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or that are gone: their digest is a setting of the run."""
    run = untrained(tmp_path / "run")
    np.save(run / "held_out.npy", 255 - np.load(run / "held_out.npy"))
    assert main(["export", str(run), "--output", str(tmp_path / "b")]) == 1
    assert "held_out.npy: holds other images than the run held out; say --held-out PATH" in capsys.readouterr().err
    (run / "held_out.npy").unlink()
    assert main(["export", str(run), "--output", str(tmp_path / "b")]) == 1
    assert "held_out.npy: can't be read" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("kind", "why"), UNSCORED)
def test_a_bundle_without_scores_says_why(
    tmp_path: Path, kind: dict[str, Any], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Packed images and minibatch features: no discriminator, one sentence from the command and in the card."""
    run = untrained(tmp_path / "run", **kind)
    assert main(["export", str(run), "--output", str(tmp_path / "b")]) == 0
    assert f"this bundle scores no images: its discriminator {why}" in capsys.readouterr().err
    made = bundle.load(tmp_path / "b")
    assert (made.discriminator, made.manifest.calibration) == (None, None)
    assert f"This bundle scores no images: its discriminator {why}" in (tmp_path / "b" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("kind", KINDS[1:], ids=str)
def test_every_architecture_scores_from_its_bundle(tmp_path: Path, kind: dict[str, Any]) -> None:
    """Judged by the code that serves, on a scale of its own."""
    run = untrained(tmp_path / "run", **kind)
    assert main(["export", str(run), "--output", str(tmp_path / "b")]) == 0
    made = bundle.load(tmp_path / "b")
    assert made.manifest.calibration is not None
    (logits,) = parts_of(made, "cpu")["discriminator"].run(made.golden_images)
    assert np.isfinite(logits).all()


def test_a_single_image_of_the_run_is_found_among_held_out_ones() -> None:
    """Pixel for pixel."""
    own = load(SUBSET)
    run = settings(data=str(SUBSET), data_digest=own.digest)
    mixed = np.concatenate([pixels(100, 28, 1), own.images[7:8]])
    assert check_held_out(Dataset(mixed[:100], "1" * 64), run, "x")
    with pytest.raises(DataError, match="1 of its 101 images are of those that the run was trained on"):
        check_held_out(Dataset(mixed, "1" * 64), run, "x")


def test_the_same_export_gives_the_same_discriminator(
    tmp_path: Path, old_run: Path, exported: Path, held_out: Path
) -> None:
    """Graph and calibration, byte for byte."""
    assert main(["export", str(old_run), "--output", str(tmp_path / "b"), "--held-out", str(held_out)]) == 0
    for part in ("discriminator.onnx", "generator.onnx"):
        assert (tmp_path / "b" / part).read_bytes() == (exported / part).read_bytes()
    one, other = (json.loads((path / "manifest.json").read_text()) for path in (tmp_path / "b", exported))
    assert one["calibration"] == other["calibration"]


def test_without_held_out_images_there_is_no_discriminator(
    tmp_path: Path, old_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the command says so in one line."""
    assert main(["export", str(old_run), "--output", str(tmp_path / "b")]) == 0
    assert "without --held-out no discriminator is exported" in capsys.readouterr().err
    made = bundle.load(tmp_path / "b")
    assert (made.discriminator, made.manifest.calibration) == (None, None)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((200, 32, 32, 1), "its images are 32x32 grey, but those of the run are 28x28 grey"),
        ((200, 28, 28, 3), "its images are 28x28 RGB, but those of the run are 28x28 grey"),
        ((99, 28, 28, 1), "holds 99 images; calibration needs 100 or more"),
    ],
)
def test_held_out_images_of_another_kind_are_refused(shape: tuple[int, ...], why: str) -> None:
    """Another size, other channels, too few."""
    with pytest.raises(DataError, match=why):
        check_held_out(Dataset(np.zeros(shape, np.uint8), "1" * 64), settings(), "x")


def test_the_run_s_own_images_are_refused(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are known to the discriminator; nothing is written."""
    assert main(["export", str(run), "--output", str(tmp_path / "b"), "--held-out", str(SUBSET)]) == 1
    assert "is what the run was trained on" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_untrained_weights_have_no_discriminator(tmp_path: Path, held_out: Path) -> None:
    """--random with --held-out is a wrong command line."""
    with pytest.raises(SystemExit) as usage:
        main(["export", "--random", "--output", str(tmp_path / "b"), "--held-out", str(held_out)])
    assert usage.value.code == 2
