"""What the commands say: results on standard output, what happened on standard error.

A result that nobody gets is an error; a note that nobody reads is none.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
        with suppress(OSError):
            sys.stderr.write(f"{text}\n")


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        # Python flushes at exit once more; nothing may be left for it to complain about
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        why = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"can't write to standard output: {why}") from error
