import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dcgan_training import stacked_digits
from dcgan_training.errors import DataError, RunError
from dcgan_training.stacked_digits import MODES, Modes, check_accuracy, count, least_kl


def drawn(samples: int, modes: int = MODES, seed: int = 0) -> np.ndarray:
    """Numbers of equally frequent modes."""
    return np.random.default_rng(seed).integers(0, modes, samples)


def test_a_perfect_sampler_has_every_mode_and_the_divergence_of_chance() -> None:
    """999 / (2 * 26,000) nats, within three deviations."""
    found = count(drawn(26_000))
    assert (found.one, found.five, found.ten, found.samples) == (1000, 1000, 1000, 26_000)
    assert found.kl == pytest.approx(999 / 52_000, abs=3 * 0.00086)
    assert count(drawn(240_000)).kl == pytest.approx(999 / 480_000, rel=0.15)


def test_dropped_modes_are_counted() -> None:
    """Half of the modes cost log 2 nats on top of chance."""
    found = count(drawn(26_000, 500))
    assert (found.one, found.ten) == (500, 500)
    assert found.kl == pytest.approx(np.log(2) + 499 / 52_000, abs=0.003)


def test_mistakes_of_the_classifier_show_as_modes_of_one_hit_only() -> None:
    """Ten true modes with 0.3 % of mistakes look like many at one hit, and like ten at ten."""
    rng, numbers = np.random.default_rng(1), drawn(26_000, 10)
    wrong = rng.random(26_000) < 0.003
    numbers[wrong] = rng.integers(0, MODES, wrong.sum())
    found = count(numbers)
    assert found.one > 50
    assert found.ten == 10


def test_modes_are_counted_at_their_thresholds() -> None:
    """Hits of 1, 4, 5, 9, 10 and 11."""
    numbers = np.repeat(np.arange(6), [1, 4, 5, 9, 10, 11])
    shares = np.array([1, 4, 5, 9, 10, 11]) / 40
    assert count(numbers) == Modes(6, 4, 2, pytest.approx(float(np.sum(shares * np.log(shares * 1000)))), 40)


def test_a_divergence_below_chance_is_called_a_bug() -> None:
    """Exactly equal frequencies aren't drawn: 26 of each."""
    assert least_kl(26_000) == pytest.approx(0.0165, abs=1e-4)
    with pytest.raises(RunError, match="aren't drawn at random"):
        count(np.repeat(np.arange(MODES), 26))


def test_a_classifier_that_misreads_digits_is_refused() -> None:
    """99.19 % is too little, 99.2 % is enough."""
    check_accuracy(0.992)
    with pytest.raises(RunError, match=r"99\.19% of the test digits rightly; 99\.2% are needed"):
        check_accuracy(0.9919)


def test_samples_are_read_channel_by_channel(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks of easy digits are read rightly, beside a perfect sampler of as many."""
    monkeypatch.setattr(stacked_digits, "_SHOWN", 12_000)
    monkeypatch.setattr(stacked_digits, "_WIDTH", 8)
    monkeypatch.setattr(stacked_digits, "_SHIFT", 0)
    one, two, three = np.random.default_rng(5).integers(0, 10, (3, 300))
    samples = np.stack([picture(one), picture(two), picture(three)], axis=3)
    told: list[str] = []
    found = stacked_digits.stacked_digits(samples, stacked_digits.judging(digits, *samples.shape[2:]), told.append)
    assert found.generated == count((one * 10 + two) * 10 + three)
    assert found.perfect.samples == 300
    assert found.perfect.one > 200
    assert found.accuracy == 1.0
    assert told == ["training the digit classifier", "reading 300 samples"]


def test_grey_samples_are_refused(digits: Path) -> None:
    """Stacked digits have three channels."""
    with pytest.raises(DataError, match="draws grey images"):
        stacked_digits.judging(digits, 8, 1)


def test_a_missing_file_is_named(digits: Path) -> None:
    """All four are needed."""
    (digits / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no t10k-labels-idx1-ubyte"):
        stacked_digits.read(digits, 8)


def picture(codes: np.ndarray) -> np.ndarray:
    """Easy digits of 8 px, uint8 (n, 8, 8): one bright row of eight, or one bright half, and a little noise."""
    images = np.random.default_rng(len(codes)).integers(0, 30, (len(codes), 8, 8))
    for image, code in zip(images, codes, strict=True):
        bright = image[code] if code < 8 else image[:, 4 * (code - 8) : 4 * (code - 7)]
        bright += 200
    return images.astype(np.uint8)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder like MNIST's, of easy digits, one file of it gzipped."""
    rng = np.random.default_rng(0)
    whole: Callable[[bytes], bytes] = bytes
    for name, images, pack in (("train", 2000, whole), ("t10k", 400, gzip.compress)):
        codes = rng.integers(0, 10, images)
        header = np.array([0x803, images, 8, 8], ">u4").tobytes()
        suffix = "" if pack is bytes else ".gz"
        (tmp_path / f"{name}-images-idx3-ubyte{suffix}").write_bytes(pack(header + picture(codes).tobytes()))
        labels = np.array([0x801, images], ">u4").tobytes() + codes.astype(np.uint8).tobytes()
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    return tmp_path
