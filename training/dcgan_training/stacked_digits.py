"""How many of 1,000 modes a generator has: samples of stacked digits, read by a digit classifier.

Each channel shows a digit, so an image is one of 1,000 numbers. How many of them occur, and how far their frequencies
are from equal ones, counts what a generator dropped. One hit alone counts the classifier's mistakes as modes, so five
and ten hits stand beside it; and a perfect sampler, which stacks real test digits, goes through the same classifier.

Source: Lin, Khetan, Fanti, Oh, 2018, "PacGAN", arXiv:1712.04086, section 4.1. The divergence is the "reverse" one of
the papers, KL(samples || equal frequencies) in nats.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dcgan.images import Pixels
from dcgan_training import classifier
from dcgan_training.classifier import Classifier, Codes
from dcgan_training.data import idx, load
from dcgan_training.errors import DataError, RunError
from dcgan_training.networks import channels_last
from dcgan_training.say import Say

MODES: Final = 1000
LEAST_ACCURACY: Final = 0.992  # of the digit classifier on test digits
_DIGITS: Final = 10
_WIDTH: Final = 48
_SHOWN: Final = 1_000_000  # digits to train on
_PIECES: Final = 8  # of a batch, each shifted on its own
_SHIFT: Final = 2  # px
_COUNTED_FROM: Final = 20_000  # samples, below which a divergence has no least value worth a name
_LEAST_SHARE: Final = 0.859  # of the mean divergence of equal frequencies; it is 0.0165 at 26,000, three deviations off
_FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True, slots=True)
class Modes:
    """What was counted.

    Attributes:
        one, five, ten: modes with so many samples or more.
        kl: divergence of the modes' frequencies from equal ones, nats; 0 or more.
        samples: that were counted.
    """

    one: int
    five: int
    ten: int
    kl: float
    samples: int


@dataclass(frozen=True, slots=True)
class StackedDigits:
    """The modes of a generator and of a perfect sampler, and the accuracy of the classifier that read both."""

    generated: Modes
    perfect: Modes
    accuracy: float


@dataclass(frozen=True, slots=True)
class Digits:
    """Digits to train on and to test with, uint8 (n, size, size, 1), and what they are, int64 (n,)."""

    train: Pixels
    train_codes: Codes
    test: Pixels
    test_codes: Codes


def stacked_digits(generated: Pixels, digits: Digits, say: Say) -> StackedDigits:
    """Counts the modes of samples.

    Args:
        generated: uint8 (n, size, size, 3).
        digits: of `judging`.
        say: is told what takes long.

    Raises:
        RunError: the classifier isn't good enough, or a divergence is less than can be.
    """
    say("training the digit classifier")
    network = train(digits)
    read_digits = classes(network, digits.test)
    accuracy = float(np.mean(read_digits == digits.test_codes))
    check_accuracy(accuracy)
    say(f"reading {len(generated):,} samples")
    found = count(_numbers([classes(network, generated[..., channel : channel + 1]) for channel in range(3)]))
    rows = _perfect_rows(len(generated), len(digits.test))
    return StackedDigits(found, count(_numbers([read_digits[column] for column in rows])), accuracy)


def judging(folder: Path, size: int, channels: int) -> Digits:
    """Reads the digits that judge samples of `size` px and so many channels.

    `folder` has MNIST's four files, gzipped or not.

    Raises:
        DataError: they can't be read, or the samples have no three channels.
    """
    if channels != 3:
        raise DataError(
            folder, "can't be stacked digits' judge: the model draws grey images, and stacked ones have three channels"
        )
    return read(folder, size)


def count(numbers: Codes) -> Modes:
    """Counts how often each of the 1,000 modes occurs among `numbers`, int64 (n,), values in [0, 1000).

    Raises:
        RunError: the divergence is less than a perfect sampler's can be: the samples aren't drawn at random.
    """
    hits = np.bincount(numbers, minlength=MODES)
    shares = hits[hits > 0] / len(numbers)
    kl = max(0.0, float(np.sum(shares * np.log(shares * MODES))))
    if len(numbers) >= _COUNTED_FROM and kl < least_kl(len(numbers)):
        raise RunError(
            f"the divergence of {len(numbers):,} samples is {kl:.4f}, but even {MODES:,} equally frequent modes give "
            f"{least_kl(len(numbers)):.4f} or more by chance; the samples aren't drawn at random"
        )
    one, five, ten = (int((hits >= least).sum()) for least in (1, 5, 10))
    return Modes(one, five, ten, kl, len(numbers))


def least_kl(samples: int) -> float:
    """Gives the divergence that no honest sampler falls below; its mean is (modes - 1) / (2 samples)."""
    return _LEAST_SHARE * (MODES - 1) / (2 * samples)


def check_accuracy(accuracy: float) -> None:
    """Refuses a classifier whose mistakes would be counted as modes; raises RunError."""
    if not accuracy >= LEAST_ACCURACY:
        raise RunError(
            f"the digit classifier reads {accuracy:.2%} of the test digits rightly; {LEAST_ACCURACY:.1%} are needed "
            "to count modes: give it MNIST's own files"
        )


def read(folder: Path, size: int) -> Digits:
    """Reads MNIST's four files, their images resized to `size`; raises DataError where one is missing or wrong."""
    files = [_found(folder, name) for name in _FILES]
    train, test = (load(file, size).images for file in (files[0], files[2]))
    train_codes, test_codes = (idx.read_labels(file).astype(np.int64) for file in (files[1], files[3]))
    for images, codes, file in ((train, train_codes, files[1]), (test, test_codes, files[3])):
        if len(images) != len(codes) or codes.max() >= _DIGITS:
            raise DataError(file, f"must label {len(images)} images by the digits 0 to 9")
    return Digits(train, train_codes, test, test_codes)


