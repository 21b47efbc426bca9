"""What moving samples along a direction does: how many get the attribute, and how many still look like the data.

Samples are moved as `seed(7) + s*direction(name)` moves them: the direction is added, nothing is renormalised, and a
uniform prior clips the sum. Realism is precision: the share of samples that lie as near to a real image as that one's
third nearest real neighbour does, in the features of the finder. Source: Kynkaanniemi et al., 2019, arXiv:1904.06991.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan import latents
from dcgan.bundle.manifest import LatentSpec
from dcgan.generator import Generator
from dcgan.images import Pixels
from dcgan.latents import Floats32
from dcgan_training.batches import batches
from dcgan_training.classifier import Classifier

_NEIGHBOURS: Final = 3
_CHUNK: Final = 1000  # features that are compared with all real ones at once
STEP: Final = 0.25  # between the strengths that are tried
_FARTHEST: Final = 6.0  # standard deviations of the prior; few draws lie so far out along any line
KEPT_PRECISION: Final = 0.65  # of that of unmoved samples, at least
_NEAR_BEST: Final = 0.04  # a share this little below the best one isn't worth a greater strength


class Sampler:
    """Draws samples of a model, in threads.

    Args:
        generator: of the model.
        latent: what it takes.
        seed: of the latents; uint64.
        threads: to draw in.
    """

    def __init__(self, generator: Generator, latent: LatentSpec, seed: int, threads: int) -> None:
        self._generator, self.latent, self._seed = generator, latent, seed
        self._threads = min(threads, generator.threads)

    @property
    def deviation(self) -> float:
        """Standard deviation of a value of a latent."""
        return 1.0 if self.latent.prior == "normal" else 3**-0.5

    def values(self, part: int, count: int) -> Floats32:
        """Draws float32 (count, dim) latents; others for each `part`, a small number."""
        first = part << 32
        return latents.draw(
            self._seed, np.arange(first, first + count, dtype=np.uint64), self.latent.dim, self.latent.prior
        )

    def moved(self, values: Floats32, by: NDArray[np.floating]) -> Floats32:
        """Adds `by` to latents, as the algebra does."""
        out = (values + by).astype(np.float32)
        return np.clip(out, -1.0, 1.0) if self.latent.prior == "uniform" else out

    def images(self, values: Floats32) -> Pixels:
        """Draws uint8 (n, height, width, channels)."""
        batch = self._generator.largest_batch
        with ThreadPoolExecutor(self._threads) as pool:
            return np.concatenate(list(pool.map(self._generator.run, batches(values, batch))))


class Realism:
    """Tells samples that lie among real images from those that don't.

    Args:
        real: float32 (n, k), features of real images that the network was not trained on, n at least 2.
    """

    def __init__(self, real: Floats32) -> None:
        self._real = torch.from_numpy(real)
        apart = torch.cdist(self._real, self._real)
        self._reach = apart.kthvalue(min(_NEIGHBOURS + 1, len(real)), dim=1).values  # the nearest one is itself

    def precision(self, features: Floats32) -> float:
        """Gives the share of float32 (m, k) features that lie within reach of a real one."""
        rows = map(torch.from_numpy, batches(features, _CHUNK))
        near = [(torch.cdist(batch, self._real) <= self._reach).any(1) for batch in rows]
        return float(torch.cat(near).float().mean())


@dataclass(frozen=True, slots=True)
class Reading:
    """What samples look like at one strength: the share with the attribute, and precision."""

    strength: float
    share: float
    precision: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """What readings are taken with: samples, a classifier that sees one value of one column in them, and realism."""

    sampler: Sampler
    finder: Classifier
    realism: Realism
    column: int
    value: int

    def read(self, values: Floats32, direction: Floats32, strength: float) -> Reading:
        """Looks at the samples of float32 (n, dim) latents, moved by `strength` times float32 (dim,)."""
        moved = self.sampler.moved(values, strength * direction)
        features, probabilities = self.finder.look(self.sampler.images(moved))
        share = float((probabilities[self.column].argmax(1) == self.value).mean())
        return Reading(strength, share, self.realism.precision(features))


def readings(gauge: Gauge, values: Floats32, direction: Floats32) -> list[Reading]:
    """Measures a direction on a grid of strengths, 0 among them, from the lowest on, outwards until all is unreal.

    Args:
        gauge: to measure with.
        values: float32 (n, dim), the latents to move.
        direction: float32 (dim,), its length strength 1.
    """
    unmoved = gauge.read(values, direction, 0.0)
    count = int(_FARTHEST * gauge.sampler.deviation / float(np.linalg.norm(direction)) / STEP)
    sides: list[list[Reading]] = []
    for sign in (-1, 1):
        side: list[Reading] = []
        for number in range(1, max(count, 1) + 1):
            side.append(gauge.read(values, direction, sign * number * STEP))
            if side[-1].precision < KEPT_PRECISION * unmoved.precision / 2:  # it only gets worse
                break
        sides.append(side)
    return [*reversed(sides[0]), unmoved, *sides[1]]


def useful_range(found: Sequence[Reading]) -> tuple[float, float]:
    """Gives the strengths where the attribute is rarest and most frequent among images that look as they should.

    That is where precision is at least 0.65 of that of unmoved samples, there and on all the way to it. Of strengths
    that do nearly the same, within 0.04, the nearest to 0 is taken; 0 where a side brings nothing.
    """
    unmoved = next(reading for reading in found if reading.strength == 0)
    ends = []
    for sign in (-1, 1):
        side = sorted((reading for reading in found if reading.strength * sign >= 0), key=lambda r: abs(r.strength))
        real: list[Reading] = []
        for reading in side:
            if reading.precision < KEPT_PRECISION * unmoved.precision:
                break
            real.append(reading)
        best = max(sign * reading.share for reading in real)
        ends.append(next(reading.strength for reading in real if sign * reading.share >= best - _NEAR_BEST))
    return ends[0], ends[1]
