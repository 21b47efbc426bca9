"""What a run is made of: the images it trains on and those it never sees, brought together in its directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcgan_training import run_directory
from dcgan_training.data import Dataset, Images, Selection, check_test_set, digest_of, load, split
from dcgan_training.distributed import World


@dataclass(frozen=True, slots=True)
class Material:
    """The images of a run.

    Attributes:
        images: of the whole data set, uint8 (n, size, size, channels); maybe a read-only map of a file.
        rows: places of those that are trained on, int64, ascending.
        held_out: images that are not, uint8 (m, size, size, channels); maybe a map likewise.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    held_out: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a run will be made of, before it is settled that this run is what its directory is for.

    Attributes:
        data: the whole data set.
        rows: as `Material.rows`.
        held_out: images to be written into the directory and to be mapped from there.
        facts: what `Settings` says of them.
    """

    data: Dataset
    rows: NDArray[np.int64]
    held_out: Images
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the images of a run are from.

    Attributes:
        data: as `data.load` reads it.
        size: to crop and resize to, px; None takes the images as they are.
        broken: what to do about image files that can't be read.
        test_set: images to hold out instead of a part of the data.
    """

    data: Path
    size: int | None
    broken: Literal["refuse", "skip"]
    test_set: Path | None


def gather(source: Source, directory: Path, world: World) -> Gathered:
    """Reads the images of a run and splits them. The first process decodes; the others take what it stored.

    Raises:
        DataError: the images can't be read or trained on, or the test set says nothing of them.
        OutputError: the directory can't be written to.
    """
    if world.rank > 0:
        world.wait()
    gathered = _gathered(source, directory)
    if world.rank == 0:
        world.wait()
    return gathered


def _gathered(source: Source, directory: Path) -> Gathered:
    data = load(source.data, source.size, broken=source.broken, store=directory / run_directory.DATA)
    rows, held_out = _parts(source, data)
    return Gathered(data, rows, held_out, _facts(source, data, rows, held_out))


def _parts(source: Source, data: Dataset) -> tuple[NDArray[np.int64], Images]:
    """Gives the places of the images to train on, and those that are held out, of which none is copied."""
    if source.test_set is None:
        parts = split(data.images)
        return parts.train, Selection(data.images, parts.held_out)
    test = load(source.test_set, source.size, broken=source.broken)
    check_test_set(test, data)
    return np.arange(len(data)), test.images


def _facts(source: Source, data: Dataset, rows: NDArray[np.int64], held_out: Images) -> dict[str, Any]:
    return {
        "data": str(source.data),
        "data_digest": data.digest,
        "data_count": len(rows),
        "size": data.size,
        "channels": data.channels,
        "held_out": "" if source.test_set is None else str(source.test_set),
        "held_out_count": len(held_out),
        "held_out_digest": digest_of(held_out),
    }
