"""Decoded images put together to one array, whatever came before them: all counted, the broken ones named."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dcgan_training.data.pictures import Outcome, Pixels
from dcgan_training.errors import DataError

Broken = Literal["refuse", "skip"]

_NAMED: Final = 3  # of the broken files


class Collector(Protocol):
    """Takes images one by one; grey until the first that has colour makes all of them RGB."""

    def append(self, pixels: Pixels) -> None:
        """Takes one image, (size, size, 1 or 3)."""


class InMemory:
    """Collects up to `count` images in memory."""

    def __init__(self, count: int, size: int) -> None:
        self._stack = np.empty((count, size, size, 1), np.uint8)
        self._filled = 0

    def append(self, pixels: Pixels) -> None:
        """Takes one image, (size, size, 1 or 3)."""
        if pixels.shape[2] > self._stack.shape[3]:
            before, self._stack = self.images, np.empty((*self._stack.shape[:3], 3), np.uint8)
            self._stack[: self._filled] = before
        self._stack[self._filled] = pixels
        self._filled += 1

    @property
    def images(self) -> NDArray[np.uint8]:
        """All images so far, (n, size, size, 1 or 3)."""
        return self._stack[: self._filled]


def gather(
    path: Path, outcomes: Iterable[tuple[str, Outcome]], into: Collector, broken: Broken
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Collects the images that could be decoded.

    Args:
        path: of the data set.
        outcomes: name and image, or why it is broken.
        into: collects the images.
        broken: "refuse" looks at all files, to say how many are broken; "skip" leaves these out.

    Returns:
        The names of the images, and those of the broken files.

    Raises:
        DataError: files are broken and none may be, or all are.
    """
    names: list[str] = []
    faults: list[tuple[str, str]] = []
    for name, outcome in outcomes:
        if isinstance(outcome, str):
            faults.append((name, outcome))
        elif not faults or broken == "skip":
            into.append(outcome)
        if not isinstance(outcome, str):
            names.append(name)
    if faults and (broken == "refuse" or not names):
        raise _refusal(path, faults, len(names))
    return tuple(names), tuple(name for name, _ in faults)


def _refusal(path: Path, faults: list[tuple[str, str]], sound: int) -> DataError:
    (name, why), *others = faults
    if not sound:
        return DataError(path / name, f"{why}; none of the {len(faults)} images can be read")
    if not others:
        return DataError(path / name, f"{why}; the other {sound} images can be read: say --broken skip to leave it out")
    more = ", ".join(other for other, _ in others[: _NAMED - 1]) + (" and others" if len(faults) > _NAMED else "")
    return DataError(
        path / name,
        f"{why}; {len(faults)} of {len(faults) + sound} images are broken ({more} too): say --broken skip to leave "
        "them out",
    )
