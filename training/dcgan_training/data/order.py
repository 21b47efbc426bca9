"""Which image comes when: a pure function of (seed, epoch), so nothing random has to be kept to resume."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def positions(seed: int, first: int, count: int, total: int) -> NDArray[np.int64]:
    """Gives the places in the data set of the images number `first` to `first + count - 1` of a run.

    Every epoch shows every image once, in an order of its own; a batch may lie across two epochs.

    Args:
        seed: uint64.
        first: images shown before.
        count: images wanted.
        total: images in the data set.

    Returns:
        int64 of shape (count,), values in [0, total).
    """
    numbers = np.arange(first, first + count)
    epochs = numbers // total
    out = np.empty(count, np.int64)
    for epoch in range(first // total, (first + count - 1) // total + 1):
        here = epochs == epoch
        out[here] = _permutation(seed, epoch, total)[numbers[here] % total]
    return out


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, total: int) -> NDArray[np.int64]:
    """Sorts the places by random words; numpy promises the words of Philox for ever, unlike its shuffle's."""
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(total)
    return np.argsort(words, kind="stable")
