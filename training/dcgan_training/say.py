"""What whoever works for minutes tells a person who waits, a line at a time."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line."""


def silent(_: str) -> None:
    """Takes a line for nobody."""
