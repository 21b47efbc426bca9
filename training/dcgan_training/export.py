"""A run to a model bundle of format 1: the averaged generator, proven to draw in onnxruntime what it draws in torch.

With the images that the run held out, the discriminator comes along, which is `discriminator`'s. The faster variants
of the generator are `variants`'.

The proof runs through `dcgan.generator`, the code that will serve the bundle; so do the golden images and the preview.
"""

import datetime
import hashlib
import importlib.metadata
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from dcgan import bundle, generator, images, latents
from dcgan.bundle.manifest import HeldOutSpec, ImageSpec, LatentSpec, Manifest, Name, Parity, Tolerance, TrainingSpec
from dcgan.bundle.versions import stated_by
from dcgan.errors import SettingsError
from dcgan_training import average, checkpoint, discriminator, known, run_directory, variants
from dcgan_training.card import model_card, with_section
from dcgan_training.config import Settings
from dcgan_training.data import MIN_TEST_IMAGES, Broken, digest_of, load
from dcgan_training.errors import DataError, RunError
from dcgan_training.graph import OPSET, to_onnx
from dcgan_training.networks import Discriminator, Generator, build_discriminator, build_generator, initialize
from dcgan_training.say import Say, silent

PARITY_BATCH_SIZES: Final = (1, 2, 7, 64)
_PARITY_LIMIT: Final = Tolerance(max_levels=1, mean_levels=0.01)  # roundings that fall the other way, and no more
_GOLDEN_COUNT: Final = 16
# Other devices sum in another order, GPUs with 10 bits of mantissa (TF32); a wrong graph is off by tens of levels.
_GOLDEN_TOLERANCE: Final = Tolerance(max_levels=8, mean_levels=0.5)
_PREVIEW_COLUMNS: Final = 10
_NAME: Final = TypeAdapter[str | None](Name | None)
_PACKAGES: Final = ("dcgan", "numpy", "onnx", "onnxruntime", "torch")

Choice = Literal["best", "newest"]
"""Which checkpoint of a run is exported: the best by its figure, where the run measured one, or the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What the exporter says of a bundle; None takes what is known of the run.

    Attributes:
        name: of the model; else the output directory's, as `at` reads it.
        version: of the model; else the output directory's, or the first 12 digits of the generator's sha256.
        licence: of the weights; else the known data set's, or "not stated".
        attribution: that must be passed on with the weights; else the known data set's, or none.
        note: what a person who looked at the images says of them, for the model card; else nothing.
    """

    name: str | None = None
    version: str | None = None
    licence: str | None = None
    attribution: str | None = None
    note: str = ""

    def at(self, output: Path) -> "Labels":
        """Fills in what the output's path says: models/fashion/2 is version 2 of fashion, runs/fashion is fashion."""
        stated = {"name": output.absolute().name, "version": None, **stated_by(output)}
        return replace(self, name=self.name or stated["name"], version=self.version or stated["version"])

    def check(self) -> None:
        """Raises SettingsError where the name or the version has characters that none may have."""
        for flag, value in (("name", self.name), ("version", self.version)):
            try:
                _NAME.validate_python(value)
            except ValidationError as error:
                raise SettingsError(f"--{flag} {value!r} can't be used: {error.errors()[0]['msg']}") from error


@dataclass(frozen=True, slots=True)
class _Source:
    """What is exported: the calibrated average and, where there are images to calibrate it on, the discriminator."""

    settings: Settings
    images_seen: int
    generator: Generator
    discriminator: Discriminator | None = None
    held_out: NDArray[np.uint8] | None = None
    compared: bool = False  # with the run's own images
    scoreless: str = ""  # why there is no discriminator


def export(
    directory: Path,
    output: Path,
    labels: Labels,
    held_out: Path | None = None,
    choice: Choice = "best",
    say: Say = silent,
    *,
    broken: Broken = "refuse",
) -> Manifest:
    """Writes the bundle of a run.

    Args:
        directory: of the run.
        output: of the bundle; must not exist.
        labels: what to call it and whom to thank.
        held_out: images that the run never saw, as `data.load` reads them; None takes those that it held out.
        choice: of the checkpoint.
        say: is told how well the discriminator scores, or why there is none, the same of the generator's variants, and
            of damaged checkpoints.
        broken: image files among the held-out ones, as for `data.load`.

    Raises:
        RunError: `directory` is no run, has no checkpoint, or a graph doesn't do what torch does.
        DataError: the held-out images can't be read, or say nothing of this run.
        OutputError: `output` exists or can't be written.
        SettingsError: the name or the version has characters that none may have.
    """
    labels.check()
    return _export(_load(directory, held_out, broken, choice, say), output, labels, say)


