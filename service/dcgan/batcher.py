"""Batches: rows of many callers, one run of the device.

Callers submit runs of rows. Each device thread, when idle, takes its share of what waits (waiting rows over idle
threads, up to the largest batch), draws their latents, runs the generator, and gives every caller its images.
There is no timer: while a batch runs the next one gathers. Every waiting run gets an equal part of a batch in turn,
so one image never waits behind ten thousand. A caller that leaves takes its waiting rows along and nobody else's.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dcgan.errors import Overloaded
from dcgan.latents import NO_TRUNCATION, Floats32, Prior, draw
from dcgan.metrics import Metrics

Images: TypeAlias = NDArray[np.uint8]

_RATE_MEMORY: Final = 0.9  # weight of the past in the measured rate, per batch


@dataclass(frozen=True, slots=True)
class SeedRows:
    """Rows named by a seed and successive indices from `first_index`; truncation is inf where there is none."""

    seed: int
    first_index: int
    count: int
    truncation: float = NO_TRUNCATION

    def part(self, start: int, stop: int) -> "SeedRows":
        """Takes rows start to stop - 1."""
        return SeedRows(self.seed, self.first_index + start, stop - start, self.truncation)


@dataclass(frozen=True, slots=True)
class ValueRows:
    """Rows given by their values: latents float32 (n, dim)."""

    latents: Floats32

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.latents)

    def part(self, start: int, stop: int) -> "ValueRows":
        """Takes rows start to stop - 1."""
        return ValueRows(self.latents[start:stop])


Rows: TypeAlias = SeedRows | ValueRows


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of a run of rows: images uint8 (n, height, width, channels), latents float32 (n, dim)."""

    images: Images
    latents: Floats32
    queue_s: float
    device_s: float


class Runner(Protocol):
    """What a batcher needs of a generator; `threads` may call `run` at once."""

    threads: int
    largest_batch: int

    def run(self, latents: Floats32) -> Images:
        """Draws uint8 images (n, height, width, channels) for float32 latents (n, dim)."""


@dataclass(slots=True, eq=False)
class _Run:
    """The rows of one caller, and what is there of its answer."""

    rows: Rows
    answer: asyncio.Future[Drawn]
    images: Images
    latents: Floats32
    submitted: float = field(default_factory=time.monotonic)
    taken: int = 0  # rows given to batches
    done: int = 0  # rows whose images are there
    queue_s: float = 0.0
    device_s: float = 0.0

    @property
    def waiting(self) -> int:
        return self.rows.count - self.taken


_Part: TypeAlias = tuple[_Run, int, int]  # rows start to stop - 1 of a run


