"""Structured logs on standard error: lines for people on a terminal, JSON otherwise.

Lines are handed to a thread that writes them, many at a time, so that no call waits for a pipe. If whoever reads the
pipe stops reading, lines beyond a bound are dropped and counted, and the server serves on.
"""

import atexit
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TextIO

import orjson
import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor

_MAX_WAITING: Final = 10_000  # lines, about 4 MB
_TRACEBACK: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # latents are never logged
_GATHER_S: Final = 0.02  # how long lines gather before they are written together


def configure(level: str) -> None:
    """Sends events of `level` and above to standard error; the rest is written when the process ends."""
    if sys.stderr.isatty():
        form: list[Processor] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        form = [structlog.processors.ExceptionRenderer(_TRACEBACK), structlog.processors.JSONRenderer(_json)]
    writer = _Writer(sys.stderr)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *form,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )


def _json(event: EventDict, default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default=default).decode()


class _Writer:
    """Takes lines from any thread and writes them from its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def msg(self, line: str) -> None:
        """Takes one line."""
        if len(self._lines) >= _MAX_WAITING:
            self._dropped += 1
            return
        self._lines.append(line)
        if not self._waiting.is_set():
            self._waiting.set()

    debug = info = warning = error = critical = msg

    def _write(self) -> None:
        while not self._closed.is_set():
            self._waiting.wait()
            self._closed.wait(_GATHER_S)
            self._waiting.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if self._dropped:
                lines.append(f'{{"event": "log lines dropped", "count": {self._dropped}, "level": "warning"}}')
                self._dropped = 0
            try:
                self._stream.write("".join(f"{line}\n" for line in lines))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads; there is nowhere left to say so
                return

    def _close(self) -> None:
        self._closed.set()
        self._waiting.set()
        self._thread.join(timeout=1.0)  # a reader that stopped must not keep the process