def export_random(settings: Settings, output: Path, labels: Labels, say: Say = silent) -> Manifest:
    """Writes a bundle of weights as they are before training, which runs as fast as a trained one.

    Args:
        settings: of the run that it would have been; `seed` draws the weights.
        output, labels, say: and errors raised, as for `export`.
    """
    source = build_generator(settings)
    initialize(source, torch.Generator().manual_seed(settings.seed))
    untrained = _Source(settings, 0, average.calibrated(source, settings), scoreless="nothing was trained")
    return _export(untrained, output, labels, say)


def _export(source: _Source, output: Path, labels: Labels, say: Say) -> Manifest:
    bundle.check_new(output)
    settings = source.settings
    graph = to_onnx(source.generator)
    try:
        manifest = _manifest(settings, source.images_seen, graph, labels.at(output))
    except ValidationError as error:
        raise SettingsError(_first_fault(error)) from error
    draft = _draft(manifest, graph, source.generator)
    runtime = generator.Generator(draft, "cpu")
    golden = np.ascontiguousarray(runtime.run(draft.golden_latents))
    preview = images.grid(runtime.run(_values(settings, _PREVIEW_COLUMNS**2)), _PREVIEW_COLUMNS)
    files = {
        bundle.GENERATOR: graph,
        bundle.GOLDEN: safetensors.numpy.save({"latents": draft.golden_latents, "images": golden}),
        "preview.png": images.encode(preview, "png"),
    }
    judge = _judge(source, runtime, draft)
    faster = variants.variants_of(replace(draft, golden_images=golden))
    files |= faster.files
    changes: dict[str, object] = {"parity": _parity(runtime, source.generator, settings), "variants": faster.specs}
    if judge is not None:
        files[bundle.DISCRIMINATOR] = judge.graph
        changes["calibration"] = judge.calibration
    manifest = manifest.model_copy(update=changes)
    card = with_section(model_card(manifest, settings, labels.note), discriminator.SECTION, _of_score(source, judge))
    card = with_section(card, variants.SECTION, variants.section(faster))
    bundle.write(output, manifest, files | {bundle.MODEL_CARD: card.encode()})
    variants.prove(output)
    say(_told(source, judge))
    for line in variants.told(faster):
        say(line)
    return manifest


def _load(directory: Path, held_out: Path | None, broken: Broken, choice: Choice, say: Say) -> _Source:
    """Gives a run's calibrated average on the CPU, and with images to calibrate it on the discriminator."""
    settings = Settings.load(directory / run_directory.CONFIG)
    state = _state(directory, choice, say)
    network = build_generator(settings)
    checkpoint.fill(network, state, "average")
    source = _Source(settings, state["images"], average.calibrated(network, settings))
    scoreless = discriminator.why_none(settings) or _why_uncalibrated(settings, held_out)
    if scoreless:
        return replace(source, scoreless=scoreless)
    adversary = build_discriminator(settings)
    checkpoint.fill(adversary, state, "discriminator")
    if held_out is None:
        return replace(source, discriminator=adversary, held_out=_own_held_out(directory, settings), compared=True)
    data = load(held_out, settings.size, broken=broken)
    compared = discriminator.check_held_out(data, settings, held_out)
    return replace(source, discriminator=adversary, held_out=data.images, compared=compared)


def _state(directory: Path, choice: Choice, say: Say) -> dict[str, Any]:
    """Loads the checkpoint that was asked for; the newest where no best one was kept, or it is damaged."""
    names = (run_directory.BEST, run_directory.CHECKPOINTS) if choice == "best" else (run_directory.CHECKPOINTS,)
    for name in names:
        try:
            state, warnings = checkpoint.load_newest(directory / name)
        except RunError:
            if name == run_directory.CHECKPOINTS:
                raise
            state, warnings = None, [f"warning: the checkpoint in {directory / name} is damaged; the newest is taken"]
        for warning in warnings:
            say(warning)
        if state is not None:
            return state
    raise RunError(f"{directory} has no checkpoint yet; let it train on")


def _why_uncalibrated(settings: Settings, held_out: Path | None) -> str:
    """Says why there are no images to calibrate a discriminator on, as `discriminator.why_none` does."""
    if held_out is not None or settings.held_out_count >= MIN_TEST_IMAGES:
        return ""
    if settings.held_out_count == 0:
        return "its run held no images out, so without --held-out no discriminator is exported"
    return f"its run held out {settings.held_out_count} images, and calibration needs {MIN_TEST_IMAGES}"


