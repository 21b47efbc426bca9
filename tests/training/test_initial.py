import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dcgan import bundle, generator, latents
from dcgan.errors import BundleError, SettingsError
from dcgan_training import initial
from dcgan_training.cli import main
from dcgan_training.data import load
from dcgan_training.networks import batch_norms, build_discriminator, signed, to_uint8
from dcgan_training.trainer import Trainer
from runs import CPU, SUBSET, arguments, newest, settings, trained, untrained

BUNDLED = Path(bundle.__file__).parents[1] / "models" / "fashion"
ITS_SHAPE = {"width": 32, "full_size_map": True}
ITS_FLAGS = ["--width", "32", "--set", "full_size_map=true"]


@pytest.fixture(scope="module")
def tuned() -> Trainer:
    """A new trainer with the weights of the bundled model."""
    start = initial.read(BUNDLED)
    chosen = settings(**ITS_SHAPE, initial=start.digest)
    start.check(chosen)
    trainer = Trainer(chosen, CPU)
    assert start.give(trainer, load(SUBSET).images) == []
    return trainer


def test_the_generator_begins_by_drawing_what_the_bundle_draws(tuned: Trainer) -> None:
    """Though it normalises by its batch: its scales and shifts undo that, but for the batch's own chance."""
    found = bundle.load(BUNDLED)
    values = latents.draw(3, np.arange(512, dtype=np.uint64), 100, "normal")
    expected = generator.Generator(found, "cpu").run(values)
    with torch.no_grad():
        drawn = to_uint8(tuned.generator(torch.from_numpy(values)), tuned.generator.low).numpy()
    assert np.abs(drawn.astype(int) - expected).mean() < 3
    pairs = zip(tuned.average.parameters(), tuned.generator.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_the_discriminator_begins_by_telling_real_images_from_drawn_ones(tuned: Trainer) -> None:
    """As the bundle's does in three of four pairs; drawn weights would guess."""
    real = tuned._real(torch.tensor(load(SUBSET).images), 0)
    values = latents.draw(4, np.arange(len(real), dtype=np.uint64), 100, "normal")
    with torch.no_grad():
        fake = tuned.generator(torch.from_numpy(values))
        logits = tuned.discriminator(torch.cat([real, fake]))
    above = (logits[: len(real), None] > logits[None, len(real) :]).float().mean()
    assert above > 0.65


def test_the_discriminator_is_measured_on_images_from_all_over_those_held_out() -> None:
    """A set that is stored class by class would else show it one class: here black images, and then all others."""
    start = initial.read(BUNDLED)
    images = load(SUBSET).images
    black = np.zeros((1024, *images.shape[1:]), np.uint8)
    found = []
    for real in (black, np.concatenate([black, images, images])):
        trainer = Trainer(settings(**ITS_SHAPE, initial=start.digest), CPU)
        start.give(trainer, real)
        found.append(torch.cat([norm.weight.detach() for norm in batch_norms(trainer.discriminator)]))
    assert not torch.allclose(*found, rtol=0.05)


def test_a_run_from_a_bundle_remembers_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command continues it, also once the bundle is gone, or unmentioned; another bundle is another run."""
    run, copy, other = tmp_path / "run", tmp_path / "copy", tmp_path / "other"
    shutil.copytree(BUNDLED, copy)
    shutil.copytree(BUNDLED, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"name": "other"}))
    more = [*ITS_FLAGS, "--init-from", str(copy)]
    trained(run, *more, images=128)
    trained(run, *more, images=256)
    (copy / "generator.onnx").unlink()
    trained(run, *more, images=384)
    assert "generator.onnx: is missing; the run goes on without it" in capsys.readouterr().err
    trained(run, *ITS_FLAGS, images=512)
    assert newest(run)["images"] == 512
    assert newest(run)["settings"]["initial"] == initial.read(BUNDLED).digest
    assert main(arguments(run, *ITS_FLAGS, "--init-from", str(other), images=640)) == 1
    assert "holds a run with --init-from a manifest of sha256 " in capsys.readouterr().err


def test_a_run_that_has_not_begun_needs_its_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settled, but killed before its first checkpoint; and one that began without a bundle takes none later."""
    run, copy = tmp_path / "run", tmp_path / "copy"
    shutil.copytree(BUNDLED, copy)
    command = arguments(run, *ITS_FLAGS, "--init-from", str(copy), images=128)
    assert main(command) == 0
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(copy)
    assert main(command) == 1
    assert f"error: {copy}: is no directory" in capsys.readouterr().err
    drawn = trained(tmp_path / "drawn", images=128)
    assert main(arguments(drawn, "--init-from", str(copy))) == 1
    assert f"error: {copy}: is no directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"full_size_map": False}, "its full_size_map is True, but this run's is False"),
        ({"width": 16}, "its width is 32, but this run's is 16"),
        ({"size": 64}, "its size is 28, but this run's is 64"),
        ({"prior": "uniform"}, "its prior is normal, but this run's is uniform"),
        ({"latent_dim": 64}, "its latent_dim is 100, but this run's is 64"),
        ({"architecture": "mlp"}, "its architecture is dcgan, but this run's is mlp"),
    ],
)
def test_a_bundle_of_another_shape_is_refused(changes: dict[str, object], why: str) -> None:
    """The message names what differs, and both values."""
    with pytest.raises(SettingsError, match=why):
        initial.read(BUNDLED).check(settings(**(ITS_SHAPE | changes)))


