"""The loop: one flat order of things, resumed exactly from the newest checkpoint.

Order and latents are functions of (seed, images seen), so a run that was killed and started again gives the weights
of one that was not, bit for bit on the same machine. When to read the losses, to save and to draw samples is counted
in images, never by the clock, and changes no weight.
"""

import fcntl
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import numpy as np
import torch

from dcgan import images, latents
from dcgan_training import average, checkpoint
from dcgan_training.config import Settings
from dcgan_training.data import Dataset, positions
from dcgan_training.errors import DivergedError, RunError
from dcgan_training.files import output_error, write_atomically
from dcgan_training.machine import Machine, keep_freed_memory
from dcgan_training.progress import Display, displaying
from dcgan_training.trainer import Losses, Trainer

READ_EVERY_IMAGES: Final = 10_000
_GRID_COLUMNS: Final = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of `train` ended: images seen so far, the signal that stopped it (None: complete)."""

    images: int
    stopped_by: signal.Signals | None


def train(settings: Settings, machine: Machine, data: Dataset, directory: Path, save_every: int) -> Outcome:
    """Trains until `settings.images` real images were shown, or until SIGINT or SIGTERM.

    Args:
        settings: of the run; a run that is already in `directory` must have the same.
        machine: where it is computed.
        data: the images, of the size and channels that `settings` says.
        directory: of the run: config.json, checkpoints/, samples/, events/. Made if it isn't there.
        save_every: images between two checkpoints.

    Raises:
        RunError: `directory` holds something else, or another process trains there.
        DivergedError: a loss or a weight is no longer a finite number.
        OutputError: something can't be written; the last good checkpoint is named.
    """
    keep_freed_memory()
    try:
        with _claimed(directory, settings), _stop_signals() as stop:
            return _loop(settings, machine, data, directory, save_every, stop)
    except torch.OutOfMemoryError as error:
        raise MemoryError from error
    except OSError as error:
        raise output_error(error, directory, checkpoint.last_good(directory / "checkpoints")) from error


def _loop(
    settings: Settings, machine: Machine, data: Dataset, directory: Path, save_every: int, stop: "_Stop"
) -> Outcome:
    trainer = Trainer(settings, machine)
    notes = _resume(trainer, directory / "checkpoints")
    saved = trainer.images
    with displaying(directory, trainer.images, settings.images) as display:
        for line in [_describe(settings, machine), *notes]:
            display.say(line)
        while trainer.images < settings.images and stop.by is None:
            before = trainer.images
            trainer.step(*_batch(settings, data, before))
            if _passed(READ_EVERY_IMAGES, before, trainer.images):
                display.read(trainer.images, _finite_losses(trainer, directory))
            if _passed(save_every, before, trainer.images):
                _save(trainer, directory, display)
                saved = trainer.images
        if saved != trainer.images:
            _save(trainer, directory, display)
    return Outcome(trainer.images, stop.by if trainer.images < settings.images else None)


def _resume(trainer: Trainer, checkpoints: Path) -> list[str]:
    """Takes up the newest checkpoint, if there is one; gives what its reader should know."""
    state, notes = checkpoint.load_newest(checkpoints, trainer.machine.device)
    if state is None:
        return notes
    trainer.load(state)
    differences = trainer.machine.differences(Machine(**state["machine"]))
    if differences:
        notes.append(f"warning: not the same machine, so not bit for bit the same run: {'; '.join(differences)}")
    return [*notes, f"continuing after {trainer.images:,} images"]


def _batch(settings: Settings, data: Dataset, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives real images, uint8 (batch, h, w, c), and latents, float32 (batch, dim), for images `first` and on."""
    rows = data.images[positions(settings.seed, first, settings.batch_size, len(data))]
    names = np.arange(first, first + settings.batch_size, dtype=np.uint64)
    values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior, stream=latents.TRAINING_STREAM)
    return torch.from_numpy(rows), torch.from_numpy(values)


def _describe(settings: Settings, machine: Machine) -> str:
    return (
        f"training {settings.recipe} on {settings.data_count:,} images of "
        f"{settings.size}x{settings.size}x{settings.channels}, width {settings.width}, {machine.device} "
        f"{machine.precision}, {machine.threads} thread{'s' if machine.threads > 1 else ''}"
    )


def _passed(every: int, before: int, now: int) -> bool:
    """Says whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


def _finite_losses(trainer: Trainer, directory: Path) -> Losses:
    losses = trainer.read_losses()
    if not (math.isfinite(losses.discriminator) and math.isfinite(losses.generator)):
        raise DivergedError(
            f"the losses are no longer finite after {trainer.images} images "
            f"(discriminator {losses.discriminator}, generator {losses.generator}); "
            f"{checkpoint.last_good(directory / 'checkpoints')}"
        )
    return losses


def _save(trainer: Trainer, directory: Path, display: Display) -> None:
    """Writes a checkpoint, then a grid of what the average draws from seed 0 now."""
    _finite_losses(trainer, directory)
    checkpoint.save(directory / "checkpoints", trainer.images, trainer.state())
    settings = trainer.settings
    names = np.arange(_GRID_COLUMNS**2, dtype=np.uint64)
    values = latents.draw(0, names, settings.latent_dim, settings.prior)
    drawn = average.draw(average.calibrated(trainer.average, settings), values)
    grid = images.grid(drawn, _GRID_COLUMNS)
    (directory / "samples").mkdir(exist_ok=True)
    write_atomically(directory / "samples" / f"{trainer.images:012d}.png", images.encode(grid, "png"))
    display.sampled(trainer.images, grid)


@contextmanager
def _claimed(directory: Path, settings: Settings) -> Iterator[None]:
    """Makes the run directory, or checks that it holds this run; no second process gets in meanwhile."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "config.json"
    if file.exists():
        settings.check_continues(Settings.load(file), directory)
    elif any(path.suffix != ".partial" for path in directory.iterdir()):  # one may be left of a start that was killed
        raise RunError(f"{directory} holds other files; choose an empty or a new directory for --output")
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"{directory}: another process trains there") from None
    else:
        settings.save(file)
        yield
    finally:
        os.close(lock)


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
