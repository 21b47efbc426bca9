"""The directory of a run: what lies in it, and that only one process at a time trains there.

config.json      settings (`config.Settings`)
checkpoints/     the newest states, `best/` the best by figure (`checkpoint`)
history.jsonl    readings, checks and alarms (`history`); events/ the same for TensorBoard
samples/         grids from latents that never change
held_out.npy     images that the run never trains on, uint8 (n, height, width, channels)
classifier.pt    of the labels, which the watch measures by where it was given any (`label_classifier`)
data.npy         images that were decoded from a folder or a zip (`data.load`)
report.html      what a person looks at (`report`)
published        generator of the bundle that `dcgan-train run` made of it, and the requirements that it met
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan_training import checkpoint
from dcgan_training.config import Settings
from dcgan_training.data import Images, blocks
from dcgan_training.data.store import header
from dcgan_training.errors import RunError
from dcgan_training.files import output_error, write_streamed

CONFIG: Final = "config.json"
CHECKPOINTS: Final = "checkpoints"
BEST: Final = "best"
SAMPLES: Final = "samples"
HELD_OUT: Final = "held_out.npy"
CLASSIFIER: Final = "classifier.pt"
DATA: Final = "data.npy"
PUBLISHED: Final = "published"

_LEFT_BY_A_KILL: Final = frozenset({DATA, "data.json", HELD_OUT})  # may stand here before there is a config


@contextmanager
def claimed(directory: Path, rank: int = 0) -> Iterator[None]:
    """Makes a run directory, or takes one that holds a run; no second process gets in meanwhile.

    A directory that is still empty when something is refused is removed again. Of several processes of one run only
    the first one, of rank 0, claims it.

    Raises:
        RunError: it holds other files, or another process trains there.
        OutputError: it can't be made.
    """
    if rank > 0:
        yield
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, directory) from error
    _refuse_foreign(directory)
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RunError(f"{directory}: another process trains there") from None
    try:
        yield
    finally:
        with suppress(OSError):  # it isn't empty: a run has begun
            directory.rmdir()
        os.close(lock)


def settle(directory: Path, settings: Settings, held_out: Images) -> None:
    """Writes the settings of a run, or of one that goes on for longer, and the images that it never trains on.

    Raises:
        RunError: there is a run with others.
        OutputError: they can't be written.
    """
    file = directory / CONFIG
    if file.exists():
        settings.check_continues(Settings.load(file), directory, checkpoint.images_shown(directory / CHECKPOINTS))
    try:
        pixels = (block.data for block in blocks(held_out))
        write_streamed(directory / HELD_OUT, chain([header(held_out.shape)], pixels))
        settings.save(file)
    except OSError as error:
        raise output_error(error, directory) from error


def begun(directory: Path) -> Settings | None:
    """Gives the settings of a run that has a checkpoint, so that what it began with is needed no more.

    Raises:
        RunError: it has no settings, or others than a run's.
    """
    return Settings.load(directory / CONFIG) if checkpoint.images_shown(directory / CHECKPOINTS) else None


def held_out(directory: Path) -> NDArray[np.uint8]:
    """Maps the images that a run never trains on, which `settle` wrote.

    Raises:
        OutputError: they can't be read again.
    """
    try:
        mapped: NDArray[np.uint8] = np.load(directory / HELD_OUT, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except OSError as error:
        raise output_error(error, directory) from error
    return mapped


def _refuse_foreign(directory: Path) -> None:
    if (directory / CONFIG).exists():
        return
    names = {path.name for path in directory.iterdir() if path.suffix != ".partial"}
    somebodys_data = DATA in names and "data.json" not in names  # ours never stands alone
    if somebodys_data or names - _LEFT_BY_A_KILL:
        raise RunError(f"{directory} holds other files; choose an empty or a new directory for --output")
