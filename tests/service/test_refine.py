import numpy as np
import pytest

from dcgan import latents
from dcgan.latents import Floats32, Prior, Refinement

AIM = np.array([0.5, -2.0, 1.0], np.float32)


def evaluated(values: Floats32) -> tuple[Floats32, Floats32]:
    """Gradients and errors of a bowl around `AIM`."""
    away = values - AIM
    return (2.0 * away / 3.0).astype(np.float32), np.square(away).mean(axis=1, dtype=np.float32)


def refined(start: Floats32, steps: int = 50, prior: Prior = "normal") -> Floats32:
    """The best of `steps` steps from `start`."""
    refinement = Refinement(start, steps, prior)
    for _ in range(steps + 1):
        refinement.take(*evaluated(refinement.latents))
    return refinement.best


def start(count: int = 5) -> Floats32:
    """Latents around the aim."""
    return AIM + np.float32(0.5) * latents.draw(1, np.arange(count, dtype=np.uint64), 3, "normal")


def test_the_best_never_gets_worse() -> None:
    """After every step the best has the lowest error of all latents that were evaluated."""
    refinement = Refinement(start(), 50, "normal")
    lowest = np.full(5, np.inf, np.float32)
    for _ in range(51):
        gradients, errors = evaluated(refinement.latents)
        refinement.take(gradients, errors)
        lowest = np.minimum(lowest, errors)
        assert evaluated(refinement.best)[1].tolist() == lowest.tolist()


def test_it_goes_down() -> None:
    """Fifty steps in a bowl leave less than a hundredth of the error."""
    assert evaluated(refined(start()))[1].mean() < 0.01 * evaluated(start())[1].mean()


def test_no_step_keeps_the_start() -> None:
    """One evaluation and no step give the latents that were handed in, and leave these alone."""
    values = start()
    assert refined(values, steps=0).tolist() == values.tolist() == start().tolist()


def test_an_error_that_is_no_number_is_never_the_best() -> None:
    """A row whose gradient breaks keeps the best it had, or its start where it had none."""
    refinement = Refinement(start(2), 3, "normal")
    nothing = np.full((2, 3), np.nan, np.float32)
    refinement.take(nothing, np.array([1.0, np.nan], np.float32))
    refinement.take(nothing, np.array([np.nan, np.nan], np.float32))
    assert refinement.best.tolist() == start(2).tolist()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """The same bits alone and among others, even where a neighbour's error is no number."""
    together = refined(start())
    alone = np.concatenate([refined(row[None]) for row in start()])
    assert together.tobytes() == alone.tobytes()
    beside_nan = start()
    beside_nan[2] = np.nan
    assert np.array_equal(np.delete(refined(beside_nan), 2, 0), np.delete(together, 2, 0))


@pytest.mark.parametrize(("prior", "lowest"), [("uniform", -1.0), ("normal", -2.0)])
def test_latents_of_a_uniform_prior_stay_inside(prior: Prior, lowest: float) -> None:
    """The aim lies outside of [-1, 1] in one value: a uniform prior stops at the edge, a normal one doesn't."""
    best = refined(np.zeros((1, 3), np.float32), steps=200, prior=prior)
    assert best[0] == pytest.approx([0.5, lowest, 1.0], abs=0.02)


def test_a_step_that_made_it_worse_is_tried_again_shorter() -> None:
    """From the best latents, in the same direction."""
    refinement = Refinement(np.zeros((1, 3), np.float32), 5, "normal")
    uphill = np.array([[1.0, 0.0, 0.0]], np.float32)
    refinement.take(uphill, np.array([1.0], np.float32))
    first = refinement.latents
    refinement.take(uphill, np.array([2.0], np.float32))
    second = refinement.latents
    assert refinement.best.tolist() == [[0.0, 0.0, 0.0]]
    assert first[0, 0] < second[0, 0] < 0.0
