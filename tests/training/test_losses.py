import math

import pytest
import torch

from dcgan_training.losses import discriminator_loss, generator_loss


def test_an_undecided_discriminator_costs_log_four() -> None:
    """Logits of zero say one half for everything: -log(1/2) for the real half and for the fakes."""
    logits = torch.zeros(5)
    assert discriminator_loss(logits, logits).item() == pytest.approx(math.log(4))
    assert generator_loss(logits).item() == pytest.approx(math.log(2))


def test_losses_are_the_cross_entropies_of_the_sigmoid() -> None:
    """The formulas of arXiv:1406.2661, computed naively at moderate logits."""
    real, fake = torch.tensor([0.5, -2.0]), torch.tensor([-1.0, 3.0])
    naive = -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean())
    assert discriminator_loss(real, fake).item() == pytest.approx(naive.item(), rel=1e-6)
    assert generator_loss(fake).item() == pytest.approx(-fake.sigmoid().log().mean().item(), rel=1e-6)


def test_the_generator_still_learns_when_it_is_found_out() -> None:
    """At a logit of -50 the minimax loss would have no gradient; the non-saturating one has all of it."""
    logits = torch.full((4,), -50.0, requires_grad=True)
    torch.autograd.backward(generator_loss(logits))
    assert logits.grad is not None
    assert logits.grad.sum().item() == pytest.approx(-1.0)


def test_extreme_logits_give_finite_losses() -> None:
    """No logarithm of zero, however sure the discriminator is."""
    sure = torch.tensor([1e4])
    assert math.isfinite(discriminator_loss(-sure, sure).item())
