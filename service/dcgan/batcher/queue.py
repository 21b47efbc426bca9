"""Which rows go next. Half of a batch is for the earliest deadlines, the rest by turns of all runs that wait.

The turns see to it that one image doesn't wait behind ten thousand. The other half sees to it that what was begun is
finished in time: by turns alone, a device with too much to do would begin everything and finish nothing.
"""

import asyncio
import bisect
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dcgan.batcher.pace import Pace
from dcgan.batcher.rows import Rows
from dcgan.latents import Floats32

if TYPE_CHECKING:
    from dcgan.tracing.spans import Trace

Images: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of a run of rows, in order, in as many pieces as its batches made of it.

    Attributes:
        count: number of rows.
        outputs: for each output of the graph its pieces, n rows each; the generator's are images and latents.
        queue_s: seconds that its first row waited.
        device_s: seconds from then until its last row was there; other callers' turns are among them.
    """

    count: int
    outputs: tuple[list[NDArray[Any]], ...]
    queue_s: float
    device_s: float

    @property
    def images(self) -> list[Images]:
        """The generator's images: uint8 (n, height, width, channels) each."""
        return self.outputs[0]

    @property
    def latents(self) -> list[Floats32]:
        """What they were drawn from: float32 (n, dim) each."""
        return self.outputs[1]

    def output(self, number: int) -> NDArray[Any]:
        """One output in one piece."""
        return np.concatenate(self.outputs[number])


@dataclass(slots=True, eq=False)
class Run:
    """The rows of one caller, and what is there of its answer."""

    rows: Rows
    deadline: float  # monotonic; inf for none
    answer: asyncio.Future[Drawn]
    trace: "Trace | None" = None  # of the call that they belong to
    submitted: float = field(default_factory=time.monotonic)
    taken: int = 0  # rows given to batches
    done: int = 0  # rows whose images are there
    pieces: list[tuple[int, tuple[NDArray[Any], ...]]] = field(default_factory=list)  # first row, outputs
    begun: float = 0.0  # when the first row was taken
    ended: float = 0.0  # when the last batch so far was done

    @property
    def waiting(self) -> int:
        """Number of rows that no batch has taken."""
        return self.rows.count - self.taken

    def drawn(self) -> Drawn:
        """Puts the pieces in order: two device threads may have finished them in another."""
        if len(self.pieces) > 1:
            self.pieces.sort(key=itemgetter(0))
        outputs = tuple(map(list, zip(*(outputs for _, outputs in self.pieces), strict=True)))
        return Drawn(self.done, outputs, self.begun - self.submitted, self.ended - self.begun)


Part: TypeAlias = tuple[Run, int, int]  # rows start to stop - 1 of a run


class Queue:
    """The runs that wait. Not safe for threads: whoever holds the batcher's lock may call.

    Attributes:
        waiting: rows of all runs that no batch has taken.
    """

    def __init__(self, pace: Pace) -> None:
        self.waiting = 0
        self._pace = pace
        self._turns: deque[Run] = deque()  # runs that are done or dropped leave it when their turn comes
        self._due: list[Run] = []  # those with a deadline, by deadline

    def push(self, run: Run) -> None:
        """Adds a run at the end of the turns."""
        self.waiting += run.waiting
        self._turns.append(run)
        if run.deadline < math.inf:
            bisect.insort(self._due, run, key=attrgetter("deadline"))

    def drop(self, run: Run) -> None:
        """Forgets the rows of a run that wait."""
        if run.waiting:
            self._give(run, run.waiting)

    def take(self, room: int, now: float) -> tuple[list[Part], list[Run]]:
        """Takes at most `room` rows for a batch; gives them, and the runs that were dropped as too late."""
        parts: list[Part] = []
        late: list[Run] = []
        for run, count in self._chosen(room):
            if self._is_late(run, now):
                self.drop(run)
                late.append(run)
                continue
            if run.taken == 0:
                run.begun = now
            parts.append((run, run.taken, run.taken + count))
            self._give(run, count)
        return parts, late

    def ahead(self, count: int) -> int:
        """Counts the rows that are drawn before a new run of `count` rows is done: others have as many turns."""
        return sum(min(count, run.waiting) for run in self._turns)

    def _chosen(self, room: int) -> Iterator[tuple[Run, int]]:
        """Chooses runs and how many rows of each; goes on from what the caller took of them."""
        before = self.waiting
        while self._due and (left := room // 2 - (before - self.waiting)) > 0:
            yield self._due[0], min(self._due[0].waiting, left)
        while self._turns and (left := room - (before - self.waiting)) > 0:
            run = self._turns.popleft()
            if run.waiting:
                yield run, min(run.waiting, max(1, left // (len(self._turns) + 1)))
                if run.waiting:
                    self._turns.append(run)

    def _give(self, run: Run, count: int) -> None:
        run.taken += count
        self.waiting -= count
        if not run.waiting and run.deadline < math.inf:
            at = bisect.bisect_left(self._due, run.deadline, key=attrgetter("deadline"))
            del self._due[self._due.index(run, at)]

    def _is_late(self, run: Run, now: float) -> bool:
        """Tells whether a run can't be done in time.

        One that is alone is tried whatever the pace says, or a pace measured wrong would never be corrected.
        """
        alone = run.waiting == self.waiting
        return now >= run.deadline or (not alone and now + self._pace.seconds_for(run.waiting) > run.deadline)
