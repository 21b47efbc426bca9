"""What a batcher needs of the graphs that it runs.

Outputs are lent: the next run of the same graph may write over them, so the batcher copies what it hands on.
"""

from typing import Any, Protocol

from numpy.typing import NDArray

from dcgan.batcher.queue import Images
from dcgan.latents import Floats32


class Runner(Protocol):
    """What a batcher needs of a generator; `threads` may call `lend` at once, each making `rows_per_s`."""

    threads: int
    largest_batch: int
    rows_per_s: float

    def lend(self, latents: Floats32) -> Images:
        """Draws uint8 images (n, height, width, channels) for float32 latents (n, dim)."""


class GraphRunner(Protocol):
    """What it needs of a graph beside the generator; the generator's threads call it."""

    largest_batch: int
    rows_per_s: float

    def lend(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Runs a batch: inputs of n rows each to outputs of n rows each."""
