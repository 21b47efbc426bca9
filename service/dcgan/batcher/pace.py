"""The pace of the device: how long rows will take, measured on the batches that it runs."""

from typing import Final

_MEMORY: Final = 0.9  # weight of the past in the measured pace, per full batch


class Pace:
    """Seconds a row of all threads together, where batches are full, as they are when time is short.

    Args:
        rows_per_s: of one thread in a full batch, as measured when the generator was warmed up.
        threads: that run batches at once.
        full: rows of a full batch; smaller batches are slower a row, and say nothing about a long queue.
    """

    def __init__(self, rows_per_s: float, threads: int, full: int) -> None:
        self._row_s = 1.0 / (rows_per_s * threads)
        self._threads, self._full = threads, full

    def observe(self, rows: int, seconds: float) -> None:
        """Learns from one batch of one thread."""
        if 2 * rows >= self._full:
            self._row_s = _MEMORY * self._row_s + (1.0 - _MEMORY) * seconds / (rows * self._threads)

    def seconds_for(self, rows: int) -> float:
        """Predicts how long rows take."""
        return rows * self._row_s
