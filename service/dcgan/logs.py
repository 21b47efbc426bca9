"""Structured logs on standard error: lines for people on a terminal, JSON otherwise.

Events are handed to a thread that writes them as lines, many at a time: no call waits for a pipe, and what makes a line
costs about half of what it does in the midst of a call, where its code is no longer in the processor's caches. If
whoever reads the pipe stops reading, events beyond a bound are dropped and counted, and the server serves on.
"""

import atexit
import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson
import structlog
import structlog.tracebacks
from structlog.typing import EventDict

_MAX_WAITING: Final = 10_000  # events, about 10 MB
_TRACEBACK: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # latents are never logged
_GATHER_S: Final = 0.05  # how long events gather before they are written together


def configure(level: str) -> None:
    """Sends events of `level` and above to standard error; the rest is written when the process ends."""
    writer = _Writer(sys.stderr, _readable() if sys.stderr.isatty() else _json)
    structlog.configure(
        processors=[_handed_over],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )


def _handed_over(_: object, level: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    """Gives an event to the writer as it is, with its level and time."""
    event["level"], event["timestamp"] = level, datetime.now(UTC)
    return (event,), {}


def _readable() -> Callable[[EventDict], str]:
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)

    def line(event: EventDict) -> str:
        event["timestamp"] = f"{event['timestamp']:%Y-%m-%dT%H:%M:%S.%fZ}"
        return console(None, event["level"], event)

    return line


def _json(event: EventDict) -> str:
    error = event.pop("exc_info", None)
    if error is not None:
        event["exception"] = _TRACEBACK((type(error), error, error.__traceback__))
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_UTC_Z).decode()
    except TypeError:  # text that isn't Unicode, as of a file's name
        return json.dumps(event, default=str)


class _Writer:
    """Takes events from any thread and writes them from its own."""

    def __init__(self, stream: TextIO, line_of: Callable[[EventDict], str]) -> None:
        self._stream, self._line_of = stream, line_of
        self._events: deque[EventDict] = deque()
        self._dropped = 0
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def msg(self, event: EventDict) -> None:
        """Takes one event."""
        if len(self._events) >= _MAX_WAITING:
            self._dropped += 1
            return
        self._events.append(event)
        if not self._waiting.is_set():
            self._waiting.set()

    debug = info = warning = error = critical = msg

    def _write(self) -> None:
        closed = False
        while not closed:
            self._waiting.wait()
            closed = self._closed.wait(_GATHER_S)  # before looking, so that what was logged before is written
            self._waiting.clear()
            events = [self._events.popleft() for _ in range(len(self._events))]
            if self._dropped:
                now = datetime.now(UTC)
                events.append(
                    {"event": "log lines dropped", "count": self._dropped, "level": "warning", "timestamp": now}
                )
                self._dropped = 0
            try:
                self._stream.write("".join(f"{self._line_of(event)}\n" for event in events))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads; there is nowhere left to say so
                return

    def _close(self) -> None:
        self._closed.set()
        self._waiting.set()
        self._thread.join(timeout=1.0)  # a reader that stopped must not keep the process
