import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcgan_training.config import Method, Objective
from dcgan_training.losses import losses, zero_centred

LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=8)
OBJECTIVES: tuple[Any, ...] = get_args(Objective)


def floats(values: list[float]) -> torch.Tensor:
    """Gives logits in float64, so that naive formulas can be compared with."""
    return torch.tensor(values, dtype=torch.float64)


@given(LOGITS, LOGITS)
def test_the_discriminators_loss_is_cross_entropy(real: list[float], fake: list[float]) -> None:
    """Computed from logits without overflow, it is -log D(x) - log(1 - D(G(z))) as the paper writes it."""
    found = losses(Method()).discriminator(floats(real), floats(fake)).item()
    expected = -floats(real).sigmoid().log().mean() - (1 - floats(fake).sigmoid()).log().mean()
    assert found == pytest.approx(expected.item(), rel=1e-3)


@given(LOGITS)
def test_the_generators_two_losses_are_the_papers(fake: list[float]) -> None:
    """Log(1 - D(G(z))) where the game is minimax, -log D(G(z)) where it doesn't saturate."""
    logits = floats(fake)
    saturating = losses(Method(objective="minimax")).generator(logits, logits).item()
    assert saturating == pytest.approx((1 - logits.sigmoid()).log().mean().item(), rel=1e-3)
    other = losses(Method()).generator(logits, logits).item()
    assert other == pytest.approx(-logits.sigmoid().log().mean().item(), rel=1e-3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_generator_gains_by_looking_more_real(objective: Objective) -> None:
    """And the discriminator by telling better: whatever the objective, in the same direction."""
    found = losses(Method(objective=objective))
    zero, one = torch.zeros(4), torch.full((4,), 0.5)
    assert found.generator(zero, one) < found.generator(zero, zero)
    assert found.discriminator(one, -one) < found.discriminator(zero, zero)


@pytest.mark.parametrize(
    ("objective", "at_rest"), [("minimax", 2 * math.log(2)), ("hinge", 2.0), ("relativistic", math.log(2))]
)
def test_where_nobody_can_tell_the_loss_is_known(objective: Objective, at_rest: float) -> None:
    """All logits zero: D is 0.5, and for the relativistic one no image looks more real than another."""
    zero = torch.zeros(3)
    assert losses(Method(objective=objective)).discriminator(zero, zero).item() == pytest.approx(at_rest)


@given(LOGITS, st.floats(0.01, 0.5))
def test_smoothing_moves_the_best_logit_of_real_images(real: list[float], smoothing: float) -> None:
    """With targets of 1 - s the loss of real images is least at log((1 - s) / s), and nowhere without."""
    smoothed = losses(Method(label_smoothing=smoothing)).discriminator
    best = floats([math.log((1 - smoothing) / smoothing)])
    assert smoothed(best, floats([0.0])) <= smoothed(floats(real), floats([0.0])) + 1e-12


def test_smoothing_leaves_fakes_alone() -> None:
    """It is one-sided."""
    plain, smoothed = losses(Method()).discriminator, losses(Method(label_smoothing=0.1)).discriminator
    zero, three = floats([0.0]), floats([3.0])
    assert smoothed(zero, three) - smoothed(zero, zero) == plain(zero, three) - plain(zero, zero)


def test_the_penalty_is_half_the_squared_gradient() -> None:
    """Of a linear judge it is known: half the squared norm of its weights, and it can be descended."""
    weights = torch.tensor([3.0, 4.0], requires_grad=True)
    images = torch.ones(5, 2, requires_grad=True)
    penalty = zero_centred(images @ weights, images)
    assert penalty.item() == 12.5
    torch.autograd.backward(penalty)
    assert weights.grad is not None
    assert torch.equal(weights.grad, weights.detach())


def test_the_same_method_gives_the_same_losses() -> None:
    """Nothing is kept between calls."""
    method = replace(Method(), objective="hinge")
    assert losses(method) == losses(method)
