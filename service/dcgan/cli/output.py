"""What the commands say: results on standard output, what happened on standard error.

A result that nobody gets is an error; a note that nobody reads is none.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from dcgan.errors import OutputError


def say(text: str) -> None:
    """Writes a line to standard output.

    Raises:
        OutputError: it is closed, full, or can't hold the text.
        BrokenPipeError: nobody reads it any more.
    """
    if sys.stdout is None:
        raise OutputError("can't write to standard output: it is closed")
    with _writing():
        sys.stdout.write(f"{text}\n")


def flush() -> None:
    """Brings out what was said, while what goes wrong can still be told. Raises as `say`."""
    if sys.stdout is not None:
        with _writing():
            sys.stdout.flush()


def note(text: str) -> None:
    """Writes a line to standard error, if there is one."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        except OSError:
            _silence(sys.stderr)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        _silence(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        why = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"can't write to standard output: {why}") from error


def _silence(stream: TextIO) -> None:
    """Leads a stream nowhere: Python flushes it at exit once more, and would complain of what is left in it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
