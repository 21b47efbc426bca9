"""A model directory: the versions of one model, each a bundle in a directory called like its version.

The newest serves. Names are compared as people do, numbers by their value, so 10 is newer than 9. To publish is to
rename a finished bundle into the directory, to roll back is to rename the newest out of sight: one step of the file
system each. Names that begin with a dot don't count, nor does a directory that has no manifest yet.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from dcgan.bundle.manifest import FILE_NAME
from dcgan.errors import BundleError, OutputError

_NUMBER: Final = re.compile(r"(\d+)")
_VERSION: Final = re.compile(r"\d[\d._-]*")

State: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Name, size, time of change and inode of each file: equal where nothing was written in between."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version as its directory looked at one moment."""

    path: Path
    state: State

    @property
    def name(self) -> str:
        """The version, which its manifest has to state too."""
        return self.path.name

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size, _, _ in self.state)


def stated_by(path: Path) -> dict[str, str]:
    """Reads name and version off a bundle's place: models/fashion/2 is version 2 of fashion; others say nothing."""
    path = path.absolute()
    return {"name": path.parent.name, "version": path.name} if _VERSION.fullmatch(path.name) else {}


def holds_versions(path: Path) -> bool:
    """Tells a model directory from a bundle."""
    return path.is_dir() and not (path / FILE_NAME).exists()


def newest_first(directory: Path) -> list[Path]:
    """Lists the versions in a model directory. Raises OSError where it can't be read."""
    there = [path for path in directory.iterdir() if not path.name.startswith(".") and (path / FILE_NAME).is_file()]
    return sorted(there, key=_age, reverse=True)


def seen(path: Path) -> Version:
    """Looks at the files of a version. Raises OSError where they can't be listed, or go away meanwhile."""
    facts = ((file.name, file.stat()) for file in sorted(path.iterdir()))
    return Version(path, tuple((name, fact.st_size, fact.st_mtime_ns, fact.st_ino) for name, fact in facts))


def roll_back(directory: Path) -> tuple[Path, Path]:
    """Withdraws the newest version: renames it to a hidden name.

    Returns:
        Where it is now, and the version that is the newest from now on.

    Raises:
        BundleError: this is no model directory, or it holds no older version.
        OutputError: the directory can't be changed.
    """
    if not holds_versions(directory):
        raise BundleError(directory, f"is no directory of versions; name the one that holds them, not {directory.name}")
    try:
        there = newest_first(directory)
        if len(there) < 2:
            raise BundleError(directory, "holds no older version to go back to")
        newest, next_newest = there[:2]
        hidden = next(path for path in _hidden(newest) if not path.exists())
        newest.rename(hidden)
    except OSError as error:
        raise OutputError(f"{directory} can't be changed: {error.strerror}") from error
    return hidden, next_newest


def _age(path: Path) -> list[tuple[bool, int, str]]:
    """What versions are sorted by: text comes before numbers, and these by their value."""
    parts = _NUMBER.split(path.name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part]


def _hidden(version: Path) -> Iterator[Path]:
    return (version.with_name(f".{version.name}.withdrawn-{number}") for number in itertools.count(1))
