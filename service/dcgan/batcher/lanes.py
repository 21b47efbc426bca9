"""Lanes: a queue for each graph, served by the same threads in turns that are counted in seconds on the device.

Next is the lane that has had the least time, so a graph that few ask for doesn't wait behind one that all ask for.
A lane where nobody waited begins with the time of the others: what it didn't use is not saved up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

from numpy.typing import NDArray

from dcgan.batcher.pace import Pace
from dcgan.batcher.queue import Queue, Run
from dcgan.batcher.rows import Rows

Compute: TypeAlias = Callable[[Sequence[Any]], tuple[NDArray[Any], ...]]


@dataclass(slots=True)
class Lane:
    """The rows that wait for one graph.

    Attributes:
        compute: runs a batch of its rows; gives the outputs, n rows each.
        largest_batch: rows of a batch, at most.
        smallest_share: rows that are worth a thread of their own.
        pace: of the graph; and queue: of its rows.
        used_s: seconds on the device, for its turn.
        owed: rows that were admitted and are still to come, of work that comes back again and again.
    """

    compute: Compute
    largest_batch: int
    smallest_share: int
    pace: Pace
    queue: Queue = field(init=False)
    used_s: float = 0.0
    owed: int = 0

    def __post_init__(self) -> None:
        self.queue = Queue(self.pace)


class Lanes:
    """All lanes of a device. Not safe for threads: whoever holds the batcher's lock may call."""

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = dict(lanes)
        self._all = tuple(self._lanes.values())
        self._clock = 0.0  # the time of the lane whose turn came last

    def of(self, rows: Rows) -> Lane:
        """Gives the lane that rows belong to."""
        return self._lanes[rows.graph]

    def named(self, graph: str) -> Lane:
        """Gives the lane of a graph."""
        return self._lanes[graph]

    @property
    def waiting(self) -> int:
        """Rows that wait in all lanes."""
        return sum([lane.queue.waiting for lane in self._all])

    @property
    def shares(self) -> int:
        """How many threads there is work for."""
        return sum([lane.queue.waiting // lane.smallest_share for lane in self._all])

    def busy(self) -> list[Lane]:
        """Lanes where rows wait."""
        return [lane for lane in self._all if lane.queue.waiting]

    def push(self, run: Run) -> None:
        """Adds a run to its lane."""
        lane = self.of(run.rows)
        if not lane.queue.waiting:
            lane.used_s = max(lane.used_s, self._clock)
        lane.queue.push(run)

    def next(self) -> Lane | None:
        """Chooses the lane whose turn it is; None where nobody waits."""
        busy = self.busy()
        if not busy:
            return None
        lane = busy[0] if len(busy) == 1 else min(busy, key=attrgetter("used_s"))
        self._clock = max(self._clock, lane.used_s)
        return lane
