"""Rows: what a batch is made of, named by seeds or given by values, and the latents that they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dcgan.latents import NO_TRUNCATION, Floats32, Prior
from dcgan.latents.compiled import draw


@dataclass(frozen=True, slots=True)
class SeedRows:
    """Rows named by a seed and successive indices from `first_index`; truncation is inf where there is none."""

    seed: int
    first_index: int
    count: int
    truncation: float = NO_TRUNCATION

    def part(self, start: int, stop: int) -> "SeedRows":
        """Takes rows start to stop - 1."""
        return SeedRows(self.seed, self.first_index + start, stop - start, self.truncation)


@dataclass(frozen=True, slots=True)
class ValueRows:
    """Rows given by their values: latents float32 (n, dim)."""

    latents: Floats32

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.latents)

    def part(self, start: int, stop: int) -> "ValueRows":
        """Takes rows start to stop - 1."""
        return ValueRows(self.latents[start:stop])


Rows: TypeAlias = SeedRows | ValueRows


def latents_of(parts: Sequence[Rows], dim: int, prior: Prior) -> Floats32:
    """Draws or copies the latents of a batch: float32 (n, dim); all named ones in one go."""
    named = [part for part in parts if isinstance(part, SeedRows)]
    drawn = _drawn(named, dim, prior) if named else np.empty((0, dim), np.float32)
    if len(named) == len(parts):
        return drawn
    latents: list[Floats32] = []
    row = 0
    for part in parts:
        if isinstance(part, ValueRows):
            latents.append(part.latents)
        else:
            latents.append(drawn[row : row + part.count])
            row += part.count
    return np.concatenate(latents)


def _drawn(parts: Sequence[SeedRows], dim: int, prior: Prior) -> Floats32:
    counts = [part.count for part in parts]
    truncated = any(part.truncation != NO_TRUNCATION for part in parts)
    return draw(
        np.repeat(np.array([part.seed for part in parts], np.uint64), counts),
        np.concatenate([np.uint64(part.first_index) + np.arange(part.count, dtype=np.uint64) for part in parts]),
        dim,
        prior,
        np.repeat([part.truncation for part in parts], counts) if truncated else None,
    )