class Batcher:
    """Draws rows on a device, in batches of whatever waits. Use as `async with`, from one event loop.

    Args:
        runner: the generator.
        dim, prior: of its latents.
        shape: height, width, channels of its images.
        max_queued_rows: rows that may wait; a submission beyond them is refused.
        metrics: what to count in.
        on_death: called from the thread if a device thread ends by an error that is no batch's own.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        dim: int,
        prior: Prior,
        shape: tuple[int, int, int],
        max_queued_rows: int,
        metrics: Metrics,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._runner, self._dim, self._prior, self._shape = runner, dim, prior, shape
        self._max_queued_rows = max_queued_rows
        self._metrics, self._on_death = metrics, on_death
        self._queue: deque[_Run] = deque()
        self._waiting_rows = 0
        self._idle = 0
        self._closed = False
        self._rate = 0.0  # rows per second of one thread, measured
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"device-{number}", daemon=True)
            for number in range(runner.threads)
        ]

    async def __aenter__(self) -> "Batcher":
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    async def submit(self, rows: Rows) -> Drawn:
        """Waits for the images of some rows.

        Raises:
            Overloaded: too many rows wait already; says when to come back.
            Exception: whatever the device raised for a batch with one of these rows.
        """
        shape = (rows.count, *self._shape)
        run = _Run(
            rows,
            self._loop.create_future(),
            np.empty(shape, np.uint8),
            np.empty((rows.count, self._dim), np.float32),
        )
        with self._changed:
            self._admit(rows.count)
            self._queue.append(run)
            self._set_waiting(self._waiting_rows + rows.count)
            self._changed.notify(min(rows.count, len(self._threads)))
        try:
            return await run.answer
        except BaseException:  # the caller left, or a batch with some of the rows failed
            self._drop(run)
            raise

    def _admit(self, count: int) -> None:
        """Refuses rows that find no room. An empty queue takes any number, so that no request is refused for ever."""
        if self._waiting_rows and self._waiting_rows + count > self._max_queued_rows:
            rate = self._rate * len(self._threads)
            wait_s = self._waiting_rows / rate if rate else 1.0
            raise Overloaded(self._waiting_rows, self._max_queued_rows, min(60.0, max(0.01, wait_s)))

    def _drop(self, run: _Run) -> None:
        with self._changed:
            if run.waiting:
                self._set_waiting(self._waiting_rows - run.waiting)
                run.taken = run.rows.count
                self._queue.remove(run)

    def _set_waiting(self, rows: int) -> None:
        self._waiting_rows = rows
        self._metrics.queued_rows.set(rows)
        self._metrics.saturation.set(min(1.0, rows / self._max_queued_rows))

    # What follows runs in the device threads.

    def _serve(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._run(batch)
        except BaseException as error:
            self._on_death(error)
            raise

    def _next_batch(self) -> list[_Part] | None:
        """Waits for rows and takes this thread's share of them; None when the batcher is closed."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting_rows or self._closed)
            share = -(-self._waiting_rows // self._idle)
            self._idle -= 1
            if not self._waiting_rows:
                return None
            return self._take(min(share, self._runner.largest_batch))

    def _take(self, room: int) -> list[_Part]:
        """Fills a batch by turns: each waiting run gives its part of the room left, then goes to the back."""
        batch: list[_Part] = []
        now = time.monotonic()
        taken = 0
        while taken < room and self._queue:
            run = self._queue.popleft()
            count = min(run.waiting, max(1, (room - taken) // (len(self._queue) + 1)))
            if run.taken == 0:
                run.queue_s = now - run.submitted
                self._metrics.stage_seconds.labels("queue").observe(run.queue_s)
            batch.append((run, run.taken, run.taken + count))
            run.taken += count
            taken += count
            if run.waiting:
                self._queue.append(run)
        self._set_waiting(self._waiting_rows - taken)
        return batch

    def _run(self, batch: list[_Part]) -> None:
        started = time.monotonic()
        try:
            latents = self._latents(batch)
            images = self._runner.run(latents)
        except Exception as error:  # the batch's callers get it, whatever the device raises; the thread goes on
            self._loop.call_soon_threadsafe(_fail, batch, error)
            return
        seconds = time.monotonic() - started
        self._count(len(latents), seconds)
        row = 0
        for run, start, stop in batch:
            run.images[start:stop] = images[row : row + stop - start]
            run.latents[start:stop] = latents[row : row + stop - start]
            row += stop - start
        self._loop.call_soon_threadsafe(_finish, batch, seconds)

    def _latents(self, batch: list[_Part]) -> Floats32:
        """Draws or copies the latents of a batch: float32 (n, dim); all named ones in one go."""
        latents = np.empty((sum(stop - start for _, start, stop in batch), self._dim), np.float32)
        named: list[tuple[slice, SeedRows]] = []
        row = 0
        for run, start, stop in batch:
            where = slice(row, row := row + stop - start)
            part = run.rows.part(start, stop)
            if isinstance(part, SeedRows):
                named.append((where, part))
            else:
                latents[where] = part.latents
        if named:
            drawn = _draw([part for _, part in named], self._dim, self._prior)
            row = 0
            for where, part in named:
                latents[where] = drawn[row : row + part.count]
                row += part.count
        return latents

    def _count(self, rows: int, seconds: float) -> None:
        self._metrics.batch_rows.observe(rows)
        self._metrics.images.inc(rows)
        self._metrics.stage_seconds.labels("device").observe(seconds)
        rate = rows / max(seconds, 1e-9)
        with self._changed:
            self._rate = rate if not self._rate else _RATE_MEMORY * self._rate + (1.0 - _RATE_MEMORY) * rate


def _draw(parts: list[SeedRows], dim: int, prior: Prior) -> Floats32:
    counts = [part.count for part in parts]
    indices = np.concatenate([np.uint64(part.first_index) + np.arange(part.count, dtype=np.uint64) for part in parts])
    truncated = any(part.truncation != NO_TRUNCATION for part in parts)
    return draw(
        np.repeat(np.array([part.seed for part in parts], np.uint64), counts),
        indices,
        dim,
        prior,
        truncations=np.repeat([part.truncation for part in parts], counts) if truncated else None,
    )


# What follows runs in the event loop.


def _finish(batch: list[_Part], seconds: float) -> None:
    for run, start, stop in batch:
        run.done += stop - start
        run.device_s += seconds
        if run.done == run.rows.count and not run.answer.done():
            run.answer.set_result(Drawn(run.images, run.latents, run.queue_s, run.device_s))


def _fail(batch: list[_Part], error: Exception) -> None:
    for run, _, _ in batch:
        if not run.answer.done():
            run.answer.set_exception(error)