def test_a_generator_with_a_full_size_map_begins_by_drawing_what_the_bundle_draws(tmp_path: Path) -> None:
    """Its last layer is of another kind, and the one before it has a batch norm."""
    run, output = untrained(tmp_path / "run", full_size_map=True, width=6), tmp_path / "bundle"
    assert main(["export", str(run), "--output", str(output)]) == 0
    start = initial.read(output)
    chosen = settings(full_size_map=True, width=6, initial=start.digest)
    start.check(chosen)
    trainer = Trainer(chosen, CPU)
    assert start.give(trainer, load(SUBSET).images) == []
    values = latents.draw(3, np.arange(512, dtype=np.uint64), 100, "normal")
    expected = generator.Generator(bundle.load(output), "cpu").run(values)
    with torch.no_grad():
        drawn = to_uint8(trainer.generator(torch.from_numpy(values)), trainer.generator.low).numpy()
    assert expected.std() > 1
    assert np.abs(drawn.astype(int) - expected).mean() < expected.std() / 10


def test_a_discriminator_without_batch_norm_is_taken_up_as_it_is(tmp_path: Path) -> None:
    """At 8 px it has a single convolution, and judges what it judged; under spectral norm it would be another."""
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).integers(0, 256, (400, 8, 8, 1), np.uint8))
    run, output = tmp_path / "run", tmp_path / "bundle"
    assert main(arguments(run, data=data)) == 0
    assert main(["export", str(run), "--output", str(output)]) == 0
    start = initial.read(output)
    trainer, normed = (
        Trainer(settings(size=8, spectral_norm=norm, initial=start.digest), CPU) for norm in (False, True)
    )
    images = np.load(data)
    assert start.give(trainer, images) == []
    assert "begins with drawn weights" in start.give(normed, images)[0]
    trained_one = build_discriminator(trainer.settings)
    trained_one.load_state_dict(newest(run)["discriminator"])
    with torch.no_grad():
        assert torch.allclose(trainer.discriminator(signed(torch.from_numpy(images))),
                              trained_one(signed(torch.from_numpy(images))), atol=1e-5)  # fmt: skip


def test_a_run_with_another_discriminator_draws_its_weights() -> None:
    """Of a packed one no bundle has any; the reader is told."""
    start = initial.read(BUNDLED)
    chosen = settings("packed", **ITS_SHAPE, initial=start.digest)
    (note,) = start.give(Trainer(chosen, CPU), load(SUBSET).images)
    assert "has no discriminator for this run" in note


@pytest.mark.parametrize("recipe", ["strong", "mlp-digits"])
def test_a_bundle_of_another_architecture_is_refused_in_words(recipe: str, tmp_path: Path) -> None:
    """Its layers can't be told from its graph, with or without a discriminator beside it."""
    assert main(["train", "--recipe", recipe, *arguments(tmp_path / "run", "--width", "4", images=128)[1:]]) == 0
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "bundle")]) == 0
    with pytest.raises(BundleError, match="nor can a run begin with these weights"):
        initial.read(tmp_path / "bundle")