def train(digits: Digits) -> Classifier:
    """Trains a digit classifier by Adam, its rate falling to nothing, on digits shifted at random, never mirrored."""
    return classifier.train(
        digits.train, digits.train_codes[:, None], [_DIGITS], width=_WIDTH, seed=0, shown=_SHOWN, vary=_shifted
    )


def classes(network: Classifier, images: Pixels) -> Codes:
    """Reads grey digits, uint8 (n, size, size, 1), as int64 (n,)."""
    read_as: Codes = network.look(np.array(images))[1][0].argmax(1)
    return read_as


def _shifted(images: torch.Tensor) -> torch.Tensor:
    size = images.shape[2]
    padded = nn.functional.pad(images, (_SHIFT,) * 4, value=-1.0)
    pieces = padded.chunk(_PIECES)
    offsets = torch.randint(2 * _SHIFT + 1, (len(pieces), 2)).tolist()
    moved = [
        piece[:, :, top : top + size, left : left + size] for piece, (top, left) in zip(pieces, offsets, strict=True)
    ]
    return channels_last(torch.cat(moved))


def _numbers(channels: list[Codes]) -> Codes:
    """Reads three digits as one number of 0 to 999."""
    return (channels[0] * _DIGITS + channels[1]) * _DIGITS + channels[2]


def _perfect_rows(samples: int, digits: int) -> NDArray[np.int64]:
    """Draws which test digits a perfect sampler stacks, int64 (3, samples); numpy promises Philox's words for ever."""
    words = np.random.Philox(key=np.array([0, 1], np.uint64)).random_raw(3 * samples)
    return (words % np.uint64(digits)).astype(np.int64).reshape(3, samples)


def _found(folder: Path, name: str) -> Path:
    there = next((folder / each for each in (name, f"{name}.gz") if (folder / each).is_file()), None)
    if there is None:
        raise DataError(folder, f"has no {name}, gzipped or not; counting modes needs MNIST's four files")
    return there
