"""What the commands say to the person who runs them, on stderr; stdout is for results."""

import sys


def say(message: str) -> None:
    """Says one line."""
    sys.stderr.write(f"{message}\n")
