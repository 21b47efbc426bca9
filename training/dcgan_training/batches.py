"""Rows a batch at a time, so that tens of thousands of them fit into memory, or a few that stand for all of them."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)


def batches(rows: NDArray[Value], size: int) -> Iterator[NDArray[Value]]:
    """Cuts an array along its first axis into batches of `size` rows, the last of as many as are left."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def spread(rows: NDArray[Value], count: int) -> NDArray[Value]:
    """Gives up to `count` rows from all over the array: data sets are often stored class by class."""
    chosen: NDArray[Value] = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    return chosen
