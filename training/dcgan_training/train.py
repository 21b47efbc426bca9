"""The loop: one flat order of things, resumed exactly from the newest checkpoint.

Order, latents and every variation are functions of (seed, images seen), so a run that was killed and started again
gives the weights of one that was not, bit for bit on the same machine. When to read the losses, to check, to save and
to draw samples is counted in images, never by the clock, and changes no weight. Of several processes only the first
one displays and writes.
"""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Literal

import numpy as np

from dcgan import images, latents
from dcgan_training import average, checkpoint, report, run_directory
from dcgan_training.config import Settings
from dcgan_training.distributed import World
from dcgan_training.errors import DivergedError, RunError
from dcgan_training.extractors import Extractor
from dcgan_training.files import output_error, write_atomically
from dcgan_training.history import History
from dcgan_training.initial import Initial
from dcgan_training.machine import Machine, gpu_memory_checked, keep_freed_memory
from dcgan_training.material import Material
from dcgan_training.progress import Display, displaying
from dcgan_training.trainer import Losses, Trainer, batch_of
from dcgan_training.watch import Alarm, Watch

READ_EVERY_IMAGES: Final = 10_000
_GRID_COLUMNS: Final = 10
_CHECK_BATCHES: Final = 4  # to recompute batch norm with at a check, which must cost little

