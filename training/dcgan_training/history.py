"""What a run measured, one JSON line each: readings of the losses, checks of the samples, alarms.

Owns `history.jsonl` in the run directory. What a killed process wrote beyond its last checkpoint is dropped when the
run is continued, since it makes that part again: two histories of one run differ in nothing but its speed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, get_args

from dcgan_training.errors import RunError
from dcgan_training.files import write_atomically
from dcgan_training.trainer import Losses

FILE: Final = "history.jsonl"
_LEAST_VARIANCE: Final = 1e-12  # of images that are all the same
_MOST_IMAGES: Final = 10**15  # that a run can be told to see
_SHOWN: Final = 200  # letters of what is wrong with a line

_Floats = TypeVar("_Floats", "Check", Losses)

Kind = Literal["collapse", "diverged", "discriminator-won", "never-moved", "over-training"]


@dataclass(frozen=True, slots=True)
class Check:
    """What the samples of the averaged generator were worth; the same latents and real images in every check.

    Attributes:
        diversity: of 512 samples, relative to that of as many held-out images, in random features; 1 is theirs.
        duplicates: share of these samples that are nearly another one's double, 0 to 1.
        frechet_distance: of the samples from the held-out images, in a classifier's features where the run was given
            labels, else in random ones, as all that follows; 0 is the best.
        precision: share of samples that lie among the held-out images, 0 to 1.
        coverage: share of held-out images that have a sample beside them, 0 to 1.
        real_distance: the Fréchet distance of one half of the held-out images from the other: what noise alone makes.
        real_variance: the trace of the covariance of their features: how far one mean image drawn again and again is.
    """

    diversity: float
    duplicates: float
    frechet_distance: float
    precision: float
    coverage: float
    real_distance: float
    real_variance: float

    @property
    def share(self) -> float:
        """The distance as a share of the real images' variance."""
        return self.frechet_distance / max(self.real_variance, _LEAST_VARIANCE)

    @property
    def real_share(self) -> float:
        """The same of the real images' own distance."""
        return self.real_distance / max(self.real_variance, _LEAST_VARIANCE)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something went wrong: what was seen, since when, and what to do."""

    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Mean losses since the reading before; images per second is the one part that another run won't repeat."""

    losses: Losses
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Record:
    """One line: what was found when `images` real images had been seen."""

    images: int
    what: Reading | Check | Alarm


def figure(value: float) -> str:
    """Writes a distance in three digits, or as many as a whole number needs: "0.612", "84.1", "6,220"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


class History:
    """The records of a run in their order, on the disk as they come."""

    def __init__(self, file: Path | None, records: list[Record]) -> None:
        self._file = file
        self.records = records

    @classmethod
    def open(cls, directory: Path, images: int) -> Self:
        """Takes up the history of a run that goes on after `images`; what was recorded beyond them is dropped.

        Raises:
            RunError: the file holds something else.
            OSError: the disk refuses.
        """
        file = directory / FILE
        there = read(directory)
        kept = [record for record in there if record.images <= images]
        if len(kept) < len(there) or _is_torn(file):
            write_atomically(file, "".join(map(_line, kept)).encode())
        return cls(file, kept)

    @classmethod
    def unwritten(cls) -> Self:
        """Gives a history that is kept in memory alone."""
        return cls(None, [])

    def add(self, images: int, what: Reading | Check | Alarm) -> None:
        """Records something; raises OSError where the disk refuses."""
        record = Record(images, what)
        self.records.append(record)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(_line(record))


def read(directory: Path) -> list[Record]:
    """Gives the records of a run's directory, none where it has no history; a last line that was cut off is left out.

    Raises:
        RunError: the file holds something else; names the line.
        OSError: the disk refuses.
    """
    file = directory / FILE
    return parse(file.read_bytes(), file) if file.exists() else []


def parse(content: bytes, file: Path) -> list[Record]:
    """Reads records from lines; `file` is what an error names.

    Raises:
        RunError: a whole line is no record.
    """
    *whole, _ = content.split(b"\n")
    records = []
    for number, line in enumerate(whole, start=1):
        try:
            records.append(_record(json.loads(line.decode())))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise RunError(
                f"{file} line {number}: this is no record of a run ({str(error)[:_SHOWN]}); no weight depends on it: "
                "delete the line to go on without it"
            ) from error
    return records


def _record(line: Mapping[str, Any]) -> Record:
    """Raises ValueError, TypeError, KeyError or OverflowError where a line holds anything else."""
    images = line["images"]
    if type(images) is not int or not 0 <= images <= _MOST_IMAGES:
        raise ValueError(f"images is {images!r}")
    if "losses" in line:
        return Record(images, Reading(_floats(Losses, line["losses"]), _number("images_per_second", line)))
    if "check" in line:
        return Record(images, _floats(Check, line["check"]))
    alarm = Alarm(**line["alarm"])
    if alarm.kind not in get_args(Kind) or not isinstance(alarm.message, str):
        raise ValueError(f"its alarm is {line['alarm']}")
    return Record(images, alarm)


def _floats(kind: type[_Floats], fields: Mapping[str, Any]) -> _Floats:
    return kind(**{name: _number(name, fields) for name in fields})


def _number(name: str, fields: Mapping[str, Any]) -> float:
    value = fields[name]
    if type(value) not in (int, float):
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def _line(record: Record) -> str:
    what = record.what
    if isinstance(what, Reading):
        content = {"losses": asdict(what.losses), "images_per_second": what.images_per_second}
    else:
        content = {"check" if isinstance(what, Check) else "alarm": asdict(what)}
    return json.dumps({"images": record.images, **content}) + "\n"


def _is_torn(file: Path) -> bool:
    return file.exists() and not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
