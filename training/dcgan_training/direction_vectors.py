"""Vectors that lead to an attribute: found from labelled samples, turned by looking again, made orthogonal."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan.errors import SettingsError
from dcgan.latents import Floats32
from dcgan_training.direction_measures import Sampler

SURE: Final = 0.9  # probability over which a label counts, where that leaves enough samples
FEWEST: Final = 100  # samples with an attribute; with fewer, a direction of 100 values is mostly noise
ROUNDS: Final = 3  # of looking again at samples that were moved
_ENOUGH: Final = 1000  # samples that surely have the attribute
_LOOK_AT: Final = 3.0  # standard deviations of the prior to which they are moved
_LEFT_OVER: Final = 0.1  # share of its length that a direction must keep when others are taken out of it

Has = Callable[[Floats32], NDArray[np.bool_]]  # whether the sample of each latent, float32 (n, dim), has an attribute


def difference(values: Floats32, sure: Floats32) -> Floats32:
    """Gives the mean of the latents with an attribute less that of those without it.

    Args:
        values: float32 (n, dim).
        sure: float32 (n,), the probability that each sample has it.
    """
    enough = float(np.sort(sure)[-min(_ENOUGH, len(sure))])
    with_it = sure >= max(0.5, min(SURE, enough))
    apart: Floats32 = values[with_it].mean(0) - values[sure <= 1 - SURE].mean(0)
    return apart


def refined(sampler: Sampler, count: int, has: Has, first: Floats32) -> Floats32:
    """Turns a direction towards where most samples have the attribute, a way out along it; its length stays.

    Among latents around a centre, the mean of those with the attribute, seen from the centre, is where their share
    grows fastest (Stein's identity, for a normal prior). So the centre, held at its distance, follows that mean.

    Args:
        sampler: of the model.
        count: latents to draw each time.
        has: looks at them.
        first: float32 (dim,), the direction to begin with.
    """
    length, way = float(np.linalg.norm(first)), _LOOK_AT * sampler.deviation
    unit = first / length
    for number in range(ROUNDS):
        moved = sampler.moved(sampler.values(1 + number, count), way * unit)
        with_it = has(moved)
        if with_it.sum() < FEWEST:
            break
        mean = moved[with_it].mean(0)
        unit = mean / np.linalg.norm(mean)
    return (length * unit).astype(np.float32)


def take_out(vectors: dict[str, Floats32], names: Sequence[str]) -> None:
    """Takes the parts along some directions out of all others.

    Raises:
        SettingsError: one of them was left out, or less than a tenth of a direction's length would be left.
    """
    there = list(dict.fromkeys(names))
    for name in there:
        if name not in vectors:
            raise SettingsError(
                f"--orthogonal-to {name}: no direction was found for it; there are {', '.join(vectors)}"
            )
    if not there:
        return
    basis, _ = np.linalg.qr(np.stack([vectors[name] for name in there], 1))
    for name in [name for name in vectors if name not in there]:
        vector = vectors[name]
        rest = (vector - basis @ (basis.T @ vector)).astype(np.float32)
        share = float(np.linalg.norm(rest) / np.linalg.norm(vector))
        if share < _LEFT_OVER:
            raise SettingsError(
                f"--orthogonal-to {' '.join(there)}: {share:.0%} of {name} would be left, the two mean the same here; "
                f"at least {_LEFT_OVER:.0%} is needed"
            )
        vectors[name] = rest
