"""The objectives, two functions each: what the discriminator descends and what the generator descends.

Logits are float32 of shape (n,); a loss is the mean over them, in nats where it is a likelihood. D = sigmoid(logit).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch.nn import functional

from dcgan_training.config import Method, Objective

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Losses:
    """Both sides of an objective; each takes the logits of real images and of fakes, (n,) each, and gives a mean."""

    discriminator: Loss
    generator: Loss
    pairs: bool = False  # whether the generator's side looks at real images too


def losses(method: Method) -> Losses:
    """Gives the losses that a method asks for."""
    found = _LOSSES[method.objective]
    if method.label_smoothing > 0:
        return Losses(partial(_smoothed, method.label_smoothing), found.generator)
    return found


def zero_centred(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Half the mean squared norm of the gradient of each logit by its images: R1 on real images, R2 on fakes.

    Args:
        logits: (n,), of a discriminator that looks at each image, or at each pack of images, by itself.
        images: float32 of which the logits were computed, with gradients required.

    Sources: Mescheder, Geiger, Nowozin, 2018, arXiv:1801.04406, equations 9 and 10; arXiv:2501.05441.
    """
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * gradients.square().sum() / len(logits)


def _cross_entropy(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Calls real images real and fakes fake: -log D(x) - log(1 - D(G(z)))."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def _smoothed(smoothing: float, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The same, where real images are to get 1 - smoothing; one-sided: fakes are to get 0 as ever.

    Source: Salimans et al., 2016, arXiv:1606.03498, section 3.4.
    """
    return _cross_entropy(real, fake) + smoothing * real.mean()  # softplus(real) - softplus(-real) is real


def _saturating(_: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The generator's side of the minimax game, log(1 - D(G(z))): flat where the discriminator is sure.

    Source: Goodfellow et al., 2014, arXiv:1406.2661, algorithm 1.
    """
    return -functional.softplus(fake).mean()


def _non_saturating(_: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-log D(G(z)): its gradient stays large while the discriminator still wins.

    Source: arXiv:1406.2661, section 3.
    """
    return functional.softplus(-fake).mean()


def _hinge(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Margins of one on both sides. Source: Lim, Ye, 2017, arXiv:1705.02894."""
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean()


def _linear(_: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return -fake.mean()


def _relativistic(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-log of how much more real a real image looks than the fake it is paired with.

    Source: Jolicoeur-Martineau, 2018, arXiv:1807.00734, section 3.2; as in arXiv:2501.05441, equation 2.
    """
    return functional.softplus(fake - real).mean()


def _relativistic_generator(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return _relativistic(fake, real)


_LOSSES: Final[dict[Objective, Losses]] = {
    "minimax": Losses(_cross_entropy, _saturating),
    "non-saturating": Losses(_cross_entropy, _non_saturating),
    "hinge": Losses(_hinge, _linear),
    "relativistic": Losses(_relativistic, _relativistic_generator, pairs=True),
}
