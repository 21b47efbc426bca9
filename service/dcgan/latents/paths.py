"""The way between latents: linear and spherical curves, and paths of frames through several latents.

A frame depends on its number and the whole path alone, never on the chunk that it is computed in.
Frames that fall on a given latent are that latent exactly.

Source of the spherical curve: White 2016, "Sampling generative networks", arXiv:1609.04468.
"""

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


def mixed(start: Floats32, end: Floats32, t: Floats64, curve: Curve) -> Floats32:
    """Takes the points at t (n,) between rows of start and end (n, dim): float32 (n, dim), ends exact."""
    first, second = start.astype(np.float64), end.astype(np.float64)
    a, b, across = coefficients(first, second, t, curve)
    way = a[:, None] * first + b[:, None] * second
    if across is not None:
        way += across
    out: Floats32 = way.astype(np.float32)
    return out


def coefficients(
    start: Floats64, end: Floats64, t: Floats64, curve: Curve
) -> tuple[Floats64, Floats64, Floats64 | None]:
    """Finds a, b (n,) and a vector (n, dim) or None, so that the point at t is a * start + b * end + the vector.

    Spherical: sin((1-t)w)/sin(w) and sin(tw)/sin(w) for the angle w between the two. Where they are parallel, or
    one is zero, the line is taken. Where they are opposite every great circle is as short: the one through a fixed
    perpendicular is taken, which is what the extra vector is for. At t = 0 and t = 1 the ends come out exactly.
    """
    if curve == "linear":
        return 1.0 - t, t.copy(), None
    length = np.linalg.norm(start, axis=1), np.linalg.norm(end, axis=1)
    nonzero = (length[0] > 0.0) & (length[1] > 0.0)
    unit = [vector / np.where(nonzero, norm, 1.0)[:, None] for vector, norm in zip((start, end), length, strict=True)]
    # half-angle form: exact for small and for almost straight angles, where the arc cosine is not
    angle = 2.0 * np.arctan2(np.linalg.norm(unit[0] - unit[1], axis=1), np.linalg.norm(unit[0] + unit[1], axis=1))
    opposite = nonzero & (angle > np.pi - _PARALLEL)
    line = ~nonzero | (angle < _PARALLEL) | opposite
    safe = np.where(line, np.pi / 2, angle)
    a = np.where(line, 1.0 - t, np.sin((1.0 - t) * safe) / np.sin(safe))
    b = np.where(line, t, np.sin(t * safe) / np.sin(safe))
    if not opposite.any():
        return a, b, None
    across = np.zeros_like(start)
    for row in np.nonzero(opposite & (t > 0.0) & (t < 1.0))[0]:
        turn = np.pi * t[row]
        norm = (1.0 - t[row]) * length[0][row] + t[row] * length[1][row]
        a[row], b[row] = np.cos(turn) * norm / length[0][row], 0.0
        across[row] = np.sin(turn) * norm * _perpendicular(unit[0][row])
    return a, b, across


def _perpendicular(unit: Floats64) -> Floats64:
    """Gives a unit vector at right angles: the coordinate axis that `unit` leans to least, made orthogonal."""
    axis = np.zeros_like(unit)
    axis[np.argmin(np.abs(unit))] = 1.0
    across = axis - (axis @ unit) * unit
    length = np.linalg.norm(across)
    return across / length if length > 0.0 else axis
