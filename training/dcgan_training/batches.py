"""Rows a batch at a time, so that tens of thousands of them fit into memory."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)


def batches(rows: NDArray[Value], size: int) -> Iterator[NDArray[Value]]:
    """Cuts an array along its first axis into batches of `size` rows, the last of as many as are left."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]
