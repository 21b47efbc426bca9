"""The way between latents: linear and spherical curves, and paths of frames through several latents.

A frame depends on its number and the whole path alone, never on the chunk that it is computed in.
Frames that fall on a given latent are that latent exactly.

Source of the spherical curve: White 2016, "Sampling generative networks", arXiv:1609.04468.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from dcgan.latents.seeds import Floats32, Floats64

Curve: TypeAlias = Literal["linear", "spherical"]
Easing: TypeAlias = Literal["linear", "smooth"]

_PARALLEL: Final = 1e-6  # radians; nearer than this the spherical formula divides by almost nothing


@dataclass(frozen=True, slots=True)
class Path:
    """A path through points, shown in `frame_count` frames.

    Attributes:
        points: float32 of shape (k, dim), k at least 2.
        frame_count: frames of the whole path, at least 1. An open path's first and last frames are its ends.
        curve: way between two neighbouring points.
        closed: whether it returns to the first point, stopping one frame before, to be shown in a loop.
        easing: "smooth" is slow at every point, by 3t^2 - 2t^3.
    """

    points: Floats32
    frame_count: int
    curve: Curve
    closed: bool = False
    easing: Easing = "linear"

    def frames(self, first: int, count: int) -> Floats32:
        """Computes frames first to first + count - 1: float32 of shape (count, dim)."""
        pieces = len(self.points) - (0 if self.closed else 1)
        intervals = max(1, self.frame_count - (0 if self.closed else 1))
        # integers, so that a frame on a point has t exactly 0 and no rounding depends on the chunk
        piece, remainder = np.divmod(np.arange(first, first + count, dtype=np.int64) * pieces, intervals)
        t = remainder / intervals
        past_end = piece == pieces
        piece[past_end] -= 1
        t[past_end] = 1.0
        if self.easing == "smooth":
            t = t * t * (3.0 - 2.0 * t)
        start = self.points[piece]
        end = self.points[(piece + 1) % len(self.points)]
        return mixed(start, end, t, self.curve)


@dataclass(frozen=True, slots=True)
class Way:
    """The way from one latent to another: the weights of its ends that make the point at t.

    Spherical: sin((1-t)w)/sin(w) and sin(tw)/sin(w) for the angle w between the two. Where they are parallel, or
    one is zero, the line is taken. Where they are opposite every great circle is as short: the one through a fixed
    perpendicular is taken, which is what the vector `aside` is for.

    Attributes:
        angle: between the ends, radians; 0 for a line.
        lengths: of start and end, where they are opposite; else not used.
        aside: float64 of shape (dim,), length 1, at right angles to the start; None unless the ends are opposite.
    """

    angle: float = 0.0
    lengths: tuple[float, float] = (0.0, 0.0)
    aside: Floats64 | None = None

    def weights(self, t: float) -> tuple[float, float, float]:
        """Gives the weights of start, end and `aside` at t; 1, 0, 0 and 0, 1, 0 at the ends exactly."""
        if self.aside is not None and 0.0 < t < 1.0:
            turn, length = math.pi * t, (1.0 - t) * self.lengths[0] + t * self.lengths[1]
            return math.cos(turn) * length / self.lengths[0], 0.0, math.sin(turn) * length
        if self.angle == 0.0:
            return 1.0 - t, t, 0.0
        sine = math.sin(self.angle)
        return math.sin((1.0 - t) * self.angle) / sine, math.sin(t * self.angle) / sine, 0.0


_LINE: Final = Way()


def mixed(start: Floats32, end: Floats32, t: Floats64, curve: Curve) -> Floats32:
    """Takes the points at t (n,) between rows of start and end (n, dim): float32 (n, dim), ends exact."""
    out = np.empty(start.shape, np.float32)
    for row, (first, second) in enumerate(zip(start.astype(np.float64), end.astype(np.float64), strict=True)):
        route = way(first, second, curve)
        a, b, c = route.weights(float(t[row]))
        point = a * first + b * second
        out[row] = point if route.aside is None else point + c * route.aside
    return out


def way(start: Floats64, end: Floats64, curve: Curve) -> Way:
    """Finds the way between two latents, float64 (dim,) each; numbers alone, so that thousands cost little."""
    if curve == "linear":
        return _LINE
    lengths = _length(start), _length(end)
    if not (lengths[0] > 0.0 and lengths[1] > 0.0):  # also lengths that are NaN
        return _LINE
    unit, other = start / lengths[0], end / lengths[1]
    # half-angle form: exact for small and for almost straight angles, where the arc cosine is not
    angle = 2.0 * math.atan2(_length(unit - other), _length(unit + other))
    if angle < _PARALLEL:
        return _LINE
    return Way(0.0, lengths, _perpendicular(unit)) if angle > math.pi - _PARALLEL else Way(angle)


def _length(vector: Floats64) -> float:
    return math.sqrt(vector.dot(vector))


def _perpendicular(unit: Floats64) -> Floats64:
    """Gives a unit vector at right angles: the coordinate axis that `unit` leans to least, made orthogonal."""
    axis = np.zeros_like(unit)
    axis[np.argmin(np.abs(unit))] = 1.0
    across = axis - (axis @ unit) * unit
    length = _length(across)
    return across / length if length > 0.0 else axis
