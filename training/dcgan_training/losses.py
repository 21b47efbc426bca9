"""The objectives, one function each. Logits are float32 of shape (n,); a loss is the mean over them, in nats."""

import torch
from torch.nn import functional


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of calling real images real and fakes fake: -log D(x) - log(1 - D(G(z))), D = sigmoid(logit)."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """The non-saturating loss -log D(G(z)): its gradient stays large while the discriminator still wins.

    Source: Goodfellow et al., 2014, arXiv:1406.2661, section 3.
    """
    return functional.softplus(-fake).mean()
