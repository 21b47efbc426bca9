"""Linear forms: what the nodes of an expression stand for, as weights of its seeds and a free vector.

Every seed of the expression has a column, so that a sum of forms is a sum of short vectors, and a value is one
product with the seeds' draws. A column of weight 0 changes no bit of a value or norm, and nothing depends on BLAS or
its threads: a form has the same value in whatever larger expression it stands.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcgan.latents.paths import Curve, way
from dcgan.latents.seeds import Floats64


@dataclass(frozen=True, slots=True)
class Form:
    """A linear form: weights of the seeds, float64 (n_seeds,), and a free vector, float64 (dim,), or None for zero."""

    weights: Floats64
    free: Floats64 | None = None

    def normalized(self) -> "Form":
        """Divides the seeds' weights so that their squares sum to 1; a lone seed gets its sign alone."""
        # sum of squares by hypot: weights may be too large or small to be squared
        norm = math.hypot(*self.weights[np.flatnonzero(self.weights)].tolist())
        return self if norm in (0.0, 1.0) else Form(self.weights / norm, self.free)

    def value(self, draws: Floats64) -> Floats64:
        """Sums up the form over the seeds' draws, float64 (n_seeds, dim): float64 (dim,).

        By einsum, not BLAS: it adds one seed after the other, whatever the shape and the number of threads.
        """
        used = np.flatnonzero(self.weights)
        rows = slice(used[0], used[-1] + 1) if len(used) else slice(0)
        total: Floats64 = np.einsum("s,sd->d", self.weights[rows], draws[rows])
        return total if self.free is None else total + self.free


@dataclass(frozen=True, slots=True)
class Point:
    """A form that has become a value, float64 (dim,)."""

    form: Form
    value: Floats64


def combined(terms: Sequence[tuple[Form, float]], seed_count: int) -> Form:
    """Adds up weighted forms, one after the other: equal weights of opposite sign leave exactly nothing."""
    weights = np.zeros(seed_count)
    free: Floats64 | None = None
    for form, factor in terms:
        weights += factor * form.weights
        if form.free is not None:
            free = factor * form.free if free is None else free + factor * form.free
    return Form(weights, free)


def mixed(start: Point, end: Point, t: float, curve: Curve) -> Point:
    """Takes the point at t on the way between two: its value comes from theirs, at no product with the draws."""
    route = way(start.value, end.value, curve)
    a, b, c = route.weights(t)
    form = combined([(start.form, a), (end.form, b)], len(start.form.weights))
    value = a * start.value + b * end.value
    if route.aside is None:
        return Point(form, value)
    aside = c * route.aside
    return Point(Form(form.weights, aside if form.free is None else form.free + aside), value + aside)
