"""What the discriminator's logits mean: statistics of its batch norms, and the scale from logits to probabilities.

Two disjoint sets of images that the training never saw go in, one for each; generated ones are beside the real ones
in both. All of it is arithmetic: the same images and weights give the same numbers.
"""

import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan.bundle.manifest import CalibrationSpec
from dcgan.images import Pixels
from dcgan_training.networks import Discriminator, batch_norms, channels_last, normalized

Logits = NDArray[np.float64]

_PERCENT: Final = np.arange(101) / 100.0
# Where a logit says nothing, or the contrary, all probabilities are 0.5: the slope must be above 0, and this is.
_LEAST_SLOPE: Final = 1e-6
_NEWTON_STEPS: Final = 100
_RIDGE: Final = 1e-9  # keeps the equations solvable where all logits are the same


def to_images(pixels: Pixels, low: float) -> torch.Tensor:
    """Turns uint8 (n, height, width, channels) into float32 (n, channels, height, width) in [low, 1]."""
    return channels_last(normalized(torch.tensor(pixels), low))


@torch.no_grad()
def with_statistics(discriminator: Discriminator, real: Pixels, generated: Pixels, batch_size: int) -> Discriminator:
    """Copies the discriminator, with batch-norm statistics of batches that are half real, half generated.

    In training the two kinds go through apart, each normalised by itself; a served image comes alone and nobody knows
    its kind. So both kinds share the statistics here, and the difference between them stays in the logit. A
    discriminator without batch norm is copied as it is.

    Args:
        discriminator: float32, on the CPU.
        real, generated: uint8 of shape (n, size, size, channels), n each.
        batch_size: images in a batch, of both kinds together.

    Returns:
        A discriminator in eval mode.
    """
    twin = copy.deepcopy(discriminator).train()
    norms = batch_norms(twin)
    if not norms:
        return twin.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    half = min(batch_size // 2, len(real))
    for first in range(0, len(real) - half + 1, half):
        part = slice(first, first + half)
        twin(to_images(np.concatenate([real[part], generated[part]]), twin.low))
    return twin.eval()


def calibration(real: Logits, generated: Logits) -> CalibrationSpec:
    """Measures what logits mean, from those of held-out real images (n,) and of generated ones (m,)."""
    slope, offset = _logistic(real, generated)
    return CalibrationSpec(
        slope=slope,
        offset=offset,
        real_quantiles=np.quantile(real, _PERCENT).tolist(),
        auc=auc(real, generated),
        real_count=len(real),
        generated_count=len(generated),
    )


def auc(real: Logits, generated: Logits) -> float:
    """Gives the share of pairs whose real image, of n, has a logit above the generated one's, of m; ties are half."""
    ordered = np.sort(generated)
    below, up_to = np.searchsorted(ordered, real, "left"), np.searchsorted(ordered, real, "right")
    return float((below + up_to).mean() / (2 * len(ordered)))


def _logistic(real: Logits, generated: Logits) -> tuple[float, float]:
    """Fits probability = sigmoid(slope * logit + offset) by maximum likelihood, each kind weighing the same.

    The targets are drawn in a little from 1 and 0, as far as the counts say, so that the fit is finite where the kinds
    don't overlap. Newton's method on standardised logits, with a step halved where it goes too far.

    Sources: Platt 1999, "Probabilistic outputs for support vector machines"; Lin, Lin, Weng 2007, "A note on Platt's
    probabilistic outputs", Machine Learning 68.
    """
    logits = np.concatenate([real, generated])
    centre, spread = float(logits.mean()), float(logits.std()) or 1.0
    inputs = np.stack([(logits - centre) / spread, np.ones(len(logits))])
    n, m = len(real), len(generated)
    targets = np.concatenate([np.full(n, (n + 1) / (n + 2)), np.full(m, 1 / (m + 2))])
    shares = np.concatenate([np.full(n, 0.5 / n), np.full(m, 0.5 / m)])

    def loss(at: Logits) -> float:
        sums = at @ inputs
        return float(shares @ (np.logaddexp(0.0, sums) - targets * sums))

    found = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        beliefs = 0.5 + 0.5 * np.tanh(0.5 * (found @ inputs))  # the logistic function, which can't overflow so
        gradient = inputs @ (shares * (beliefs - targets))
        curvature = (inputs * (shares * beliefs * (1.0 - beliefs))) @ inputs.T + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while np.abs(step).max() > _RIDGE and loss(found - step) > loss(found):
            step /= 2.0
        found = found - step
        if np.abs(step).max() <= _RIDGE:
            break
    slope = float(found[0]) / spread
    return (
        (slope, float(found[1]) - slope * centre) if slope >= _LEAST_SLOPE else (_LEAST_SLOPE, -_LEAST_SLOPE * centre)
    )
