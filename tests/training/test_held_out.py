import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcgan_training.data import Dataset, check_test_set, digest_of, load, split
from dcgan_training.errors import DataError
from runs import SUBSET

Images = NDArray[np.uint8]


def noise(count: int, seed: int = 3, size: int = 8, channels: int = 1) -> Images:
    """Draws images that are all different."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def dataset(images: Images, path: str = "images") -> Dataset:
    """Makes a data set of images."""
    return Dataset(images, digest_of(images), path=Path(path))


def held_out(images: Images) -> set[bytes]:
    """Gives the held-out images themselves."""
    return {images[place].tobytes() for place in split(images).held_out}


@given(st.integers(2, 700), st.integers(0, 9))
def test_every_image_lies_in_exactly_one_part(count: int, seed: int) -> None:
    """Both parts ascend, and neither is empty."""
    parts = split(noise(count, seed))
    assert sorted([*parts.train, *parts.held_out]) == list(range(count))
    assert all((np.diff(part) > 0).all() and len(part) for part in (parts.train, parts.held_out))


@pytest.mark.parametrize(
    ("count", "held"),
    [(2, 1), (400, 200), (999, 499), (1_000, 500), (5_000, 500), (9_000, 900), (100_000, 10_000), (120_000, 10_000)],
)
def test_a_tenth_is_held_out_within_bounds(count: int, held: int) -> None:
    """At least 500, at most 10,000, at most half."""
    images = np.arange(count, dtype=">u4").view(np.uint8).reshape(count, 2, 2, 1)
    assert len(split(images).held_out) == held


def test_the_key_is_the_beginning_of_the_pixels_hash() -> None:
    """As the manifest's readers would compute it: sha256 over (h, w, c), the first 8 bytes, big-endian."""
    images = noise(40, channels=3)
    order = sorted(range(40), key=lambda place: hashlib.sha256(images[place].tobytes()).digest()[:8])
    assert set(split(images).held_out.tolist()) == set(order[:20])


def test_the_order_of_the_images_decides_nothing() -> None:
    """The same images are held out when the files have other names."""
    images = noise(1_200)
    assert held_out(images) == held_out(images[::-1]) == held_out(np.roll(images, 333, axis=0))


def test_duplicates_lie_on_one_side() -> None:
    """Nothing that is measured with was trained on, however often it occurs."""
    images = np.tile(noise(700), (4, 1, 1, 1))
    parts = split(images)
    trained = {images[place].tobytes() for place in parts.train}
    assert not trained & held_out(images)
    assert 500 <= len(parts.held_out) < 504


def test_images_that_are_all_the_same_cannot_be_held_out() -> None:
    """Then nothing would be left to train on."""
    with pytest.raises(DataError, match="its 50 images show 1 different ones"):
        split(np.zeros((50, 8, 8, 1), np.uint8))


def test_a_map_is_split_as_memory_is(tmp_path: Path) -> None:
    """And so is a view with other strides."""
    images = noise(1_500, channels=3)
    np.save(tmp_path / "a.npy", images)
    wanted = split(images).held_out
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(split(mapped).held_out, wanted)
    np.testing.assert_array_equal(split(np.asfortranarray(images)).held_out, wanted)
    assert digest_of(np.asfortranarray(images)) == digest_of(images) == load(tmp_path / "a.npy").digest


def test_the_shipped_subset_is_split_as_ever() -> None:
    """A new rule would measure old runs with images that they were trained on."""
    held = split(load(SUBSET).images).held_out
    assert len(held) == 200
    assert held[:5].tolist() == [0, 2, 3, 4, 6]


def test_another_test_set_is_allowed() -> None:
    """Of the same shape, with images of its own, 100 of them."""
    check_test_set(dataset(noise(100, 1)), dataset(noise(300, 2)))


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (noise(100, 1, size=14), "its images are 14x14 grey, but those to train on are 8x8 grey"),
        (noise(100, 1, channels=3), "its images are 8x8 RGB, but"),
        (noise(300, 2), "is the data to train on"),
        (noise(99, 1), "holds 99 images; 100 or more"),
        (np.concatenate([noise(100, 1), noise(300, 2)[7:9]]), "2 of its 102 images are among those to train on"),
    ],
)
def test_a_test_set_that_says_nothing_is_refused(test: Images, why: str) -> None:
    """The message names it, and why."""
    with pytest.raises(DataError) as caught:
        check_test_set(dataset(test, "unseen"), dataset(noise(300, 2)))
    assert caught.value.message.startswith(f"unseen: {why}")
