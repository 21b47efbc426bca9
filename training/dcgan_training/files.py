"""Files that are there whole or not at all, even after the power fails."""

import os
from collections.abc import Iterable
from pathlib import Path

from dcgan.errors import OutputError
from dcgan_training.errors import DataError


def write_atomically(file: Path, content: bytes | memoryview) -> None:
    """Writes a file so that its name holds all of it or, after a kill or an error, what it held before.

    Raises:
        OSError: the disk is full or refuses; what was written is removed.
    """
    write_streamed(file, [content])


def write_streamed(file: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Writes a file likewise, of parts that are made one by one."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("wb") as out:
            for part in parts:
                out.write(part)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_file(file: Path) -> None:
    """Finds out before long work whether there is such a file.

    Raises:
        DataError: there is none.
    """
    if not file.is_file():
        raise DataError(file, "is no file" if file.exists() else "does not exist")


def check_writable(file: Path) -> None:
    """Finds out before long work whether its result could be written; leaves nothing behind.

    Raises:
        OutputError: it couldn't.
    """
    if file.is_dir():
        raise OutputError(f"{file}: is a directory; name a file")
    try:
        write_atomically(file.with_name(f"{file.name}.trial"), b"")
        file.with_name(f"{file.name}.trial").unlink()
    except OSError as error:
        raise output_error(error, file) from error


def is_within(place: Path, directory: Path) -> bool:
    """Says whether a place is a directory or below it, wherever links lead; of links in a circle it knows nothing."""
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(directory))


def output_error(error: OSError, place: Path, hint: str = "") -> OutputError:
    """Says which file the disk refused, or the directory where the system names none, and why; then the hint."""
    why = error.strerror or str(error)
    return OutputError(f"{error.filename or place}: {why}{f'; {hint}' if hint else ''}")
