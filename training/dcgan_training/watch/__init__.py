"""The watch over a run: it measures what the averaged generator draws, keeps the history, and raises alarms.

`rules` says when something is wrong; this module measures. Both are functions of the images seen, never of the clock,
and the state is rebuilt from the history: a run that was killed and continued gives the alarms of one that was not.
What to do about an alarm, warn or stop, is the loop's business.

A check, with four batches of calibration, costs 0.6 to 0.8 s on one core of a Zen 3 where 50,000 images of 28 grey
pixels train in 70 to 90 s at width 32, in random features or a classifier's: 1 % of the time. Teaching a classifier of
labels takes 108 s there, once, before the first step.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan import latents
from dcgan.latents import Floats32
from dcgan_training import figures
from dcgan_training.batches import spread
from dcgan_training.config import Settings
from dcgan_training.extractors import Extractor
from dcgan_training.features import RandomFeatures
from dcgan_training.history import Alarm, Check, History, Reading
from dcgan_training.trainer import Losses
from dcgan_training.watch.rules import replay

__all__ = ["Alarm", "Check", "Watch"]

LEAST_EVERY: Final = 50_000  # images between two checks
CHECKS: Final = 40  # in a long run
SAMPLES: Final = 1024  # for the distance
FIXED: Final = 512  # for the rest
LEAST_HELD_OUT: Final = 32  # images, below which nothing can be measured

Draw = Callable[[Floats32], NDArray[np.uint8]]


class Watch:
    """Watches one run.

    Args:
        settings: of the run.
        held_out: images that it isn't trained on, uint8 (n, size, size, channels); with fewer than 32 of them there
            are no checks, only readings.
        history: of the run as far as it has come; the watch adds to it.
        features: to measure distances and coverage in; None are random ones.
        by_hours: whether a budget of hours ends the run, so that nobody knows after how many images: checks are as
            close as they get.
    """

    def __init__(
        self,
        settings: Settings,
        held_out: NDArray[np.uint8],
        history: History,
        features: Extractor | None = None,
        *,
        by_hours: bool = False,
    ) -> None:
        self._settings, self._held_out, self._history, self._features = settings, held_out, history, features
        self._rules, raised = replay(settings, history.records)
        self._raised = [alarm for _, alarm in raised]
        self._every = LEAST_EVERY if by_hours else max(LEAST_EVERY, settings.images // CHECKS)
        self._yardstick: Yardstick | None = None

    @property
    def best(self) -> int | None:
        """Images seen at the best check by Fréchet distance so far; None before the first."""
        return self._rules.seen.best

    @property
    def alarm(self) -> Alarm | None:
        """The latest alarm that is still on; None where none is."""
        return next((alarm for alarm in reversed(self._raised) if alarm.kind in self._rules.seen.active), None)

    def due(self, before: int, now: int) -> bool:
        """Says whether a check belongs between the images seen `before` a step and those seen `now`."""
        return len(self._held_out) >= LEAST_HELD_OUT and now // self._every > before // self._every

    def read(self, images: int, losses: Losses, speed: float) -> list[Alarm]:
        """Records the mean losses since the last reading and `speed` in images/s; gives the alarms they raise."""
        self._history.add(images, Reading(losses, speed))
        return self._judged(images, losses)

    def check(self, images: int, draw: Draw) -> tuple[Check, list[Alarm]]:
        """Measures samples, records the figures and gives the alarms they raise.

        Args:
            images: seen so far.
            draw: latents, float32 (n, dim), to images, uint8 (n, size, size, channels), by the calibrated average.
        """
        if self._yardstick is None:
            self._yardstick = Yardstick(self._settings, self._held_out, self._features)
        check = self._yardstick.measure(draw)
        self._history.add(images, check)
        return check, self._judged(images, check)

    def _judged(self, images: int, what: Losses | Check) -> list[Alarm]:
        alarms = self._rules.add(images, what)
        self._raised += alarms
        for alarm in alarms:
            self._history.add(images, alarm)
        return alarms


class Yardstick:
    """The real images' side of every check, computed once, and the latents of the samples.

    Diversity is measured in random features whatever the others are: a classifier passes over what its labels don't
    tell, and a generator may lose just that.
    """

    def __init__(self, settings: Settings, held_out: NDArray[np.uint8], features: Extractor | None) -> None:
        self._random = RandomFeatures(settings.channels)
        self._features = features or self._random
        names = np.arange(SAMPLES, dtype=np.uint64)
        self._latents = latents.draw(0, names, settings.latent_dim, settings.prior)
        shown = spread(held_out, 2 * SAMPLES)
        both = self._features(shown)
        self._real_distance = figures.frechet_distance(both[::2], both[1::2])
        self._real = spread(both, SAMPLES)
        self._fixed = min(FIXED, len(self._real))
        self._real_fixed = spread(self._real, self._fixed)
        self._real_diversity = figures.diversity(self._random(spread(spread(shown, SAMPLES), self._fixed)))
        self._real_variance = figures.trace(self._real)

    def measure(self, draw: Draw) -> Check:
        """Draws and measures: the distance of all samples, the rest of the first 512 and as many real images."""
        samples = draw(self._latents)
        drawn = self._features(samples)
        fixed = drawn[: self._fixed]
        varied = fixed if self._features is self._random else self._random(samples[: self._fixed])
        prdc = figures.prdc(self._real_fixed, fixed)
        return Check(
            diversity=figures.diversity(varied) / max(self._real_diversity, 1e-12),
            duplicates=figures.duplicates(samples[: self._fixed]),
            frechet_distance=figures.frechet_distance(self._real, drawn),
            precision=prdc.precision,
            coverage=prdc.coverage,
            real_distance=self._real_distance,
            real_variance=self._real_variance,
        )
