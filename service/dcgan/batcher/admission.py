"""Admission: what can't be done in time, or finds no room, is refused at once."""

import time

from dcgan.batcher.lanes import Lane, Lanes
from dcgan.errors import Overloaded


def admit(lanes: Lanes, lane: Lane, count: int, now: int, deadline: float, max_queued_rows: int) -> None:
    """Refuses `count` rows of a lane that can't be done by the deadline, or `now` of them that find no room to wait.

    What finds nobody waiting is always tried, or a pace measured wrong would never be corrected. What is ahead counts
    twice: whoever comes later takes turns too, and what was admitted must be done in time however many come.

    Raises:
        Overloaded: says when to come back.
    """
    waiting = lane.queue.waiting
    if not waiting and not lane.owed:
        return
    there = lanes.waiting
    too_many = there + now - max_queued_rows
    if too_many > 0:
        raise Overloaded(f"{there} images wait already, of at most {max_queued_rows}", lane.pace.seconds_for(too_many))
    left_s = deadline - time.monotonic()
    turns = len(lanes.busy()) or 1  # the device's time goes to so many graphs
    if turns * lane.pace.seconds_for(count + lane.owed + 2 * waiting) > left_s:  # the cheap bound first
        needed_s = turns * lane.pace.seconds_for(count + lane.owed + 2 * lane.queue.ahead(count))
        if needed_s > left_s:
            why = f"{count} images may take {needed_s:.3f} s beside those that wait, and {left_s:.3f} s are left"
            raise Overloaded(why, (needed_s - left_s) / 2)