def _own_held_out(directory: Path, settings: Settings) -> NDArray[np.uint8]:
    """Gives the images that a run held out.

    Raises:
        DataError: the file isn't there, or holds something else by now.
    """
    file = directory / run_directory.HELD_OUT
    try:
        images: NDArray[np.uint8] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(file, f"can't be read ({error}); say --held-out PATH") from error
    if images.dtype != np.uint8 or digest_of(images) != settings.held_out_digest:
        raise DataError(file, "holds other images than the run held out; say --held-out PATH")
    return images


def _told(source: _Source, judge: discriminator.Judge | None) -> str:
    if judge is None:
        return f"this bundle scores no images: {source.scoreless}"
    auc = judge.calibration.auc
    return f"the discriminator puts the real image of a pair above the generated one in {auc:.1%}; 50% is guessing"


def _of_score(source: _Source, judge: discriminator.Judge | None) -> str:
    """Writes the card's section on scores."""
    if judge is None:
        return f"This bundle scores no images: {source.scoreless}."
    return discriminator.section(judge.calibration, source.compared, source.settings.objective)


def _judge(source: _Source, runtime: generator.Generator, draft: bundle.Bundle) -> discriminator.Judge | None:
    if source.discriminator is None or source.held_out is None:
        return None
    return discriminator.judge(source.discriminator, source.settings, source.held_out, runtime.run, draft)


def _manifest(settings: Settings, images_seen: int, graph: bytes, labels: Labels) -> Manifest:
    assert labels.name is not None
    dataset = known.by_digest(settings.data_digest)
    return Manifest(
        name=labels.name,
        version=labels.version or hashlib.sha256(graph).hexdigest()[:12],
        created=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
        latent=LatentSpec(dim=settings.latent_dim, prior=settings.prior),
        image=ImageSpec(height=settings.size, width=settings.size, channels=1 if settings.channels == 1 else 3),
        files={},
        opset=OPSET,
        golden=_GOLDEN_TOLERANCE,
        training=TrainingSpec(
            recipe=settings.recipe,
            dataset=dataset.name if dataset else os.fsencode(Path(settings.data).name).decode(errors="replace"),
            dataset_digest=settings.data_digest,
            data_count=settings.data_count,
            held_out=_held_out_spec(settings),
            seed=settings.seed,
            steps=images_seen // (settings.batch_size * settings.discriminator_steps),
            images_seen=images_seen,
            packages={name: importlib.metadata.version(name) for name in _PACKAGES},
        ),
        licence=labels.licence or (dataset.licence if dataset else "not stated"),
        attribution=labels.attribution or (dataset.attribution if dataset else ""),
    )


def _held_out_spec(settings: Settings) -> HeldOutSpec | None:
    if settings.held_out_count == 0:
        return None
    source: Literal["content-hash", "test-set"] = "test-set" if settings.held_out else "content-hash"
    return HeldOutSpec(source=source, image_count=settings.held_out_count, digest=settings.held_out_digest)


def _draft(manifest: Manifest, graph: bytes, source: Generator) -> bundle.Bundle:
    """Makes a bundle in memory whose golden images are torch's.

    The service refuses a bundle whose golden images don't come out, so that opening this one compares the two.
    """
    values = latents.draw(0, np.arange(_GOLDEN_COUNT, dtype=np.uint64), manifest.latent.dim, manifest.latent.prior)
    return bundle.Bundle(Path("the export"), manifest, "", graph, values, average.draw(source, values), {})


def _parity(runtime: generator.Generator, source: Generator, settings: Settings) -> list[Parity]:
    """Compares torch with onnxruntime at several batch sizes, in grey levels.

    Raises:
        RunError: they are further apart than rounding explains.
    """
    measured = [
        _difference(runtime.run(values), average.draw(source, values))
        for values in (_values(settings, size) for size in PARITY_BATCH_SIZES)
    ]
    for parity in measured:
        if parity.max_levels > _PARITY_LIMIT.max_levels or parity.mean_levels > _PARITY_LIMIT.mean_levels:
            raise RunError(
                f"the exported graph doesn't draw what torch draws: at batch size {parity.batch_size} it is off by "
                f"{parity.max_levels} grey levels at most and {parity.mean_levels:.4f} in the mean"
            )
    return measured


def _difference(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> Parity:
    largest, mean = generator.levels_apart(ours, theirs)
    return Parity(batch_size=len(ours), max_levels=largest, mean_levels=mean)


def _values(settings: Settings, count: int) -> latents.Floats32:
    """Draws the latents of seed 0, as a client does who asks for them."""
    return latents.draw(0, np.arange(count, dtype=np.uint64), settings.latent_dim, settings.prior)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"--{fault['loc'][0]} {fault['input']!r} can't be used: {fault['msg']}"
