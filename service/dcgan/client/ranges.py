"""Ranges of indices that several servers draw side by side, given out in order.

Every image has a name, so it doesn't matter who draws it or how often. Each server takes the next range when it is
free, up to a few ranges ahead of the reader, which bounds memory. A server that fails gives its range back and is asked
again later; where all fail, so does the reader. A slow server holds nobody up: the range that the reader waits for is
drawn by a free server too, and whoever is first has drawn it.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias

from dcgan.client.results import Samples
from dcgan.errors import DcganError, InvalidRequest, LocalError, NotInBundle, Overloaded, UnknownDirection

STREAMS: Final = 2  # of a server: while one waits for its next range the other keeps the device busy; 4 were no faster
_AHEAD: Final = 4  # ranges of a stream that may be drawn before the reader takes them
_ASK_AGAIN_S: Final = 5.0  # after a failure; a server that is replaced comes back in seconds
_SAID_BY_ALL: Final = (InvalidRequest, LocalError, NotInBundle, UnknownDirection)  # errors that blame the request

Draw: TypeAlias = Callable[[range], Iterator[Samples]]
"""Streams the images of a range from one server."""


@contextmanager
def drawn(
    servers: Mapping[str, Draw], ranges: Iterator[range], patience_s: float, note: Callable[[str], None]
) -> Iterator[Iterator[list[bytes]]]:
    """Draws ranges; gives the encoded images of each, in order.

    When the block ends, what is still being drawn is dropped at its next chunk; close the clients to end it at once.

    Args:
        servers: by name.
        ranges: without a gap, each small enough that a few for each server fit into memory.
        patience_s: seconds for which a server may refuse a range because it is overloaded.
        note: told of every server that is lost, and that is back; called by any thread.

    The iterator raises the error of the last server where all have failed, and at once one that blames the request.
    """
    streams = [_Stream(name, draw, patience_s) for name, draw in servers.items() for _ in range(STREAMS)]
    work = _Work(ranges, streams)
    try:
        for stream in streams:
            threading.Thread(target=stream.run, args=(work, note), name=f"draw from {stream.server}").start()
        yield work.taken()
    finally:
        work.end()


@dataclass(eq=False, slots=True)
class _Part:
    """A range, the streams that draw it, and its images once it is drawn."""

    numbers: range
    streams: "list[_Stream]" = field(default_factory=list)
    images: list[bytes] | None = None


@dataclass(eq=False, frozen=True, slots=True)
class _Stream:
    """Draws from one server, one range after the other, in a thread of its own."""

    server: str
    draw: Draw
    patience_s: float

    def run(self, work: "_Work", note: Callable[[str], None]) -> None:
        """Draws until nothing is left."""
        while part := work.part_for(self):
            try:
                images = self._images(part, work)
            except Exception as error:  # of any kind: the reader would wait for ever for a thread that ended
                if work.failed(part, self, error):
                    note(f"goes on without {self.server}: {error}")
                work.pause(_ASK_AGAIN_S)
            else:
                if images and work.done(part, self, images):
                    note(f"{self.server} is back")

    def _images(self, part: _Part, work: "_Work") -> list[bytes]:
        """Draws a range; nothing where another server was faster or nobody wants it any more."""
        until = time.monotonic() + self.patience_s
        while True:
            images: list[bytes] = []
            try:
                for chunk in self.draw(part.numbers):
                    images += chunk.encoded
                    if work.ended or part.images is not None:
                        return []
            except Overloaded as error:
                if time.monotonic() > until:
                    raise
                work.pause(error.retry_after_s or 1.0)
            else:
                return images


class _Work:
    """What is to be drawn, between the streams and the reader."""

    def __init__(self, ranges: Iterator[range], streams: Sequence[_Stream]) -> None:
        self._ranges, self._streams = ranges, streams
        self._changed = threading.Condition()
        self._window = deque(map(_Part, islice(ranges, _AHEAD * len(streams))))
        self._lost: set[_Stream] = set()
        self._servers = {one.server for one in streams}
        self._failures: Counter[str] = Counter()  # by server, since a range was drawn
        self._error: Exception | None = None
        self.ended = False

    def taken(self) -> Iterator[list[bytes]]:
        """Gives the reader the images of each range."""
        while self._window:
            with self._changed:
                first = self._window[0]
                while first.images is None:
                    if self._error is not None:
                        raise self._error
                    self._changed.wait()
                self._window.popleft()
                self._window.extend(map(_Part, islice(self._ranges, 1)))
                self._changed.notify_all()
            yield first.images

    def end(self) -> None:
        """Lets the streams end."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, seconds)

    def part_for(self, stream: _Stream) -> _Part | None:
        """Waits for something to draw; None at the end."""
        with self._changed:
            while not self.ended:
                part = next(filter(self._free, self._window), None) or self._overdue(stream)
                if part:
                    part.streams.append(stream)
                    return part
                self._changed.wait()
        return None

    def done(self, part: _Part, stream: _Stream, images: list[bytes]) -> bool:
        """Takes what was drawn; says whether the server had been lost and is back."""
        with self._changed:
            part.images = images
            if isinstance(self._error, DcganError) and not isinstance(self._error, _SAID_BY_ALL):
                self._error = None  # all were lost while the reader had enough, and one is back
            self._failures.clear()
            self._changed.notify_all()
            was_lost = stream in self._lost
            self._lost.discard(stream)
            return was_lost and all(one.server != stream.server for one in self._lost)

    def failed(self, part: _Part, stream: _Stream, error: Exception) -> bool:
        """Takes back what could not be drawn; says whether the server is lost just now and others are left."""
        with self._changed:
            known = any(one.server == stream.server for one in self._lost)
            part.streams.remove(stream)
            self._lost.add(stream)
            self._failures[stream.server] += 1
            left = {one.server for one in self._streams if one not in self._lost}
            # one that was lost may be back but isn't asked at once: where there are others it gets another chance
            hopeless = not left and (len(self._servers) == 1 or min(self._failures[one] for one in self._servers) > 1)
            if hopeless or isinstance(error, _SAID_BY_ALL) or not isinstance(error, DcganError):
                self._error = error
            self._changed.notify_all()
            return not known and self._error is None and bool(left - {stream.server})

    @staticmethod
    def _free(part: _Part) -> bool:
        return part.images is None and not part.streams

    def _overdue(self, stream: _Stream) -> _Part | None:
        """Finds what the reader waits for, where all that may come after it is drawn and one other server draws it."""
        first = self._window[0] if self._window else None
        if first and first.images is None and len(first.streams) == 1 and first.streams[0].server != stream.server:
            return first
        return None
