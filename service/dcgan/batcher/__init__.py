"""Batches: rows of many callers, one run of the device.

Rows of the generator and of each graph beside it wait in lanes of their own, for the same threads.

Callers submit runs of rows. Each device thread, when idle, takes its share of what waits (waiting rows over idle
threads, up to the largest batch), draws their latents, runs the generator, and gives every caller its images.
There is no timer: while a batch runs the next one gathers; `queue` says of which rows.

A run that can't be done by its deadline is refused at once, by the measured pace, and one whose time has run out
while it waited is dropped before it starts. A caller that leaves takes its waiting rows along and nobody else's.
A batch that fails fails its own rows alone; where memory was the cause its halves are tried once.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dcgan.batcher.admission import admit
from dcgan.batcher.lanes import Compute, Lane, Lanes
from dcgan.batcher.pace import Pace
from dcgan.batcher.queue import Drawn, Images, Part, Run
from dcgan.batcher.rows import GENERATOR, GraphRows, LatentRows, Rows, SeedRows, ValueRows, inputs_of, latents_of
from dcgan.batcher.runners import GraphRunner, Runner
from dcgan.errors import DeadlineExceeded
from dcgan.latents import Prior
from dcgan.metrics import Metrics
from dcgan.tracing import exemplar

if TYPE_CHECKING:
    from dcgan.tracing.spans import Trace

__all__ = [
    "Batcher",
    "Drawn",
    "GraphRows",
    "GraphRunner",
    "Images",
    "LatentRows",
    "Rows",
    "Runner",
    "SeedRows",
    "ValueRows",
]

_MAX_QUEUED_BYTES: Final = 256 << 20  # of images that callers wait for
_MOMENT_S: Final = 0.001
_FAILURES_BEFORE_PROBE: Final = 3
_OUT_OF_MEMORY: Final = (
    "bad_alloc",
    "allocate memory",  # of ONNX Runtime's arenas, bfc_arena.cc
    "failed to allocate",
    "smaller than requested bytes",  # of the same, where CUDA's gpu_mem_limit is reached
    "out of memory",  # of CUDA
    "alloc_failed",  # of cuDNN and cuBLAS
)


class Batcher:
    """Draws rows on a device, in batches of whatever waits. For one event loop, between `start` and `close`.

    Args:
        runner: the generator.
        dim, prior: of its latents.
        shape: height, width, channels of its images.
        max_queued_rows: rows that may wait, as far as their images stay under 256 MiB.
        metrics: what to count in.
        graphs: that stand beside the generator, by the name that `GraphRows` call them.
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
        graphs: Mapping[Any, GraphRunner] = MappingProxyType({}),
    ) -> None:
        self._max_queued_rows = min(max_queued_rows, max(1, _MAX_QUEUED_BYTES // math.prod(shape)))
        self._metrics, self._on_death = metrics, on_death
        self._queue_seconds = metrics.stage_seconds.labels("queue")
        self._device_seconds = metrics.stage_seconds.labels("device")
        # where a full batch is done in a moment, handing Python's lock to one more thread costs more than it brings
        quick = runner.largest_batch < _MOMENT_S * runner.rows_per_s
        pace = Pace(runner.rows_per_s, runner.threads, runner.largest_batch)
        draw = _drawing(runner, dim, prior, metrics)
        generator = Lane(draw, runner.largest_batch, runner.largest_batch if quick else 1, pace)
        others = {name: _lane(graph, runner.threads) for name, graph in graphs.items()}
        self._lanes = Lanes({GENERATOR: generator, **others})
        self._one_row = [ValueRows(np.zeros((1, dim), np.float32))]
        self._finished: deque[tuple[list[Part], float]] = deque()
        self._finishing = False  # the event loop has been called to look at them
        self._idle = 0  # threads that wait for rows
        self._woken = 0  # of these, told that there are some
        self._waking = False  # the event loop will wake some
        self._failures = 0  # batches in a row
        self._begun: dict[int, float] = {}  # when each thread's batch began, by thread
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"device-{number}", daemon=True)
            for number in range(runner.threads)
        ]

    def start(self) -> None:
        """Starts the device threads, for the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    async def close(self, patience_s: float | None = None) -> None:
        """Ends the device threads when they have run what waits, and lets go of the graphs.

        A thread that hangs in a driver is waited for `patience_s` and ends with the process.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, patience_s)
        if not any(thread.is_alive() for thread in self._threads):
            self._lanes = Lanes({})

    @property
    def threads(self) -> int:
        """Batches that run at once."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """Rows that wait for the device."""
        return self._lanes.waiting

    @property
    def saturation(self) -> float:
        """Rows that wait, as a share of what may wait: 0 to 1."""
        return min(1.0, self.waiting / self._max_queued_rows)

    def longest_run_s(self) -> float:
        """Tells for how many seconds the oldest batch has been on the device; 0 where none is."""
        begun = list(self._begun.values())
        return time.monotonic() - min(begun) if begun else 0.0

    @contextmanager
    def reserved(self, graph: str, count: int, deadline: float) -> Iterator[Callable[[int], None]]:
        """Admits work that comes back again and again, once for all of its `count` rows.

        Gives what to call with the number of rows that each part had. Raises Overloaded as `submit`.
        """
        lane, left = self._lanes.named(graph), count

        def used(rows: int) -> None:
            nonlocal left
            left -= rows
            with self._changed:
                lane.owed -= rows

        with self._changed:
            admit(self._lanes, lane, count, 0, deadline, self._max_queued_rows)
            lane.owed += count
        try:
            yield used
        finally:
            used(left)

    async def submit(
        self, rows: Rows, deadline: float = math.inf, *, admitted: bool = False, trace: "Trace | None" = None
    ) -> Drawn:
        """Waits for the outputs of some rows, until `deadline` on the monotonic clock.

        Rows that continue a stream are `admitted` already: a stream that has begun isn't refused half-way, and it
        bounds itself by the few chunks that it keeps ahead of its reader.

        Raises:
            Overloaded: too many rows wait, or so many that the deadline can't be met; says when to come back.
            DeadlineExceeded: time ran out while the rows waited; none of them ran after it.
            Exception: whatever the device raised for a batch with one of these rows.
        """
        run = Run(rows, deadline, self._loop.create_future(), trace)
        lane = self._lanes.of(rows)
        with self._changed:
            if not admitted:
                admit(self._lanes, lane, rows.count, rows.count, deadline, self._max_queued_rows)
            self._lanes.push(run)
        if not self._waking:  # what arrives in one round of the event loop goes to the device together
            self._waking = True
            self._loop.call_soon(self._wake)
        try:
            return await run.answer
        except BaseException:  # the caller left, or a batch with some of the rows failed
            with self._changed:
                lane.queue.drop(run)
            if trace is not None and run.begun == 0.0:
                trace.stage("queue", run.submitted, time.monotonic())
            raise

    def _wake(self) -> None:
        """Wakes as many idle threads as there are shares; fewer rows than one wait for a thread that runs, if any."""
        self._waking = False
        with self._changed:
            shares = self._lanes.shares
            if self._lanes.waiting and self._idle == len(self._threads):
                shares = max(1, shares)
            more = min(shares, self._idle) - self._woken
            if more > 0:
                self._woken += more
                self._changed.notify(more)

    def _finish(self) -> None:
        """Answers the callers of all batches that have ended."""
        self._finishing = False  # before looking, so that a batch that ends now is either seen or calls again
        while self._finished:
            batch, ended = self._finished.popleft()
            for run, start, stop in batch:
                run.done += stop - start
                run.ended = max(run.ended, ended)
                if run.done == run.rows.count and not run.answer.done():
                    run.answer.set_result(run.drawn())

    # What follows runs in the device threads.

    def _serve(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                if batch:
                    with self._watched():
                        self._run(batch)
                    with self._watched():
                        self._probe()
        except BaseException as error:
            self._on_death(error)
            raise

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Lets `longest_run_s` know what this thread does on the device."""
        self._begun[threading.get_ident()] = time.monotonic()
        yield
        del self._begun[threading.get_ident()]

    def _next_batch(self) -> list[Part] | None:
        """Waits for rows and takes this thread's share of them; None when the batcher is closed."""
        with self._changed:
            self._idle += 1
            while (lane := self._lanes.next()) is None and not self._closed:
                self._changed.wait()
                self._woken -= 1
            idle, self._idle = self._idle, self._idle - 1
            if lane is None:
                return None
            share = max(lane.smallest_share, -(-lane.queue.waiting // idle))
            return self._take(lane, min(share, lane.largest_batch))

    def _take(self, lane: Lane, room: int) -> list[Part]:
        now = time.monotonic()
        parts, late = lane.queue.take(room, now)
        for run in late:
            self._loop.call_soon_threadsafe(_expire, run)
        for run, start, _ in parts:
            if start == 0:
                self._queue_seconds.observe(now - run.submitted, exemplar(run.trace))
        return parts

    def _probe(self) -> None:
        """Runs one row after several failures in a row: a device that can't do that is lost, and its error ends us."""
        if self._failures >= _FAILURES_BEFORE_PROBE:
            self._lanes.named(GENERATOR).compute(self._one_row)
            self._failures = 0

    def _run(self, batch: list[Part], retry: bool = True) -> None:
        started = time.monotonic()
        count = sum(stop - start for _, start, stop in batch)
        lane = self._lanes.of(batch[0][0].rows)
        traces = list(dict.fromkeys(run.trace for run, _, _ in batch if run.trace is not None))
        try:
            outputs = lane.compute([run.rows.part(start, stop) for run, start, stop in batch])
        except Exception as error:  # the batch's callers get it, whatever the device raises; the thread goes on
            self._charge(lane, started)
            if retry and count > 1 and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                for half in _halves(batch):
                    self._run(half, retry=False)
            else:
                self._failures += 1
                self._loop.call_soon_threadsafe(_fail, batch, error)
                _tell(traces, batch, count, started, time.monotonic(), error)
            return
        self._failures = 0
        ended = time.monotonic()
        seconds = ended - started
        self._metrics.batch_rows.observe(count)
        self._device_seconds.observe(seconds, exemplar(traces[0] if traces else None))
        lane.pace.observe(count, seconds)
        self._charge(lane, started)
        row = 0
        for run, start, stop in batch:
            end = row + stop - start
            run.pieces.append((start, tuple(_copied(output[row:end]) for output in outputs)))
            row = end
        self._finished.append((batch, ended))
        if not self._finishing:  # one call wakes the loop for all batches that end before it comes round
            self._finishing = True
            self._loop.call_soon_threadsafe(self._finish)
        _tell(traces, batch, count, started, ended)  # now that nobody waits for it

    def _charge(self, lane: Lane, started: float) -> None:
        """Counts device time for a lane's turn, that of batches that fail too."""
        with self._changed:
            lane.used_s += time.monotonic() - started


def _drawing(runner: Runner, dim: int, prior: Prior, metrics: Metrics) -> Compute:
    def draw(parts: Sequence[LatentRows]) -> tuple[NDArray[Any], ...]:
        latents = latents_of(parts, dim, prior)
        images = runner.lend(latents)
        metrics.images.inc(len(latents))
        return images, latents

    return draw


def _lane(graph: GraphRunner, threads: int) -> Lane:
    def compute(parts: Sequence[GraphRows]) -> tuple[NDArray[Any], ...]:
        return graph.lend(*inputs_of(parts))

    return Lane(compute, graph.largest_batch, 1, Pace(graph.rows_per_s, threads, graph.largest_batch))


def _halves(batch: list[Part]) -> tuple[list[Part], list[Part]]:
    """Cuts a batch in two by rows, through the middle of a run if need be."""
    middle = sum(stop - start for _, start, stop in batch) // 2
    first: list[Part] = []
    second: list[Part] = []
    row = 0
    for run, start, stop in batch:
        cut = min(stop, max(start, start + middle - row))
        if start < cut:
            first.append((run, start, cut))
        if cut < stop:
            second.append((run, cut, stop))
        row += stop - start
    return first, second


def _tell(
    traces: "list[Trace]",
    batch: list[Part],
    rows: int,
    started: float,
    ended: float,
    error: Exception | None = None,
) -> None:
    """Tells the traces of a batch's calls of the run, and of the waiting that it ended."""
    if not traces:
        return
    for run, start, _ in batch:
        if start == 0 and run.trace is not None:
            run.trace.stage("queue", run.submitted, run.begun)
    traces[0].batch(traces[1:], rows, started, ended, error)


def _copied(rows: NDArray[Any]) -> NDArray[Any]:
    """Copies rows out of a batch, which else would live as long as its slowest caller; and they are only lent.

    By way of bytes, since NumPy's own copy hands Python's lock to the event loop, and has to wait to get it back.
    """
    return np.frombuffer(rows.tobytes(), rows.dtype).reshape(rows.shape)


# What follows runs in the event loop.


def _fail(batch: list[Part], error: Exception) -> None:
    for run, _, _ in batch:
        if not run.answer.done():
            failure = RuntimeError(f"the batch failed: {error}")  # one for each caller, since each adds its traceback
            failure.__cause__ = error
            run.answer.set_exception(failure)


def _expire(run: Run) -> None:
    if not run.answer.done():
        run.answer.set_exception(DeadlineExceeded("the deadline would have passed before the images were drawn"))
