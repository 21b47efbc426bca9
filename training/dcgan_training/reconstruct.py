"""How well an encoder and the refinement after it give images back: errors, and a picture for people.

All of it runs through the graphs as a server runs them. Errors are means over images and pixels of the squared
difference in [-1, 1].
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from dcgan import generator, images, latents
from dcgan.bundle import Bundle
from dcgan.generator import Images, parts_of
from dcgan.latents import Floats32, Refinement
from dcgan_training.batches import batches
from dcgan_training.data import positions

REFINE_STEPS: Final = 50
GENERATED: Final = 1000  # images to measure on, and random latents to beat
REAL: Final = 200
NEAREST_OF: Final = 10_000
_COMPARED: Final = 500  # images at once; as float32 they are large
_COLUMNS: Final = 10
_TARGETS_SEED: Final = 0
_OTHERS_SEED: Final = 1  # an encoder must beat latents that have nothing to do with the images


class Reconstruction:
    """The graphs of a bundle that has an encoder and a gradient, on the CPU."""

    def __init__(self, bundle: Bundle) -> None:
        self._latent = bundle.manifest.latent
        self._generator = generator.Generator(bundle, "cpu")
        parts = parts_of(bundle, "cpu")
        self._encoder, self._gradient = parts["encoder"], parts["latent_gradient"]

    def figures(self, held_out: Images | None) -> dict[str, float]:
        """Measures on generated images, and on 200 of `held_out`, which training never saw, from all over it."""
        found = self._figures("generated", self._samples(_TARGETS_SEED, GENERATED), GENERATED, "best")
        if held_out is not None:
            few = held_out[positions(0, 0, min(REAL, len(held_out)), len(held_out))]  # they may be sorted
            found |= self._figures("real", few, NEAREST_OF, "nearest")
        return found

    def picture(self, originals: Images) -> bytes:
        """Draws the first ten originals, below each what the encoder makes of it, and below that the refined; PNG."""
        shown = originals[:_COLUMNS]
        begun = self.encode(shown)
        rows = [shown, self._draw(begun), self._draw(self.refine(shown, begun))]
        return images.encode(images.grid(np.concatenate(rows), len(shown)), "png")

    def encode(self, originals: Images) -> Floats32:
        """Gives the latents of images, float32 (n, dim)."""
        return np.concatenate([self._encoder.run(part)[0] for part in self._batches(originals)])

    def refine(self, originals: Images, begun: Floats32) -> Floats32:
        """Moves latents 50 steps towards `originals`."""
        refinement = Refinement(begun, REFINE_STEPS, self._latent.prior)
        for _ in range(REFINE_STEPS + 1):
            refinement.take(*self._evaluate(originals, refinement.latents))
        return refinement.best

    def _figures(self, name: str, originals: Images, others: int, rank: str) -> dict[str, float]:
        begun = self.encode(originals)
        refined = self.refine(originals, begun)
        return {
            f"{name}_mse": self._error(originals, begun),
            f"{name}_{rank}_of_{others}_mse": _nearest(originals, self._samples(_OTHERS_SEED, others)),
            f"{name}_refined_mse": self._error(originals, refined),
        }

    def _error(self, originals: Images, values: Floats32) -> float:
        return float(self._evaluate(originals, values)[1].mean(dtype=np.float64))

    def _evaluate(self, originals: Images, values: Floats32) -> tuple[Floats32, Floats32]:
        parts = zip(self._batches(values), self._batches(originals), strict=True)
        gradients, errors = zip(*(self._gradient.run(*part) for part in parts), strict=True)
        return np.concatenate(gradients), np.concatenate(errors)

    def _samples(self, seed: int, count: int) -> Images:
        values = latents.draw(seed, np.arange(count, dtype=np.uint64), self._latent.dim, self._latent.prior)
        return self._draw(values)

    def _draw(self, values: Floats32) -> Images:
        return np.concatenate([self._generator.run(part) for part in self._batches(values)])

    def _batches(self, rows: np.ndarray) -> Sequence[np.ndarray]:
        """Cuts rows into batches of the size that a session is fastest with."""
        return list(batches(rows, self._generator.largest_batch))


def _nearest(originals: Images, others: Images) -> float:
    """Gives the mean error of the nearest of `others`, (k, h, w, c), to each of `originals`, (n, h, w, c)."""
    one = _normalised(originals)
    lengths, nearest = np.square(one).sum(1), np.full(len(one), np.inf, np.float32)
    for batch in batches(others, _COMPARED):
        two = _normalised(batch)
        squares = lengths[:, None] + np.square(two).sum(1) - 2.0 * one @ two.T
        nearest = np.minimum(nearest, squares.min(1))
    return float(nearest.mean() / one.shape[1])


def _normalised(rows: Images) -> Floats32:
    """Makes uint8 (n, h, w, c) float32 (n, h * w * c) in [-1, 1]."""
    return rows.reshape(len(rows), -1).astype(np.float32) / np.float32(127.5) - np.float32(1.0)
