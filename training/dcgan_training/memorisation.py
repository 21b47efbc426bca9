"""Whether a generator gives back the images that it was trained on.

Of every sample the nearest real image is sought among as many trained as held-out ones. A generator that learned what
the images have in common finds it as often here as there; one that learned them by heart finds it among the trained.
Real images that are in neither half are the null: they tell what chance and the halves themselves make.

Images are compared by their pixels, since a copy is a copy in pixels whatever a network thinks of it; those wider
than 32 px by the means of areas, which a copy moved by a pixel survives. After Meehan, Chaudhuri, Dasgupta, 2020,
arXiv:2004.05675, who compare distances where this counts.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from dcgan.images import Pixels
from dcgan_training.batches import batches
from dcgan_training.figures import nearest
from dcgan_training.networks import signed

_WIDEST: Final = 32  # px
_BATCH: Final = 512  # images that are pooled at a time
_DEVIATIONS: Final = 1.96  # of a normal distribution: 95 % lie within


@dataclass(frozen=True, slots=True)
class Memorisation:
    """How often the nearest real image is one that was trained on.

    Attributes:
        share: of the samples, 0 to 1.
        real_share: of real images that are in neither half.
        interval_points: half of the 95 % interval of the difference, in percentage points.
    """

    share: float
    real_share: float
    interval_points: float

    @property
    def points(self) -> float:
        """How far the samples' share is above the real images', in percentage points."""
        return 100.0 * (self.share - self.real_share)


def memorisation(generated: Pixels, trained: Pixels, held_out: Pixels, neither: Pixels) -> Memorisation:
    """Compares samples and real images with the two halves.

    Args:
        generated: uint8 (n, size, size, channels).
        trained, held_out: as many of each.
        neither: real images that are in neither half.
    """
    halves = _rows(trained), _rows(held_out)
    share, real = _share(_rows(generated), *halves), _share(_rows(neither), *halves)
    variance = share * (1.0 - share) / len(generated) + real * (1.0 - real) / len(neither)
    return Memorisation(share, real, 100.0 * _DEVIATIONS * math.sqrt(variance))


def _share(rows: NDArray[np.float32], trained: NDArray[np.float32], held_out: NDArray[np.float32]) -> float:
    """Gives the share of rows that are nearer to a trained one; as near to both is half."""
    here, there = nearest(rows, trained), nearest(rows, held_out)
    return float(np.mean((here < there) + 0.5 * (here == there)))


def _rows(images: Pixels) -> NDArray[np.float32]:
    if images.shape[1] <= _WIDEST:
        return images.reshape(len(images), -1).astype(np.float32)
    pooled = [adaptive_avg_pool2d(signed(torch.tensor(batch)), _WIDEST).flatten(1) for batch in batches(images, _BATCH)]
    return torch.cat(pooled).numpy()
