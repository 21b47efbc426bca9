"""What a data set is once it is read: its images as the networks see them, and what names them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images as the networks see them, and what names them.

    Attributes:
        images: uint8 of shape (n, size, size, channels), channels 1 or 3; maybe a read-only map of a file.
        digest: sha256 of shape and pixels in their order, so that idx, .npy and a folder of the same images agree.
        names: of the files, in the order of the images, for a folder or a zip; empty for idx and .npy, which have none.
        skipped: names of the broken files that were left out.
        path: where it was read from.
    """

    images: NDArray[np.uint8]
    digest: str
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    path: Path = Path()

    @property
    def size(self) -> int:
        """Height and width of every image, px."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.shape[3])

    def __len__(self) -> int:
        return len(self.images)


def shape_of(size: int, channels: int) -> str:
    """Says a shape of images: "28x28 grey"."""
    return f"{size}x{size} {'grey' if channels == 1 else 'RGB'}"


class Images(Protocol):
    """Images that can be gone through by parts: an array, uint8 (n, h, w, c), a map of one, or a `Selection`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice | NDArray[np.int64], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Images of an array by their places, int64 (m,), of which no more than a part is ever copied."""

    images: NDArray[np.uint8]
    places: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """As that of the array which they would be."""
        return len(self), *self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        part: NDArray[np.uint8] = self.images[self.places[places]]
        return part


def digest_of(images: Images) -> str:
    """Computes the `digest` of a data set of these images, uint8 (n, h, w, c), by parts: they may be a map."""
    digest = hashlib.sha256(f"uint8 {images.shape}".encode())
    for block in blocks(images):
        digest.update(block.data)
    return digest.hexdigest()


def blocks(images: Images) -> Iterator[NDArray[np.uint8]]:
    """Goes through images in their order, some megabytes at a time, each part contiguous in memory."""
    count = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for first in range(0, len(images), count):
        yield np.ascontiguousarray(images[first : first + count])
