"""What the commands say to the person who runs them, on stderr; stdout is for results."""

import sys
from contextlib import suppress
from typing import NoReturn

from rich.console import Console, RenderableType


def say(message: str) -> None:
    """Says one line, if there is anyone to hear it."""
    if sys.stderr is None:
        return
    with suppress(BrokenPipeError):
        sys.stderr.write(f"{message}\n")


def show(table: RenderableType) -> None:
    """Prints a table on stdout; raises BrokenPipeError where nobody reads it, and OSError where the disk is full."""
    _Console().print(table)


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Lets the program end by its own rules; rich would end it here with 1."""
        raise BrokenPipeError
