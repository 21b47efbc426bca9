"""How far a long command is: a bar where standard error is a terminal, else a line now and then.

Rate and time left count what this run has done, not what it found. Nothing here has a thread or a timer.
"""

import sys
import time
from types import TracebackType
from typing import Final, Self

from dcgan.cli.output import note

_LINE_S: Final = 10.0  # from one line to the next


class Progress:
    """Of `total` images, `found` of which were there before; use it in a `with` statement."""

    def __init__(self, total: int, found: int) -> None:
        self._total, self._found, self._done = total, found, found
        self._began = self._said = time.monotonic()
        self._bar = None
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # else it starts a thread
            self._bar = tqdm(total=total, initial=found, unit=" images", unit_scale=True, file=sys.stderr, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        """Shows that so many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._said >= _LINE_S:
            self._said = time.monotonic()
            rate = (self._done - self._found) / (self._said - self._began)
            left_s = (self._total - self._done) / rate
            note(f"{self._done:,} of {self._total:,} images, {rate:,.0f} images/s, {_duration(left_s)} left")

    def note(self, text: str) -> None:
        """Writes a line, above the bar if there is one."""
        if self._bar is None:
            note(text)
        else:
            self._bar.write(text, file=sys.stderr)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
