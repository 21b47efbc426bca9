"""Evaluates a bundle: draws samples as they are served, and measures them against real images.

`evaluate` measures and `publish` writes what was found into the bundle. What each figure is, is told by `figures`,
`memorisation`, `probe` and `stacked_digits`; the keys are `quality`'s.
"""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from dcgan import bundle, generator, latents
from dcgan.errors import SettingsError
from dcgan.images import Pixels
from dcgan_training import classifier, figures, labels
from dcgan_training.card import with_section
from dcgan_training.data import Broken, Dataset
from dcgan_training.errors import DataError
from dcgan_training.extractors import CLASSIFIER, RANDOM, ClassifierFeatures, Extractor, OnnxFeatures
from dcgan_training.features import RandomFeatures
from dcgan_training.files import check_file
from dcgan_training.label_classifier import learnable, remembered, taught
from dcgan_training.memorisation import memorisation
from dcgan_training.probe import Labelled, balanced, has_maps, probe
from dcgan_training.quality import SAMPLES, SECTION, STACKED_SAMPLES, Figure, Report
from dcgan_training.real_images import gather
from dcgan_training.say import Say
from dcgan_training.stacked_digits import Digits, Modes, judging, stacked_digits

NEIGHBOURS: Final = 5
_SEED: Final = 0
_PROBED: Final = 10_000  # images that a probe is judged by, at most


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure, and with what.

    Attributes:
        data: the data set that the model was trained on.
        held_out: a test set; None takes what the run held out.
        labels: of the data, as `labels.read` takes them; None leaves out what needs them.
        features: "random", "classifier", or an .onnx file each; the first is what requirements mean.
        samples: to draw.
        digits: folder of MNIST, to count the modes of stacked digits by; None leaves that out.
        stacked_samples: to count modes of.
        broken: what the run did about image files that can't be read.
        classifier: of the labels, in a file of the run's; None teaches one.
    """

    data: Path
    held_out: Path | None = None
    labels: Path | None = None
    features: tuple[str, ...] = (RANDOM,)
    samples: int = SAMPLES
    digits: Path | None = None
    stacked_samples: int = STACKED_SAMPLES
    broken: Broken = "refuse"
    classifier: Path | None = None

    def check(self) -> None:
        """Raises SettingsError where it asks for what can't be, DataError where a file isn't there."""
        if CLASSIFIER in self.features and self.labels is None:
            raise SettingsError("--features classifier needs --labels, for the classifier learns them")
        if len(set(self.features)) < len(self.features):
            raise SettingsError("--features names the same features twice")
        for name in self.features:
            if name not in (RANDOM, CLASSIFIER) and Path(name).suffix.lower() != ".onnx":
                raise SettingsError(
                    f"--features {name}: allowed are {RANDOM}, {CLASSIFIER}, or a file that ends in .onnx"
                )
        for file in [*self.graphs, *([] if self.labels is None else [self.labels])]:
            check_file(file)

    def check_with(self, data: Dataset) -> None:
        """Raises what `evaluate` would, once there is a model of this data: for labels, graphs and digits."""
        _check_count(data)
        if self.labels is not None:
            learnable(self.labels, data)
        for file in self.graphs:
            OnnxFeatures(file, data.size, data.channels)
        if self.digits is not None:
            judging(self.digits, data.size, data.channels)

    @property
    def graphs(self) -> list[Path]:
        """The files among the features."""
        return [Path(name) for name in self.features if name not in (RANDOM, CLASSIFIER)]


def evaluate(path: Path, request: Request, say: Say) -> Report:
    """Measures the model of a bundle.

    Args:
        path: of the bundle.
        request: what to measure.
        say: is told what takes long.

    Raises:
        SettingsError: the request can't be met.
        BundleError: the bundle is refused.
        DataError: images or labels can't be read, or aren't the model's.
        RunError: the digit classifier isn't good enough, or a figure can't be.
    """
    request.check()
    return _Evaluation(bundle.load(path), request, say).report()


def publish(path: Path, report: Report) -> None:
    """Writes a report into a bundle: the manifest's figures, and the section of its card, if it has one.

    Both are replaced, so that they say the same. Raises OutputError where the disk refuses.
    """
    card, files = path / bundle.MODEL_CARD, {}
    if card.is_file():
        text = card.read_text("utf-8", errors="replace").replace("No quality figures were measured.\n", "")
        files[bundle.MODEL_CARD] = with_section(text, SECTION, report.section()).encode()
    bundle.extend(path, None, {"figures": report.flat()}, files)


def _check_count(data: Dataset) -> None:
    if len(data) < 2 * (NEIGHBOURS + 1):
        raise DataError(data.path, f"has {len(data)} images; to measure needs {2 * (NEIGHBOURS + 1)} or more")


class _Evaluation:
    """One bundle's evaluation: what several figures need is made once."""

    def __init__(self, judged: bundle.Bundle, request: Request, say: Say) -> None:
        self._bundle, self._request, self._say = judged, request, say
        self._real = gather(request.data, request.held_out, judged.manifest, request.samples, request.broken)
        _check_count(self._real.data)
        self._conditions = [
            f"{request.samples:,} samples of seed 0, index 0 on",
            *self._real.conditions,
        ]
        self._omitted = dict(self._real.omitted)
        self._digits = self._judging_digits()
        self._runtime = generator.Generator(judged, "auto")
        self._columns = self._labelled_columns()
        self._classifier = self._taught()

    def _judging_digits(self) -> Digits | None:
        folder, data = self._request.digits, self._real.data
        return None if folder is None else judging(folder, data.size, data.channels)

    def report(self) -> Report:
        """Measures all that was asked for."""
        extractors = [self._extractor(name) for name in self._request.features]
        generated = self._draw(self._request.samples)
        found = [Figure("samples", float(len(generated)))]
        for extractor in extractors:
            found += self._distances(extractor, generated)
        found += [*self._memorised(generated), *self._classes(generated), *self._probed(), *self._stacked()]
        names = tuple(extractor.name for extractor in extractors)
        return Report(tuple(found), names, tuple(self._conditions), self._omitted)

    def _draw(self, count: int) -> Pixels:
        self._say(f"drawing {count:,} samples")
        latent, size = self._bundle.manifest.latent, self._runtime.largest_batch

        def batch(first: int) -> Pixels:
            indices = np.arange(first, min(first + size, count), dtype=np.uint64)
            return self._runtime.run(latents.draw(_SEED, indices, latent.dim, latent.prior))

        with ThreadPoolExecutor(self._runtime.threads) as pool:
            return np.concatenate(list(pool.map(batch, range(0, count, size))))

    def _labelled_columns(self) -> list[labels.Column]:
        if self._request.labels is None:
            self._omitted |= {"class shares": "they need --labels", "the linear probe": "it needs --labels"}
            return []
        columns, notes = learnable(self._request.labels, self._real.data)
        for note in notes:
            self._say(note)
        return columns

    def _taught(self) -> classifier.Classifier | None:
        if not self._columns:
            return None
        file = self._request.classifier
        if file is None:
            return taught(self._real.data, self._columns, self._say)
        return remembered(file, self._real.data, self._columns, self._say)

    def _extractor(self, name: str) -> Extractor:
        data = self._real.data
        if name == RANDOM:
            return RandomFeatures(data.channels)
        if name == CLASSIFIER:
            assert self._classifier is not None
            assert self._request.labels is not None
            return ClassifierFeatures(self._classifier, self._request.labels)
        return OnnxFeatures(Path(name), data.size, data.channels)

    def _distances(self, extractor: Extractor, generated: Pixels) -> Iterator[Figure]:
        self._say(f"measuring in the features {extractor.name}")
        reference, trained = extractor(self._real.reference), extractor(self._real.trained)
        drawn = extractor(generated)
        spread = figures.trace(reference)
        distances = [figures.frechet_distance(reference, rows) for rows in (drawn, trained)]
        self._conditions.append(
            f"In {extractor.name}, {reference.shape[1]} values an image: Fréchet distances of {len(drawn):,} samples "
            f"and of {len(trained):,} trained images from {len(reference):,} real ones, the trace of whose covariance "
            f"is {spread:.4g}; precision, recall, density and coverage of "
            f"{min(map(len, (reference, trained, drawn))):,} of either kind, {NEIGHBOURS} neighbours"
        )
        yield Figure(f"frechet_distance/{extractor.name}", *distances)
        shares = [100.0 * distance / spread if spread else float("nan") for distance in distances]
        yield Figure(f"frechet_distance_percent/{extractor.name}", *shares)
        even = min(map(len, (reference, trained, drawn)))
        model, real = (figures.prdc(reference[:even], rows[:even], NEIGHBOURS) for rows in (drawn, trained))
        for field in dataclasses.fields(figures.Prdc):
            yield Figure(f"{field.name}/{extractor.name}", getattr(model, field.name), getattr(real, field.name))

    def _memorised(self, generated: Pixels) -> Iterator[Figure]:
        halves = self._real.halves
        if halves is None:
            return
        self._say("looking for memorised images")
        found = memorisation(generated, halves.trained, halves.held_out, halves.neither)
        yield Figure("memorisation_share", found.share, found.real_share)
        yield Figure("memorisation_points", found.points, 0.0)
        yield Figure("memorisation_interval", found.interval_points)

    def _classes(self, generated: Pixels) -> Iterator[Figure]:
        if self._classifier is None:
            return
        said = [column.argmax(1) for column in self._classifier.look(generated)[1]]
        tested = self._real.testing
        read = [column.argmax(1) for column in self._classifier.look(self._real.data.images[tested])[1]]
        all_shares: list[float] = []
        for column, of_samples, of_real in zip(self._columns, said, read, strict=True):
            there = column.codes[tested] != labels.UNLABELLED
            accuracy = float(np.mean(of_real[there] == column.codes[tested][there])) if there.any() else float("nan")
            yield Figure(f"classifier_accuracy/{column.name}", accuracy)
            labelled = column.codes[column.codes != labels.UNLABELLED]
            for code, value in enumerate(column.values):
                all_shares.append(float(np.mean(of_samples == code)))
                yield Figure(f"class_share/{column.name}/{value}", all_shares[-1], float(np.mean(labelled == code)))
        yield Figure("least_class_share", min(all_shares))
        yield Figure("most_class_share", max(all_shares))

    def _probed(self) -> Iterator[Figure]:
        graph = self._bundle.discriminator
        if not self._columns:
            return
        if graph is None or not has_maps(graph):
            self._omitted["the linear probe"] = "the bundle has no discriminator with convolutions"
            return
        column, images = self._columns[0], self._real.data.images
        learned = balanced(column.codes, self._real.teaching)
        judged = self._real.testing[column.codes[self._real.testing] != labels.UNLABELLED][:_PROBED]
        if len(np.unique(column.codes[learned])) < 2 or not len(judged):
            self._omitted["the linear probe"] = f"{column.name} labels too few of the images to learn or to judge by"
            return
        self._say("probing the discriminator")
        found = probe(graph, *(Labelled(images[rows], column.codes[rows]) for rows in (learned, judged)))
        self._conditions.append(
            f"Linear probe of {column.name}: {len(learned):,} labelled images, judged by {len(judged):,} others; "
            "raw pixels stand for what needs no discriminator"
        )
        yield Figure("probe_accuracy/discriminator", found.discriminator)
        yield Figure("probe_accuracy/pixels", found.pixels)

    def _stacked(self) -> Iterator[Figure]:
        if self._digits is None:
            return
        generated = self._draw(self._request.stacked_samples)
        found = stacked_digits(generated, self._digits, self._say)
        self._conditions.append(
            f"Stacked digits: {len(generated):,} samples, and as many stacks of real test digits, read by a classifier "
            f"that is right on {found.accuracy:.2%} of the test digits; divergence from equal frequencies in nats"
        )
        yield from _counted(found.generated, found.perfect)
        yield Figure("stacked_digits/accuracy", found.accuracy)


def _counted(generated: Modes, perfect: Modes) -> Iterator[Figure]:
    for name, least in (("one", 1), ("five", 5), ("ten", 10)):
        yield Figure(f"stacked_digits/modes_{least}", float(getattr(generated, name)), float(getattr(perfect, name)))
    yield Figure("stacked_digits/kl", generated.kl, perfect.kl)
    yield Figure("stacked_digits/samples", float(generated.samples))
