"""What a person sees while a run trains: a bar in a terminal, plain lines elsewhere, TensorBoard beside both."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dcgan_training.events import Events
from dcgan_training.trainer import Losses

_LINE_EVERY_S: Final = 30.0
_SPEED_READINGS: Final = 20


class Reporter(Protocol):
    """Shows one reading of a run."""

    def __call__(self, images: int, speed: float, losses: Losses) -> None:
        """Shows that `images` were seen, at `speed` images/s, with these mean losses since the last reading."""


class Display:
    """Receives readings and sample grids from the loop and shows them."""

    def __init__(self, events: Events, report: Reporter, console: Console, images: int) -> None:
        self._events, self._report, self._console = events, report, console
        self._readings: deque[tuple[float, int]] = deque([(time.monotonic(), images)], maxlen=_SPEED_READINGS)

    def read(self, images: int, losses: Losses) -> None:
        """Takes the mean losses since the last reading."""
        self._readings.append((time.monotonic(), images))
        speed = self._speed()
        self._report(images, speed, losses)
        values = {
            "loss/discriminator": losses.discriminator,
            "loss/generator": losses.generator,
            "belief/real": losses.belief_real,
            "belief/fake": losses.belief_fake,
            "images_per_second": speed,
        }
        self._events.scalars(images, values)

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
def displaying(directory: Path, images: int, total: int) -> Iterator[Display]:
    """Opens the display of a run that has seen `images` of `total`; events go to `directory`/events.

    Events that a killed process wrote beyond its last checkpoint are hidden: the run makes them again.
    """
    console = Console(stderr=True)
    with Events(directory / "events", images) as events:
        if not console.is_terminal:
            yield Display(events, _Lines(console, total), console, images)
            return
        with _bar(console) as bar:
            task = bar.add_task("", total=total, completed=images, note="")

            def report(images: int, speed: float, losses: Losses) -> None:
                bar.update(task, completed=images, note=f"{speed:,.0f} images/s  {_describe(losses)}")

            yield Display(events, report, console, images)


class _Lines:
    """One line a reading, but not more than one in half a minute."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self._next = 0.0

    def __call__(self, images: int, speed: float, losses: Losses) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINE_EVERY_S
        left = (self._total - images) / max(speed, 1e-9)
        self._console.print(
            f"{images:,} of {self._total:,} images, {speed:,.0f} images/s, {left / 60:.0f} min left, "
            f"{_describe(losses)}",
            highlight=False,
            soft_wrap=True,
        )


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def _describe(losses: Losses) -> str:
    return (
        f"loss D {losses.discriminator:.3f} G {losses.generator:.3f}, "
        f"belief real {losses.belief_real:.2f} fake {losses.belief_fake:.2f}"
    )
