"""The part of a bundle that scores images: the discriminator's graph, its calibration, and what the card says of it.

Held-out images are split in two by turns: one half for the statistics of batch norm, the other to calibrate on. The
generated images beside them come from the generator that the bundle serves. A discriminator that judges images only
beside others has no score for one, and comes into no bundle.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from dcgan import bundle, latents
from dcgan.bundle.manifest import CalibrationSpec
from dcgan.generator import Part
from dcgan.images import Pixels
from dcgan_training.batches import batches
from dcgan_training.calibration import Logits, calibration, to_images, with_statistics
from dcgan_training.config import CLASSIC, Objective, Settings
from dcgan_training.data import MIN_TEST_IMAGES, Dataset, in_both, load, shape_of, split
from dcgan_training.discriminator_graph import to_onnx
from dcgan_training.errors import DataError, RunError
from dcgan_training.networks import Discriminator

SECTION: Final = "Score"
PARITY_BATCH_SIZES: Final = (1, 2, 7, 64)
_PARITY_LIMIT: Final = 1e-3  # of the largest logit, or of 1; the two sum in another order
_PART: Final = 100  # images drawn or judged at a time
_EQUILIBRIUM: Final = (
    "Where training with a classic loss, as here, reached its equilibrium, every image would have the probability 0.5."
)
_NO_EQUILIBRIUM: Final = (
    "Its {} loss asks for an order of logits, not for probabilities; those come from the table alone."
)


@dataclass(frozen=True, slots=True)
class Judge:
    """A discriminator that is ready for a bundle: the bytes of its graph, and what its logits mean."""

    graph: bytes
    calibration: CalibrationSpec


def check_held_out(held_out: Dataset, settings: Settings, path: object) -> bool:
    """Refuses images that say nothing of a run.

    Returns:
        Whether each of them was compared with the run's own images, which may no longer be where they were.

    Raises:
        DataError: they have another size or other channels than the run's, are the run's own, or are too few.
    """
    found, wanted = (held_out.size, held_out.channels), (settings.size, settings.channels)
    if found != wanted:
        raise DataError(path, f"its images are {shape_of(*found)}, but those of the run are {shape_of(*wanted)}")
    if held_out.digest == settings.data_digest:
        raise DataError(path, "is what the run was trained on; name images that it never saw")
    if len(held_out) < MIN_TEST_IMAGES:
        raise DataError(path, f"holds {len(held_out)} images; calibration needs {MIN_TEST_IMAGES} or more")
    own = _own(settings)
    seen = 0 if own is None else in_both(held_out, own)
    if seen:
        raise DataError(path, f"{seen} of its {len(held_out)} images are of those that the run was trained on")
    return own is not None


def judge(
    discriminator: Discriminator,
    settings: Settings,
    held_out: Pixels,
    draw: Callable[[latents.Floats32], Pixels],
    draft: bundle.Bundle,
) -> Judge:
    """Makes the discriminator of a run ready for its bundle.

    Args:
        discriminator: as the checkpoint has it, on the CPU.
        settings: of the run.
        held_out: uint8 of shape (n, size, size, channels), of `check_held_out`.
        draw: makes images of latents, as the bundle's generator does.
        draft: the bundle so far; its golden images are judged once to see that the graph runs.

    Raises:
        RunError: onnxruntime doesn't judge as torch does.
    """
    for_statistics, for_calibration = held_out[::2], held_out[1::2]
    generated = _generated(settings, len(held_out), draw)
    source = with_statistics(discriminator, for_statistics, generated[: len(for_statistics)], settings.batch_size)
    graph = to_onnx(source)
    part = Part(draft, graph, bundle.DISCRIMINATOR, "cpu")
    _check_parity(part, source, held_out)
    fresh = generated[len(for_statistics) :]
    return Judge(graph, calibration(_logits(part, for_calibration), _logits(part, fresh)))


def why_none(settings: Settings) -> str:
    """Says in a sentence why a run of these settings has no score for one image; nothing where it has one."""
    if settings.packing > 1:
        return f"its discriminator judges {settings.packing} images together (packing), so no single one has a score"
    if settings.minibatch_kernels > 0:
        return "its discriminator judges each image beside its batch (minibatch_kernels), so no single one has a score"
    return ""


def section(spec: CalibrationSpec, compared: bool, objective: Objective = "non-saturating") -> str:
    """Writes what a score is and is not, and how far it can be trusted, as Markdown.

    Args:
        spec: of the calibration.
        compared: whether it is known that the run saw none of the held-out images.
        objective: that the discriminator was trained with.
    """
    unseen = "that the training never saw" if compared else "which its maker says the training never saw"
    return f"""The discriminator gives an image a logit, higher for what is more like the real images. From it come \
the probability that the image is a real one, where real and generated ones are equally frequent, and its percentile \
among held-out real images.

| measured on images {unseen} | |
| --- | --- |
| chance that a real image scores above a generated one (AUC) | {spec.auc:.4f}; 0.5 is guessing |
| real images | {spec.real_count:,} |
| generated images | {spec.generated_count:,} |
| probability | sigmoid({spec.slope:.4g} * logit {spec.offset:+.4g}) |

A score says how this discriminator, trained against this generator, tells the two apart, and nothing more. \
{_EQUILIBRIUM if objective in CLASSIC else _NO_EQUILIBRIUM.format(objective)} A score is \
no likelihood. It means something only among images of the model's own kind: another kind of image, even a blank one, \
may score above most of them. It orders images of one model; between two models it compares nothing."""


def _own(settings: Settings) -> Dataset | None:
    """Gives the images that a run trained on; None where they can no longer be read, or are others by now."""
    try:
        data = load(Path(settings.data), settings.size)
    except DataError:
        return None
    if data.digest != settings.data_digest:
        return None
    holds_out = settings.held_out_count > 0 and not settings.held_out
    return dataclasses.replace(data, images=data.images[split(data.images).train]) if holds_out else data


def _generated(settings: Settings, count: int, draw: Callable[[latents.Floats32], Pixels]) -> Pixels:
    """Draws images of the run's seed; its training took its latents from another stream."""
    names = np.arange(count, dtype=np.uint64)
    values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior)
    return np.concatenate([draw(batch) for batch in batches(values, _PART)])


def _logits(part: Part, pixels: Pixels) -> Logits:
    """Judges images as a server will: float64 (n,)."""
    rows = [part.run(np.ascontiguousarray(batch))[0] for batch in batches(pixels, _PART)]
    return np.concatenate(rows).astype(np.float64)


@torch.no_grad()
def _check_parity(part: Part, source: Discriminator, pixels: Pixels) -> None:
    for size in PARITY_BATCH_SIZES:
        images = pixels[:size]
        expected = source(to_images(images, source.low)).numpy()
        apart = float(np.abs(part.run(images)[0] - expected).max())
        allowed = _PARITY_LIMIT * max(1.0, float(np.abs(expected).max()))
        if not apart <= allowed:  # also refuses NaN
            raise RunError(
                f"the exported discriminator doesn't judge as torch does: at batch size {size} its logits are off by "
                f"{apart:.3g} at most, where {allowed:g} are allowed"
            )
