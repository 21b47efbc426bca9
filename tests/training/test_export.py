from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgan import bundle, latents
from dcgan.errors import BundleError
from dcgan.generator import Generator
from dcgan_training import average, checkpoint, frozen, known
from dcgan_training.cli import main
from dcgan_training.config import Settings
from dcgan_training.data import load
from dcgan_training.networks import build_generator
from runs import SUBSET, newest, trained, untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run."""
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """Its bundle, as the command makes it."""
    output = run.parent / "tiny"
    assert main(["export", str(run), "--output", str(output)]) == 0
    return output


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Gives the one line with which an export is refused."""
    assert main(["export", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_bundle_is_verified_and_draws_its_golden_images(exported: Path) -> None:
    """By the code that will serve it; on the CPU that made it, byte for byte."""
    assert Generator(bundle.load(exported), "cpu").golden_exact


def test_the_manifest_says_how_the_model_was_made(exported: Path) -> None:
    """Enough to make it again."""
    manifest = bundle.load(exported).manifest
    assert manifest.name == "tiny"
    assert (manifest.latent.dim, manifest.latent.prior) == (100, "normal")
    assert (manifest.image.height, manifest.image.width, manifest.image.channels) == (28, 28, 1)
    training = manifest.training
    assert (training.recipe, training.seed, training.steps, training.images_seen) == ("dcgan", 1, 10, 1280)
    assert training.dataset == "fashion-mnist-subset"
    assert training.dataset_digest == load(SUBSET).digest
    assert {"dcgan", "torch", "onnxruntime"} <= set(training.packages)


def test_parity_was_measured_at_several_batch_sizes(exported: Path) -> None:
    """Between torch and onnxruntime, in grey levels."""
    parity = bundle.load(exported).manifest.parity
    assert [row.batch_size for row in parity] == [1, 2, 7, 64]
    assert all(row.max_levels <= 1 for row in parity)


def test_the_preview_shows_what_a_client_gets(exported: Path, run: Path) -> None:
    """Seed 0, index 0 to 99: the same grid as the run's last sample, but for roundings."""
    with Image.open(exported / "preview.png") as preview, Image.open(run / "samples" / "000000001280.png") as sample:
        assert np.abs(np.asarray(preview).astype(int) - np.asarray(sample)).max() <= 1


def test_the_model_card_tells_what_a_person_needs(exported: Path) -> None:
    """Recipe, command, seed, images, picture, limits, licence."""
    card = (exported / "MODEL_CARD.md").read_text()
    for fact in (
        "`dcgan`",
        "--seed 1 --images 1280",
        "preview.png",
        "1,280 images",
        "## Limits",
        "not stated",
    ):
        assert fact in card


def test_a_known_data_set_brings_its_licence_and_attribution(tmp_path: Path, run: Path) -> None:
    """A run on all of Fashion-MNIST, known by its digest."""
    dataset = known.FASHION_MNIST
    config = run / "config.json"
    before = config.read_text()
    config.write_text(before.replace(load(SUBSET).digest, dataset.digest))
    try:
        assert main(["export", str(run), "--output", str(tmp_path / "fashion")]) == 0
    finally:
        config.write_text(before)
    manifest = bundle.load(tmp_path / "fashion").manifest
    assert (manifest.training.dataset, manifest.licence) == ("fashion-mnist", "MIT")
    assert "Zalando" in manifest.attribution


def test_labels_win_over_what_is_known(tmp_path: Path, run: Path) -> None:
    """Name, version, licence and attribution as the exporter says."""
    labels = ["--name", "shoes", "--version", "1.0", "--licence", "CC0-1.0", "--attribution", "nobody"]
    assert main(["export", str(run), "--output", str(tmp_path / "x"), *labels]) == 0
    manifest = bundle.load(tmp_path / "x").manifest
    assert (manifest.name, manifest.version) == ("shoes", "1.0")
    assert (manifest.licence, manifest.attribution) == ("CC0-1.0", "nobody")


def test_the_exported_generator_is_the_average(exported: Path, run: Path) -> None:
    """Not the generator that is being trained."""
    settings = Settings.load(run / "config.json")
    network = build_generator(settings)
    network.load_state_dict(newest(run)["average"])
    values = latents.draw(5, np.arange(20, dtype=np.uint64), 100, "normal")
    expected = average.draw(average.calibrated(network, settings), values)
    drawn = Generator(bundle.load(exported), "cpu").run(values)
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def best(run: Path, images: int) -> Path:
    """Gives a run a best checkpoint beside its newest: the weights of another run that was kept at `images`."""
    other = untrained(run.with_name(f"{run.name}-best"), images=images)
    (other / "checkpoints").rename(run / "best")
    return run


def images_seen(run: Path, output: Path, *more: str) -> int:
    """Exports and tells how far the checkpoint was."""
    assert main(["export", str(run), "--output", str(output), *more]) == 0
    return bundle.load(output).manifest.training.images_seen


def test_the_best_checkpoint_is_exported_unless_the_newest_is_asked_for(tmp_path: Path) -> None:
    """A run may have gone on too long; where it measured nothing there is only the newest."""
    run = untrained(tmp_path / "run", images=2560)
    assert images_seen(run, tmp_path / "only") == 2560
    best(run, 640)
    assert images_seen(run, tmp_path / "best") == 640
    assert images_seen(run, tmp_path / "newest", "--checkpoint", "newest") == 2560
    drawn = [bundle.load(tmp_path / name).generator for name in ("only", "newest", "best")]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_best_checkpoint_that_is_damaged_leaves_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no second best, and the run is worth keeping."""
    run = untrained(tmp_path / "run", images=2560)
    best(run, 640)
    (kept,) = (run / "best").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert images_seen(run, tmp_path / "b") == 2560
    assert f"the checkpoint in {run / 'best'} is damaged; the newest is taken" in capsys.readouterr().err


def test_the_card_says_which_bundle_and_which_labels_a_run_had(tmp_path: Path) -> None:
    """The one by its digest, and both in the command that makes the model again: labels choose the best checkpoint."""
    for name, digest, labels in (("drawn", "", ""), ("tuned", "ab" * 32, "cd" * 6)):
        run = untrained(tmp_path / name, images=640, initial=digest, labels=labels)
        assert main(["export", str(run), "--output", str(tmp_path / f"{name}.bundle")]) == 0
    drawn, tuned = ((tmp_path / f"{name}.bundle" / bundle.MODEL_CARD).read_text() for name in ("drawn", "tuned"))
    assert "| began with | drawn weights |" in drawn
    assert "--init-from" not in drawn
    assert "--labels" not in drawn
    assert f"sha256 `{'ab' * 32}`" in tuned
    assert "--init-from BUNDLE_abababababab --labels LABELS" in tuned


def test_a_damaged_checkpoint_is_passed_over_loudly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one before it is exported, and the command names the file."""
    run = untrained(tmp_path / "run", images=640)
    state, _ = checkpoint.load_newest(run / "checkpoints")
    assert state is not None
    newer = checkpoint.save(run / "checkpoints", 1280, state | {"images": 1280})
    newer.write_bytes(newer.read_bytes()[:-1])
    assert images_seen(run, tmp_path / "b") == 640
    assert f"warning: {newer} is damaged and was passed over" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", ["keras", "mlp", "residual"])
def test_every_architecture_makes_a_bundle(tmp_path: Path, architecture: str) -> None:
    """Served as the DCGAN's is; what is derived from the layers of a DCGAN alone says so."""
    run = untrained(tmp_path / "run", architecture=architecture, latent_dim=6, prior="uniform")
    assert main(["export", str(run), "--output", str(tmp_path / "b")]) == 0
    made = bundle.load(tmp_path / "b")
    assert Generator(made, "cpu").golden_exact
    assert all(row.max_levels <= 1 for row in made.manifest.parity)
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert ("batch norm recomputed" in card) == (architecture == "keras")
    assert f"--set architecture={architecture}" in card
    with pytest.raises(BundleError, match="derived for bundles of architecture dcgan only, not for keras, mlp"):
        frozen.read(made)


def test_random_weights_take_the_shape_of_their_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digits are 28 px and grey without saying so, and nothing else."""
    command = ["export", "--random", "--recipe", "mlp-digits", "--output", str(tmp_path / "b")]
    assert main(command) == 0
    assert bundle.load(tmp_path / "b").manifest.image.width == 28
    assert main([*command, "--size", "64"]) == 1
    assert "mlp-digits is for images of 28x28x1" in capsys.readouterr().err


def test_an_output_that_exists_is_refused(exported: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that serves may lie there."""
    assert "exists; name a directory that doesn't" in error(capsys, str(run), "--output", str(exported))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with nothing written."""
    assert "no run is here" in error(capsys, str(tmp_path), "--output", str(tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was killed before its first one."""
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    assert "has no checkpoint yet" in error(capsys, str(tmp_path), "--output", str(tmp_path / "x"))


def test_a_name_that_no_bundle_may_have_is_refused(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names travel in metrics and messages."""
    line = error(capsys, str(run), "--output", str(tmp_path / "x"), "--name", "../x")
    assert "--name '../x' can't be used" in line


def test_a_changed_bundle_is_refused(tmp_path: Path, run: Path) -> None:
    """What was exported is covered by hashes, the card included."""
    assert main(["export", str(run), "--output", str(tmp_path / "x")]) == 0
    card = tmp_path / "x" / "MODEL_CARD.md"
    card.write_text(card.read_text().replace("seed | 1", "seed | 2"))
    with pytest.raises(BundleError, match=r"MODEL_CARD.md"):
        bundle.load(tmp_path / "x")


def test_random_weights_make_a_bundle_of_any_shape(tmp_path: Path) -> None:
    """For measuring: colour at 32 pixels, its golden images exact, and its manifest says that nothing was trained."""
    command = ["export", "--random", "--size", "32", "--channels", "3", "--width", "4", "--output", str(tmp_path / "b")]
    assert main(command) == 0
    made = bundle.load(tmp_path / "b")
    assert Generator(made, "cpu").golden_exact
    assert (made.manifest.image.width, made.manifest.image.channels) == (32, 3)
    assert (made.manifest.training.images_seen, made.manifest.training.dataset) == (0, "none")
    assert len(np.unique(made.golden_images)) > 20


def test_an_export_of_nothing_is_wrong_usage(tmp_path: Path) -> None:
    """Neither a run nor --random."""
    with pytest.raises(SystemExit) as usage:
        main(["export", "--output", str(tmp_path / "b")])
    assert usage.value.code == 2


def test_what_a_person_saw_is_in_the_card(run: Path, tmp_path: Path) -> None:
    """A note beside the figures, and hashed with the rest."""
    assert main(["export", str(run), "--output", str(tmp_path / "b"), "--note", "12 of 100 are hybrids."]) == 0
    assert "12 of 100 are hybrids." in (tmp_path / "b/MODEL_CARD.md").read_text()
    bundle.load(tmp_path / "b")
