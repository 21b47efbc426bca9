"""Refinement: latents that draw a given image ever better, one step down the gradient at a time.

Owns the optimizer, Adam with a rate that falls to zero by a cosine, and the memory of the best latents seen. Who
evaluates the gradient (the graph latent_gradient.onnx of a bundle), and where, is the caller's. Rows never mix.

Source of Adam: Kingma, Ba, 2015, arXiv:1412.6980, algorithm 1.
"""

import math
from typing import Final

import numpy as np

from dcgan.latents.seeds import Floats32, Prior

# Measured on Fashion-MNIST: in 50 steps the usual decays, 0.9 and 0.999, left a fifth more error at their best rate.
_RATE: Final = 0.07  # of the first step, in units of a latent's values
_DECAYS: Final = 0.7, 0.8  # of Adam's first and second moments
_EPSILON: Final = 1e-12  # errors are means over pixels, so gradients are small: 1e-4 and less


class Refinement:
    """Latents on their way down.

    To make k steps, evaluate the gradient at `latents` and `take` it k + 1 times: the last one is for its errors.

    Args:
        latents: float32 (n, dim), where to begin.
        steps: k, at least 0; the rate reaches zero after as many.
        prior: of the generator; latents of a uniform prior stay in [-1, 1].
    """

    def __init__(self, latents: Floats32, steps: int, prior: Prior) -> None:
        self._steps, self._prior = steps, prior
        self._taken = 0
        self._latents = latents.astype(np.float32)
        self._best = self._latents.copy()
        self._lowest = np.full(len(latents), np.inf, np.float32)
        self._mean = np.zeros_like(self._latents)
        self._square = np.zeros_like(self._latents)

    @property
    def latents(self) -> Floats32:
        """Where to evaluate next, float32 (n, dim)."""
        return self._latents

    @property
    def best(self) -> Floats32:
        """The latents with the lowest errors seen, float32 (n, dim); where none was a number, those of the start."""
        return self._best

    def take(self, gradients: Floats32, errors: Floats32) -> None:
        """Records how good `latents` are and moves them.

        Args:
            gradients: of the errors by the latents, float32 (n, dim).
            errors: of `latents`, float32 (n,); one that is no number is never the lowest.
        """
        better = errors < self._lowest  # false for NaN
        self._best = np.where(better[:, None], self._latents, self._best)
        self._lowest = np.where(better, errors, self._lowest)
        if self._taken < self._steps:
            self._latents = self._moved(gradients)
        self._taken += 1

    def _moved(self, gradients: Floats32) -> Floats32:
        """Makes Adam's step."""
        first, second = _DECAYS
        self._mean = np.float32(first) * self._mean + np.float32(1.0 - first) * gradients
        self._square = np.float32(second) * self._square + np.float32(1.0 - second) * gradients * gradients
        count = self._taken + 1
        mean = self._mean / np.float32(1.0 - first**count)
        square = self._square / np.float32(1.0 - second**count)
        rate = np.float32(_RATE * 0.5 * (1.0 + math.cos(math.pi * self._taken / self._steps)))
        moved: Floats32 = self._latents - rate * mean / (np.sqrt(square) + np.float32(_EPSILON))
        return np.clip(moved, -1.0, 1.0) if self._prior == "uniform" else moved
