"""Directions in the latent space of a bundle: found by labels of real images, measured, and written into the bundle.

The labelled real images are split by their content into two halves. A classifier trained on one half, the finder,
labels samples of the model; a direction leads from those without an attribute to those that surely have it. A
classifier trained on the other half, the judge, says what the direction does: it took no part in finding it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from dcgan import bundle
from dcgan.bundle.manifest import DirectionSpec
from dcgan.errors import SettingsError
from dcgan.generator import Generator
from dcgan.images import Pixels
from dcgan.latents import Floats32
from dcgan_training import classifier, direction_vectors, labels, strips
from dcgan_training.batches import batches
from dcgan_training.card import with_section
from dcgan_training.classifier import Classifier, Codes
from dcgan_training.data import Broken, Dataset, positions
from dcgan_training.direction_card import commands, section
from dcgan_training.direction_measures import Gauge, Realism, Sampler, readings, useful_range
from dcgan_training.errors import DataError
from dcgan_training.fitting import fitting
from dcgan_training.labels import Attribute
from dcgan_training.say import Say

_FINDER_WIDTH: Final = 32
_JUDGE_WIDTH: Final = 24
_EPOCHS_AT_MOST: Final = 10
_HELD_OUT: Final = 10  # one of so many images of the finder's half
_MIN_LABELLED: Final = 100  # images
_FEWEST_IN_SPLIT: Final = 2  # of them; realism is measured between neighbours
_REAL: Final = 5000  # images that realism is measured against
_FEWEST_MOVED: Final = 400
_CHUNK: Final = 4096  # samples in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to find.

    Attributes:
        attributes: NAME=COLUMN:VALUE each; none takes every value of every column that has few.
        orthogonal_to: names of directions whose part is taken out of all others.
        broken: what to do about image files that can't be read.
    """

    attributes: tuple[str, ...] = ()
    orthogonal_to: tuple[str, ...] = ()
    broken: Broken = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much work to do.

    Attributes:
        seed: of the classifiers and the samples; uint64.
        samples: that the finder labels; a hundredth of them is moved to each strength.
        shown: images that each classifier is trained on, but no image more than ten times.
        threads: to draw in.
    """

    seed: int = 0
    samples: int = 100_000
    shown: int = 150_000
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A direction, what is known of it, and its picture."""

    vector: Floats32
    spec: DirectionSpec
    picture: bytes


@dataclass(frozen=True, slots=True)
class _Looks:
    """What both classifiers and the samples are, for all attributes.

    Attributes:
        columns: that the classifiers have heads for, in order.
        accuracies: of the finder, float32 (values,) for each column.
        probabilities: that the finder gives the samples, float32 (samples, values) for each column.
    """

    columns: list[labels.Column]
    finder: Classifier
    judge: Classifier
    accuracies: list[Floats32]
    realism: Realism
    sampler: Sampler
    values: Floats32
    probabilities: list[Floats32]


def add_directions(
    path: Path, output: Path | None, sources: tuple[Path, Path], request: Request, plan: Plan, say: Say
) -> dict[str, DirectionSpec]:
    """Finds directions and writes the bundle again with them; those that it has under other names stay.

    Args:
        path: of the bundle.
        output: of the new one, which must not exist; None replaces the old one.
        sources: the images, which are cropped and resized to the model's size, and their labels.
        request: what to find.
        plan: how much work to do.
        say: takes a line for the person who waits.

    Returns:
        What the manifest says of each direction that was found.

    Raises:
        DataError: the images or the labels can't be read, or don't fit each other or the model.
        SettingsError: an attribute that was asked for can't be found, or no direction is left of it.
        BundleError, OutputError: as of `bundle.extend`.
    """
    bundle.check_new(output)
    made = bundle.load(path)
    data = fitting(sources[0], made.manifest, request.broken)
    columns = labels.read(sources[1], data)
    attributes = labels.asked_for(columns, request.attributes)
    if not attributes:
        attributes, notes = labels.offered(columns)
        for note in notes:
            say(note)
    _check_request(attributes, request, sources[1])
    generator = Generator(made, "cpu")
    looks = _looks(data, attributes, Sampler(generator, made.manifest.latent, plan.seed, plan.threads), plan, say)
    vectors = _vectors(looks, attributes, bool(request.attributes), say)
    direction_vectors.take_out(vectors, request.orthogonal_to)
    found: dict[str, Found] = {}
    for attribute in attributes:
        if attribute.name in vectors:
            found |= _measured(looks, attribute, vectors[attribute.name], bool(request.attributes), plan, say)
    if not found:
        raise SettingsError("no direction was found; the lines above say why, for each attribute")
    _write(path, output, found, _command(request, plan))
    return {name: direction.spec for name, direction in found.items()}


