"""Which images of a data set training never sees, so that figures, calibration and memorisation can be measured.

An image is held out by what it shows: its key is a hash of its pixels, and the images with the smallest keys are
held out. So the choice needs no seed, doesn't depend on the order or the form of the files, and duplicates lie all on
one side: no image that is trained on is measured with.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan_training.data.dataset import Dataset, blocks, digest_of, shape_of
from dcgan_training.errors import DataError

__all__ = [
    "MIN_TEST_IMAGES",
    "Keys",
    "Split",
    "check_test_set",
    "digest_of",
    "in_both",
    "joined",
    "key",
    "keys",
    "smallest",
    "split",
]

Keys = NDArray[np.uint64]

MIN_TEST_IMAGES: Final = 100  # fewer can't say where a percentile lies
_SHARE: Final = 10  # one in so many is held out
_LEAST: Final = 500
_MOST: Final = 10_000
_KEY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Split:
    """The places of a data set's images, each in one of two parts; int64, ascending."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split(images: NDArray[np.uint8]) -> Split:
    """Holds out one image in ten, but at least 500 and at most 10,000, and at most half.

    A few more are held out where images of the last key have duplicates.

    Args:
        images: uint8 of shape (n, h, w, c), as the networks see them; may be a map, which is read once, by parts.

    Raises:
        DataError: nothing would be left to train on, since most of the images are duplicates.
    """
    own = keys(images)
    held_out = smallest(own)
    if held_out.all():
        different = len(np.unique(own))
        raise DataError(
            "data", f"its {len(images)} images show {different} different ones; too few to hold any out of training"
        )
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def keys(images: NDArray[np.uint8]) -> Keys:
    """Gives the key of each image: the first 8 bytes, big-endian, of the sha256 of its pixels in C order."""
    found = bytearray()
    for block in blocks(images):
        for image in block:
            found += key(image)
    return joined(found)


def key(image: NDArray[np.uint8]) -> bytes:
    """Gives the bytes of the key of one image, (h, w, c)."""
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()[:_KEY_BYTES]


def joined(found: bytes | bytearray) -> Keys:
    """Makes numbers of the bytes of keys, one after another."""
    return np.frombuffer(found, ">u8").astype(np.uint64)


def smallest(own: Keys) -> NDArray[np.bool_]:
    """Says of each key whether its image is held out."""
    count = min(_MOST, max(_LEAST, len(own) // _SHARE), len(own) // 2)
    if count == 0:
        return np.zeros(len(own), np.bool_)
    last: np.uint64 = np.partition(own, count - 1)[count - 1]
    return own <= last


def check_test_set(test: Dataset, data: Dataset) -> None:
    """Refuses a given test set that says nothing of a model trained on `data`.

    Raises:
        DataError: its images have another size or other channels, are those of `data` or some of them, or are too few.
    """
    if test.images.shape[1:] != data.images.shape[1:]:
        found, wanted = (shape_of(each.size, each.channels) for each in (test, data))
        raise DataError(test.path, f"its images are {found}, but those to train on are {wanted}")
    if test.digest == data.digest:
        raise DataError(test.path, "is the data to train on; name images that training doesn't see")
    if len(test) < MIN_TEST_IMAGES:
        raise DataError(test.path, f"holds {len(test)} images; {MIN_TEST_IMAGES} or more are needed to measure with")
    seen = in_both(test, data)
    if seen:
        raise DataError(test.path, f"{seen} of its {len(test)} images are among those to train on")


def in_both(one: Dataset, other: Dataset) -> int:
    """Counts the images of `one` that `other` has too, pixel for pixel, by their keys."""
    return int(np.isin(keys(one.images), keys(other.images)).sum())
