"""Files that are there whole or not at all, even after the power fails."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcgan.errors import OutputError


def write_atomically(file: Path, content: bytes | memoryview) -> None:
    """Writes a file so that its name holds all of it or, after a kill or an error, what it held before.

    Raises:
        OSError: the disk is full or refuses; what was written is removed.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_array(file: Path, values: NDArray[np.generic]) -> None:
    """Writes an array in NumPy's format, likewise."""
    content = io.BytesIO()
    np.save(content, values)
    write_atomically(file, content.getbuffer())


def output_error(error: OSError, place: Path, hint: str = "") -> OutputError:
    """Says which file the disk refused, or the directory where the system names none, and why; then the hint."""
    why = error.strerror or str(error)
    return OutputError(f"{error.filename or place}: {why}{f'; {hint}' if hint else ''}")