OnAlarm = Literal["warn", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What decides no weight: when to save, when to stop.

    Attributes:
        save_every: images between two checkpoints.
        hours: of training, those before a stop included, after which the run is complete; None is without limit.
        on_alarm: whether an alarm of the watch is only told or stops the run.
    """

    save_every: int
    hours: float | None = None
    on_alarm: OnAlarm = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run to be trained.

    Attributes:
        settings: of the run; one that is already in `directory` has the same.
        machine: where it is computed.
        world: the processes that share it.
        material: the images, of the size and channels that `settings` says.
        features: that the watch measures in; None are random ones.
        start: weights to begin with; None draws them from the seed.
        directory: of the run, claimed by the caller; `run_directory` says what it will hold.
        plan: when to save and when to stop.
    """

    settings: Settings
    machine: Machine
    world: World
    material: Material
    features: Extractor | None
    start: Initial | None
    directory: Path
    plan: Plan


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of `train` ended: images seen so far, and the signal or the alarm that stopped it, if any did.

    All processes of a run get the same one. Where alarms stop a run, one that is on when the last image was shown does.
    """

    images: int
    stopped_by: signal.Signals | Alarm | None


def train(job: Job) -> Outcome:
    """Trains until the settings' images were shown, the hours are over, or SIGINT or SIGTERM.

    Raises:
        RunError: every checkpoint is damaged, or all are gone.
        DivergedError: a loss or a weight is no longer a finite number.
        DeviceError: the GPU has too little memory.
        OutputError: something can't be written; the last good checkpoint is named.
    """
    keep_freed_memory()
    try:
        with gpu_memory_checked(), _stop_signals() as stop:
            return _Run(job, stop).loop()
    except OSError as error:
        good = checkpoint.last_good(job.directory / run_directory.CHECKPOINTS)
        raise output_error(error, job.directory, good) from error


class _Run:
    """The loop and what it has at hand."""

    def __init__(self, job: Job, stop: "_Stop") -> None:
        self.job, self.stop = job, stop
        self.trainer = Trainer(job.settings, job.machine, job.world)
        self.seconds = 0.0  # of training before this call
        self.notes = self._resume()
        self.began = time.monotonic()
        self.saved = self.trainer.images

    def loop(self) -> Outcome:
        trainer, settings, plan = self.trainer, self.job.settings, self.job.plan
        places, total = (self.job.material.images, self.job.material.rows), settings.images
        with self._observer() as observer:
            while trainer.images < total and not self.job.world.any(self._must_stop(observer)):
                before = trainer.images
                trainer.step(*batch_of(settings, *places, before, trainer.images_per_step))
                if _passed(READ_EVERY_IMAGES, before, trainer.images):
                    self._read(observer)
                observer.check(before, trainer)
                if _passed(plan.save_every, before, trainer.images):
                    self._save(observer)
            if self.saved != trainer.images:
                self._save(observer)
            return self._outcome(observer)

    def _resume(self) -> list[str]:
        """Takes up the newest checkpoint, or the weights to begin with; gives what its reader should know."""
        machine = self.trainer.machine
        state, notes = checkpoint.load_newest(self.job.directory / run_directory.CHECKPOINTS)
        if state is None:
            self._check_unsaved()
            if self.job.start is not None:
                notes += self.job.start.give(self.trainer, self.job.material.held_out)
            return notes
        self.trainer.load(state)
        self.seconds = state.get("seconds", 0.0)
        differences = machine.differences(Machine(**state["machine"]))
        if differences:
            notes.append(f"warning: not the same machine, so not bit for bit the same run: {'; '.join(differences)}")
        return [*notes, f"continuing after {self.trainer.images:,} images"]

    def _check_unsaved(self) -> None:
        """Refuses to begin again where there was a checkpoint: with each one the samples are drawn, too."""
        directory = self.job.directory
        if any((directory / run_directory.SAMPLES).glob("*.png")):
            raise RunError(
                f"{directory}: its checkpoints are gone from {run_directory.CHECKPOINTS}/; put them back to continue "
                "it, or remove the directory to start again"
            )

    def _must_stop(self, observer: "_Observer") -> bool:
        return self.stop.by is not None or self._stopping(observer) is not None or self._time_is_up()

    def _stopping(self, observer: "_Observer") -> Alarm | None:
        return observer.alarm if self.job.plan.on_alarm == "stop" else None

    def _outcome(self, observer: "_Observer") -> Outcome:
        """Agrees with the other processes on how the run ended: a signal reaches one of them, an alarm the first."""
        world, images = self.job.world, self.trainer.images
        alarm = next(filter(None, world.everyones(self._stopping(observer))), None)
        number = next(filter(None, world.everyones(self.stop.by)), None)
        complete = world.any(images >= self.job.settings.images or self._time_is_up())
        if complete and images < self.job.settings.images:
            observer.complete(images)
        return Outcome(images, alarm or (None if complete else number))

    def _time_is_up(self) -> bool:
        return self.job.plan.hours is not None and self._spent_s() >= self.job.plan.hours * 3600.0

    def _spent_s(self) -> float:
        return self.seconds + time.monotonic() - self.began

    def _read(self, observer: "_Observer") -> None:
        losses = self.trainer.read_losses()
        observer.read(self.trainer.images, losses)
        if not (math.isfinite(losses.discriminator) and math.isfinite(losses.generator)):
            raise DivergedError(
                f"the losses are no longer finite after {self.trainer.images} images "
                f"(discriminator {losses.discriminator}, generator {losses.generator}); "
                f"{checkpoint.last_good(self.job.directory / run_directory.CHECKPOINTS)}"
            )

    def _save(self, observer: "_Observer") -> None:
        observer.save(self.trainer, self._spent_s())
        self.saved = self.trainer.images

    @contextmanager
    def _observer(self) -> Iterator["_Observer"]:
        if self.job.world.rank > 0:
            yield _Observer()
            return
        job, settings, images = self.job, self.job.settings, self.trainer.images
        hours = None if job.plan.hours is None else job.plan.hours - self.seconds / 3600.0
        with displaying(job.directory, images, settings.images, hours, settings.objective) as display:
            for line in [_describe(settings, job.machine, job.world), *self.notes]:
                display.say(line)
            history = History.open(job.directory, images)
            watch = Watch(settings, job.material.held_out, history, job.features, by_hours=hours is not None)
            if watch.alarm is not None:
                display.say(f"an alarm is on: {watch.alarm.message}")
            try:
                yield _First(self, display, watch)
            except DivergedError:
                report.write(job.directory, self.trainer.images)
                raise


class _Observer:
    """What a process does beside training: nothing, but for the first one."""

    @property
    def alarm(self) -> Alarm | None:
        """The alarm that is on, if one is."""
        return None

    def read(self, images: int, losses: Losses) -> None:
        """Takes the mean losses since the last reading."""

    def check(self, before: int, trainer: Trainer) -> None:
        """Measures samples where that is due after the step that began at `before` images."""

    def save(self, trainer: Trainer, seconds: float) -> None:
        """Writes the state; `seconds` of training led to it."""

    def complete(self, images: int) -> None:
        """Lets the report say that the run is complete after so many: its hours are over."""


class _First(_Observer):
    """The first process: displays, watches and writes."""

    def __init__(self, run: _Run, display: Display, watch: Watch) -> None:
        self._run, self._display, self._watch = run, display, watch

    @property
    def alarm(self) -> Alarm | None:
        return self._watch.alarm

    def read(self, images: int, losses: Losses) -> None:
        self._tell(images, self._watch.read(images, losses, self._display.read(images, losses)))

    def check(self, before: int, trainer: Trainer) -> None:
        if not self._watch.due(before, trainer.images):
            return
        shown = average.calibrated(trainer.average, trainer.settings, _CHECK_BATCHES)
        check, alarms = self._watch.check(trainer.images, lambda values: average.draw(shown, values))
        self._display.checked(trainer.images, check, self._watch.best)
        if self._watch.best == trainer.images:
            checkpoint.save(self._run.job.directory / run_directory.BEST, trainer.images, trainer.state(), keep=1)
        self._tell(trainer.images, alarms)

    def save(self, trainer: Trainer, seconds: float) -> None:
        directory, settings = self._run.job.directory, trainer.settings
        state = {**trainer.state(), "seconds": seconds}
        checkpoint.save(directory / run_directory.CHECKPOINTS, trainer.images, state)
        names = np.arange(_GRID_COLUMNS**2, dtype=np.uint64)
        values = latents.draw(0, names, settings.latent_dim, settings.prior)
        grid = images.grid(average.draw(average.calibrated(trainer.average, settings), values), _GRID_COLUMNS)
        samples = directory / run_directory.SAMPLES
        samples.mkdir(exist_ok=True)
        write_atomically(samples / f"{trainer.images:012d}.png", images.encode(grid, "png"))
        self._display.sampled(trainer.images, grid)
        report.write(directory, trainer.images)

    def complete(self, images: int) -> None:
        report.write(self._run.job.directory, images, complete=True)

    def _tell(self, images: int, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            self._display.alarmed(images, alarm)


def _describe(settings: Settings, machine: Machine, world: World) -> str:
    processes = f", {world.size} processes" if world.size > 1 else ""
    return (
        f"training {settings.recipe} on {settings.data_count:,} images of "
        f"{settings.size}x{settings.size}x{settings.channels}, {settings.held_out_count:,} held out, "
        f"width {settings.width}, {machine.device} {machine.precision}, "
        f"{machine.threads} thread{'s' if machine.threads > 1 else ''}{processes}"
    )


def _passed(every: int, before: int, now: int) -> bool:
    """Says whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


class _Stop:
    """Remembers the first SIGINT or SIGTERM; the second one ends the process as if nobody listened."""

    by: signal.Signals | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.by = signal.Signals(number)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    stop = _Stop()
    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
