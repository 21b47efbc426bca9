"""What a person sees while a run trains: a bar in a terminal, plain lines elsewhere, TensorBoard beside both."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from dcgan_training.config import CLASSIC, Objective
from dcgan_training.events import Events
from dcgan_training.history import Alarm, Check, figure
from dcgan_training.trainer import Losses

_LINE_EVERY_S: Final = 30.0
_SPEED_READINGS: Final = 20


class Budget:
    """How far a run goes: a number of images, hours that may be spent from now on, or whichever comes first."""

    def __init__(self, images: int, total: int, hours: float | None) -> None:
        self.total = total
        self._first, self._began = images, time.monotonic()
        self._seconds = None if hours is None else hours * 3600.0

    def left_s(self, images: int, speed: float) -> float:
        """Gives the seconds left after `images`, at `speed` images/s."""
        by_images = (self.total - images) / max(speed, 1e-9)
        return max(0.0, by_images if self._seconds is None else min(by_images, self._seconds - self._spent_s()))

    def share(self, images: int) -> float:
        """Gives how much of it is done, 0 to 1."""
        by_images = images / max(self.total, 1)
        return min(1.0, by_images if not self._seconds else max(by_images, self._spent_s() / self._seconds))

    def words(self, images: int) -> str:
        """Says how many images were seen of how many; where hours come first, nobody knows of how many."""
        return f"{images:,} images" if self._seconds is not None else f"{images:,} of {self.total:,} images"

    def _spent_s(self) -> float:
        return time.monotonic() - self._began


class Reporter(Protocol):
    """Shows one reading of a run."""

    def __call__(self, images: int, speed: float, losses: str, figures: str) -> None:
        """Shows that `images` were seen, at `speed` images/s, the last losses and the last check's figures, if any."""


class Display:
    """Receives readings, checks, alarms and sample grids from the loop and shows them."""

    def __init__(self, events: Events, report: Reporter, console: Console, images: int, objective: Objective) -> None:
        self._events, self._report, self._console, self._objective = events, report, console, objective
        self._readings: deque[tuple[float, int]] = deque([(time.monotonic(), images)], maxlen=_SPEED_READINGS)
        self._losses, self._figures = "", ""

    def read(self, images: int, losses: Losses) -> float:
        """Takes the mean losses since the last reading; gives the speed over the last ones, in images/s."""
        self._readings.append((time.monotonic(), images))
        speed = self._speed()
        self._losses = described(losses, self._objective)
        self._report(images, speed, self._losses, self._figures)
        values = {
            "loss/discriminator": losses.discriminator,
            "loss/generator": losses.generator,
            "belief/real": losses.belief_real,
            "belief/fake": losses.belief_fake,
            "gap": losses.gap,
            "norm/discriminator": losses.norm_discriminator,
            "norm/generator": losses.norm_generator,
            "images_per_second": speed,
        }
        self._events.scalars(images, values)
        return speed

    def checked(self, images: int, check: Check, best: int | None) -> None:
        """Takes the figures of a check, and the images seen at the best one so far."""
        self._readings.append((time.monotonic(), images))
        self._figures = measured(check) + (f", best after {best:,} images" if best else "")
        self._report(images, self._speed(), self._losses, self._figures)
        self._events.scalars(images, {f"check/{name}": value for name, value in asdict(check).items()})

    def alarmed(self, images: int, alarm: Alarm) -> None:
        """Takes an alarm: one line that stays."""
        self.say(f"alarm after {images:,} images: {alarm.message}")
        self._events.text(images, f"alarm/{alarm.kind}/text_summary", alarm.message)

    def sampled(self, images: int, grid: NDArray[np.uint8]) -> None:
        """Takes a grid of samples, uint8 (height, width, channels)."""
        self._events.image(images, "samples", grid)

    def say(self, message: str) -> None:
        """Prints one line above whatever moves."""
        self._console.print(message, highlight=False, soft_wrap=True, markup=False)

    def _speed(self) -> float:
        (then, before), (now, images) = self._readings[0], self._readings[-1]
        return (images - before) / max(now - then, 1e-9)


@contextmanager
def displaying(
    directory: Path, images: int, total: int, hours: float | None = None, objective: Objective = "non-saturating"
) -> Iterator[Display]:
    """Opens the display of a run that has seen `images` of `total`; events go to `directory`/events.

    Events that a killed process wrote beyond its last checkpoint are hidden: the run makes them again.

    Args:
        directory: of the run.
        images: seen so far.
        total: that will have been seen in the end.
        hours: that may be spent from now on; None: as many as it takes.
        objective: of the run, which says whether the discriminator's outputs mean anything, or its gap.
    """
    console = _Console(stderr=True)
    budget = Budget(images, total, hours)
    with Events(directory / "events", images) as events:
        if not console.is_terminal:
            yield Display(events, _Lines(console, budget), console, images, objective)
            return
        with _Bar(console, budget, images) as bar:
            yield Display(events, bar.report, console, images, objective)


def described(losses: Losses, objective: Objective) -> str:
    """Says the losses, and how far ahead the discriminator is: by its outputs where 0.5 is equilibrium, or the gap."""
    if objective in CLASSIC:
        ahead = f"output real {losses.belief_real:.2f} fake {losses.belief_fake:.2f}"
    else:
        ahead = f"gap {losses.gap:.2f}"
    return f"loss D {losses.discriminator:.3f} G {losses.generator:.3f}, {ahead}"


def measured(check: Check) -> str:
    """Says the figures of a check."""
    return (
        f"diversity {check.diversity:.2f}, Fréchet distance {figure(check.frechet_distance)}, "
        f"coverage {check.coverage:.2f}"
    )


def duration(seconds: float) -> str:
    """Says a time to the minute: "2 h 05 min", "12 min"."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Goes on in silence, where rich would end the process: a training is worth more than who listens to it."""
        self.quiet = True


class _Lines:
    """One line a reading, but not more than one in half a minute."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self._console, self._budget = console, budget
        self._next = 0.0

    def __call__(self, images: int, speed: float, losses: str, figures: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINE_EVERY_S
        left = duration(self._budget.left_s(images, speed))
        parts = [self._budget.words(images), f"{speed:,.0f} images/s", f"{left} left", losses, figures]
        self._console.print(", ".join(filter(None, parts)), highlight=False, soft_wrap=True, markup=False)


class _Bar(Progress):
    """A bar, and below it what was last measured, a line each."""

    def __init__(self, console: Console, budget: Budget, images: int) -> None:
        self._budget = budget
        self._notes: list[str] = []
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._only = self.add_task(budget.words(images), total=1.0, left="")
        self.update(self._only, completed=budget.share(images))

    def report(self, images: int, speed: float, losses: str, figures: str) -> None:
        """Moves the bar and changes the lines below."""
        self._notes = [line for line in (losses, figures) if line]
        left = f"{speed:,.0f} images/s, {duration(self._budget.left_s(images, speed))} left"
        share = self._budget.share(images)
        self.update(self._only, description=self._budget.words(images), completed=share, left=left)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Gives what rich draws, a line each."""
        yield from super().get_renderables()
        for line in self._notes:
            yield Text(line, style="dim")
