"""Rows: what a batch is made of. Latents, named by seeds or given by values, or the inputs of another graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dcgan.latents import NO_TRUNCATION, Floats32, Prior
from dcgan.latents.compiled import draw

GENERATOR: Final = "generator"


@dataclass(frozen=True, slots=True)
class SeedRows:
    """Rows named by a seed and successive indices from `first_index`; truncation is inf where there is none."""

    seed: int
    first_index: int
    count: int
    truncation: float = NO_TRUNCATION
    graph: ClassVar[str] = GENERATOR

    def part(self, start: int, stop: int) -> "SeedRows":
        """Takes rows start to stop - 1."""
        return SeedRows(self.seed, self.first_index + start, stop - start, self.truncation)


@dataclass(frozen=True, slots=True)
class ValueRows:
    """Rows given by their values: latents float32 (n, dim)."""

    latents: Floats32
    graph: ClassVar[str] = GENERATOR

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.latents)

    def part(self, start: int, stop: int) -> "ValueRows":
        """Takes rows start to stop - 1."""
        return ValueRows(self.latents[start:stop])


@dataclass(frozen=True, slots=True)
class GraphRows:
    """Rows for a graph beside the generator: its inputs, n rows each."""

    graph: str
    inputs: tuple[NDArray[Any], ...]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.inputs[0])

    def part(self, start: int, stop: int) -> "GraphRows":
        """Takes rows start to stop - 1."""
        return GraphRows(self.graph, tuple(array[start:stop] for array in self.inputs))


LatentRows: TypeAlias = SeedRows | ValueRows
Rows: TypeAlias = LatentRows | GraphRows


def inputs_of(parts: Sequence[GraphRows]) -> tuple[NDArray[Any], ...]:
    """Puts the inputs of a batch of one graph together."""
    return tuple(np.concatenate(arrays) for arrays in zip(*(part.inputs for part in parts), strict=True))


def latents_of(parts: Sequence[LatentRows], dim: int, prior: Prior) -> Floats32:
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
