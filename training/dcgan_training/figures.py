"""Figures of quality from features: how far a set of generated images is from a set of real ones.

Pure functions of arrays, computed in float64 and in blocks, so that tens of thousands of rows fit into memory. What
the features are of, and how many rows went in, is the caller's to say beside each figure: none of them means anything
without it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan.errors import SettingsError

Rows: TypeAlias = NDArray[Any]
"""Features, float of shape (n, d), one row for each image."""

_BLOCK: Final = 1024
# Squared distances are differences of large sums; those closer than this, on the scale of the rows, are equal.
_ROUNDING: Final = 1e-10
_SAME_LEVELS: Final = 2.0  # grey levels of 255, root mean square: images that no one tells apart
_SAME_SHARE: Final = 0.01  # of the features' own length


@dataclass(frozen=True, slots=True)
class Prdc:
    """How two sets of images lie in each other.

    Attributes:
        precision: share of the generated that lie among the real ones, 0 to 1.
        recall: share of the real ones that lie among the generated, 0 to 1.
        density: in how many neighbourhoods of real ones a generated one lies, over k; 1 is what real ones have.
        coverage: share of the real ones that have a generated one in their neighbourhood, 0 to 1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(a: Rows, b: Rows) -> float:
    """Gives the squared Fréchet distance of two sets of features, taken as normal: 0 or more, 0 for equal moments.

    |mean a - mean b|^2 + trace(A + B - 2 (A B)^(1/2)), A and B the covariances. The trace of the root is the sum of
    the roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric and so has real ones, singular or not.

    Args:
        a, b: float (n, d) and (m, d), n and m at least 2. Fewer rows give a larger distance for the same networks:
            compare only figures of the same counts.

    Source: Heusel et al., 2017, arXiv:1706.08500, equation 6.
    """
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0.0)).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2.0 * overlap
    return max(0.0, float(distance))


def trace(rows: Rows) -> float:
    """Gives the trace of the features' covariance: the yardstick of a Fréchet distance in them."""
    return float(np.asarray(rows, np.float64).var(0, ddof=1).sum())


def prdc(real: Rows, generated: Rows, k: int = 5) -> Prdc:
    """Measures precision, recall, density and coverage by the k nearest neighbours.

    The neighbourhood of a row reaches to the k-th nearest other row of its own set, that one included.

    Args:
        real, generated: float (n, d) and (m, d), both of more than k rows.
        k: 1 or more.

    Sources: Kynkäänniemi et al., 2019, arXiv:1904.06991 (precision, recall); Naeem et al., 2020, arXiv:2002.09797
    (density, coverage).

    Raises:
        SettingsError: there are not more than k rows in each set.
    """
    if min(len(real), len(generated)) <= k:
        raise SettingsError(f"{k} neighbours need more than {k} images of either kind")
    centre = np.asarray(real, np.float64).mean(0)
    one, two = _tensor(real - centre), _tensor(generated - centre)
    slack = _ROUNDING * float(one.square().sum(1).mean() + two.square().sum(1).mean())
    reach_real, reach_generated = _reaches(one, k) + slack, _reaches(two, k) + slack
    recalled = covered = 0.0
    seen = torch.zeros(len(two), dtype=torch.int64)  # for each generated row, in how many real neighbourhoods it is
    for first, squares in _squares(one, two):
        within = squares <= reach_real[first : first + len(squares), None]
        seen += within.sum(0)
        covered += float(within.any(1).sum())
        recalled += float((squares <= reach_generated).any(1).sum())
    precise, inside = float((seen > 0).sum()), float(seen.sum())
    return Prdc(precise / len(two), recalled / len(one), inside / (k * len(two)), covered / len(one))


def diversity(features: Rows) -> float:
    """Gives the mean distance of two different rows of a batch, float (n, d), n at least 2; 0 where all are equal."""
    rows = _tensor(features - np.asarray(features, np.float64).mean(0))
    total = sum(float(squares.sqrt().sum()) for _, squares in _squares(rows, rows, apart=True))
    return total / (len(rows) * (len(rows) - 1))


def duplicates(images_or_features: Rows) -> float:
    """Gives the share of a batch whose nearest other row is the same, or as good as: 0 to 1.

    Images, uint8 (n, ...), are the same within two grey levels of 255, root mean square; features, float (n, d),
    within a hundredth of their length, root mean square.
    """
    rows = np.asarray(images_or_features)
    if rows.dtype == np.uint8:
        limit = _SAME_LEVELS**2 * rows[0].size
    else:
        limit = _SAME_SHARE**2 * float(np.square(rows, dtype=np.float64).sum(1).mean())
    flat = _tensor(rows.reshape(len(rows), -1))
    flat -= flat.mean(0)
    return float(np.mean(_reaches(flat, 1).numpy() <= limit))


def nearest(rows: Rows, others: Rows) -> NDArray[np.float64]:
    """Gives the squared distance of each row, (n, d), to the nearest of others, (m, d): float64 (n,)."""
    found = [squares.amin(1) for _, squares in _squares(_tensor(rows), _tensor(others))]
    return torch.cat(found).numpy()


def _moments(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = np.asarray(rows, np.float64)
    mean = wide.mean(0)
    off = wide - mean
    return mean, off.T @ off / (len(wide) - 1)


def _reaches(rows: torch.Tensor, k: int) -> torch.Tensor:
    """Gives the squared distance of each row to its k-th nearest other row, (n,)."""
    own = [squares.kthvalue(k + 1, 1).values for _, squares in _squares(rows, rows, apart=True)]
    return torch.cat(own)


def _squares(rows: torch.Tensor, others: torch.Tensor, *, apart: bool = False) -> Iterator[tuple[int, torch.Tensor]]:
    """Gives the squared distances of blocks of rows to all others, (block, m), and the number of the first row.

    With `apart` both are the same set; the distance of a row to itself is then exactly 0.
    """
    lengths = others.square().sum(1)
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK]
        squares = torch.addmm(lengths, block, others.T, alpha=-2.0).add_(block.square().sum(1, keepdim=True))
        squares.clamp_(min=0.0)
        if apart:
            squares[torch.arange(len(block)), torch.arange(first, first + len(block))] = 0.0
        yield first, squares


def _tensor(rows: Rows) -> torch.Tensor:
    return torch.from_numpy(np.array(rows, np.float64))  # a copy, for torch wants arrays that it may write