def halves(pixels: Pixels) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Splits images by their content: equal images always fall on the same side.

    Args:
        pixels: uint8 (n, h, w, c).

    Returns:
        bool (n,) each: the finder's half, and what of it is held out.
    """
    words = np.array(
        [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:7], "big") for image in pixels], np.int64
    )
    finders = words % 2 == 0
    return finders, finders & (words // 2 % _HELD_OUT == 0)


def _check_request(attributes: Sequence[Attribute], request: Request, file: Path) -> None:
    if not attributes:
        raise DataError(
            file,
            f"offers no attribute: a column must have 2 to {labels.MAX_VALUES} different values, "
            f"of {labels.MIN_ROWS} images or more",
        )
    names = [attribute.name for attribute in attributes]
    for name in request.orthogonal_to:
        if name not in names:
            raise SettingsError(
                f"--orthogonal-to {name}: no such direction is looked for; there are {', '.join(names)}"
            )


def _looks(data: Dataset, attributes: Sequence[Attribute], sampler: Sampler, plan: Plan, say: Say) -> _Looks:
    columns = list({attribute.column.name: attribute.column for attribute in attributes}.values())
    codes = np.stack([column.codes for column in columns], 1)
    labelled = (codes != labels.UNLABELLED).any(1)
    pixels, codes = data.images[labelled], codes[labelled]
    if len(pixels) < _MIN_LABELLED:
        raise SettingsError(f"{len(pixels)} images have labels; {_MIN_LABELLED} are needed to learn from")
    finders, held_out = halves(pixels)
    trained = finders & ~held_out
    for split, of in ((trained, "finder"), (~finders, "judge"), (held_out, "finder's accuracy")):
        if split.sum() < _FEWEST_IN_SPLIT:
            raise SettingsError(
                f"{split.sum()} of {len(pixels)} labelled images are left for the {of}, as they are split by content; "
                f"{_FEWEST_IN_SPLIT} are needed: label more images that differ"
            )
    say(f"training two classifiers on {len(pixels):,} labelled images")
    finder = _classifier(pixels[trained], codes[trained], columns, _FINDER_WIDTH, plan.seed, plan)
    judge = _classifier(pixels[~finders], codes[~finders], columns, _JUDGE_WIDTH, plan.seed + 1, plan)
    accuracies = classifier.accuracies(finder, pixels[held_out], codes[held_out])
    unseen = np.flatnonzero(~finders)
    few = unseen[positions(plan.seed, 0, min(_REAL, len(unseen)), len(unseen))]  # from all over: they may be sorted
    realism = Realism(finder.look(pixels[few])[0])
    say(f"labelling {plan.samples:,} samples")
    values = sampler.values(0, plan.samples)
    probabilities = _probabilities(sampler, finder, values)
    return _Looks(columns, finder, judge, accuracies, realism, sampler, values, probabilities)


def _classifier(
    pixels: Pixels, codes: Codes, columns: Sequence[labels.Column], width: int, seed: int, plan: Plan
) -> Classifier:
    counts = [len(column.values) for column in columns]
    shown = min(plan.shown, _EPOCHS_AT_MOST * len(pixels))
    return classifier.train(pixels, codes, counts, width=width, seed=seed % (1 << 64), shown=shown)


def _probabilities(sampler: Sampler, network: Classifier, values: Floats32) -> list[Floats32]:
    """Gives what a classifier sees in the samples of float32 (n, dim) latents: float32 (n, values) for each column."""
    seen = [network.look(sampler.images(batch))[1] for batch in batches(values, _CHUNK)]
    return [np.concatenate(column) for column in zip(*seen, strict=True)]


def _vectors(looks: _Looks, attributes: Sequence[Attribute], required: bool, say: Say) -> dict[str, Floats32]:
    """Finds a float32 (dim,) direction for each attribute that the model draws often enough."""
    vectors = {}
    for attribute in attributes:
        column = _place(looks, attribute)
        sure = looks.probabilities[column][:, attribute.value]
        if (sure >= 0.5).sum() < direction_vectors.FEWEST or (
            sure < 1 - direction_vectors.SURE
        ).sum() < direction_vectors.FEWEST:
            count = int((sure >= 0.5).sum())
            _leave_out(attribute, f"of {len(sure):,} samples {count:,} have it, too few or too many", required, say)
            continue
        first = direction_vectors.difference(looks.values, sure)
        has = _has(looks, column, attribute.value)
        count = max(_FEWEST_MOVED, len(looks.values) // 12)
        vectors[attribute.name] = direction_vectors.refined(looks.sampler, count, has, first)
    return vectors


def _measured(
    looks: _Looks, attribute: Attribute, vector: Floats32, required: bool, plan: Plan, say: Say
) -> dict[str, Found]:
    """Measures a direction; gives it by name, or nothing where no strength of it is of use."""
    column, sampler = _place(looks, attribute), looks.sampler
    moved = max(_FEWEST_MOVED, plan.samples // 100)
    gauge = Gauge(sampler, looks.finder, looks.realism, column, attribute.value)
    low, high = useful_range(readings(gauge, sampler.values(8, moved), vector))
    if high == 0:
        _leave_out(attribute, "no strength above 0 shows it more often in images that look real", required, say)
        return {}
    fresh = sampler.values(9, moved)
    sidewards = np.random.Generator(np.random.Philox(plan.seed)).standard_normal(fresh.shape)
    sidewards *= np.linalg.norm(vector) / np.linalg.norm(sidewards, axis=1, keepdims=True)
    judged = [
        float((_probabilities(sampler, looks.judge, values)[column].argmax(1) == attribute.value).mean())
        for values in (sampler.moved(fresh, high * vector), sampler.moved(fresh, high * sidewards))
    ]
    accuracy = float(looks.accuracies[column][attribute.value])
    positive = int((looks.probabilities[column].argmax(1) == attribute.value).sum())
    spec = DirectionSpec(
        min_strength=low,
        max_strength=high,
        description=f"Towards {attribute.meaning}, which {positive / len(looks.values):.1%} of samples are unmoved.",
        accuracy=None if np.isnan(accuracy) else accuracy,
        sample_count=len(looks.values),
        positive_count=positive,
        turned=judged[0],
        turned_by_chance=judged[1],
    )
    say(f"{attribute.name}: strengths {low:g} to {high:g}, turned {spec.turned:.0%}, by chance {judged[1]:.0%}")
    return {attribute.name: Found(vector, spec, strips.picture(sampler, attribute.name, spec, vector))}


def _write(path: Path, output: Path | None, found: dict[str, Found], command: str) -> None:
    """Adds what was found to the bundle as it is now: finding took minutes, and others may have added theirs."""
    made = bundle.load(path)
    vectors = {**made.directions, **{name: direction.vector for name, direction in found.items()}}
    specs = {**made.manifest.directions, **{name: direction.spec for name, direction in found.items()}}
    pictures = {strips.file_of(name): direction.picture for name, direction in found.items()}
    card = "\n## Licence\n"
    if bundle.MODEL_CARD in made.manifest.files:
        card = (made.path / bundle.MODEL_CARD).read_text("utf-8", errors="replace")
    before = commands(card) if made.manifest.directions.keys() - found.keys() else []
    body = section(specs, [*before, command], {*made.manifest.files, *pictures})
    files = {
        bundle.DIRECTIONS: safetensors.numpy.save(vectors),
        **pictures,
        bundle.MODEL_CARD: with_section(card, "Directions", body).encode(),
    }
    bundle.extend(made.path, output, {"directions": specs}, files)


def _command(request: Request, plan: Plan) -> str:
    attributes = "".join(f" --attribute {attribute}" for attribute in request.attributes)
    orthogonal = "".join(f" --orthogonal-to {name}" for name in request.orthogonal_to)
    broken = " --broken skip" if request.broken == "skip" else ""
    return (
        f"dcgan-train directions BUNDLE --data DATA --labels LABELS{broken}{attributes}{orthogonal} "
        f"--samples {plan.samples} --seed {plan.seed} --threads {torch.get_num_threads()}"
    )


def _has(looks: _Looks, column: int, value: int) -> direction_vectors.Has:
    """Makes the finder's look at the samples of latents."""
    return lambda values: _probabilities(looks.sampler, looks.finder, values)[column][:, value] >= 0.5


def _leave_out(attribute: Attribute, why: str, required: bool, say: Say) -> None:
    """Says that there is no direction; an error where it was asked for by name."""
    if required:
        raise SettingsError(f"--attribute {attribute.name}: {why}")
    say(f"{attribute.name} is left out: {why}")


def _place(looks: _Looks, attribute: Attribute) -> int:
    return next(place for place, column in enumerate(looks.columns) if column is attribute.column)
