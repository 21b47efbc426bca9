"""Graphs beside the generator: on the same threads, in lanes of their own."""

import asyncio
import math
import time

import numpy as np
import pytest

from dcgan.batcher import GENERATOR, GraphRows
from dcgan.batcher.lanes import Lane, Lanes
from dcgan.batcher.pace import Pace
from dcgan.batcher.queue import Run
from dcgan.errors import Overloaded
from devices import Device, Graph, batching, pixels, rows


def graph_rows(*values):
    """Rows of the graph "double", with two inputs."""
    return GraphRows("double", (np.array(values, np.float32), np.array([[-value] for value in values], np.float32)))


async def test_a_graph_gets_its_rows_in_order_with_all_its_outputs():
    """Also where they are more than one batch holds."""
    device = Device(threads=2, largest_batch=4)
    async with batching(device, graphs={"double": Graph(device)}) as batcher:
        drawn = await batcher.submit(graph_rows(*range(11)))
    np.testing.assert_array_equal(drawn.output(0), 2.0 * np.arange(11))
    np.testing.assert_array_equal(drawn.output(1), -2.0 * np.arange(11)[:, None])


async def test_a_batch_holds_rows_of_one_graph_alone():
    """What waits together is not run together where it is for two graphs."""
    device = Device()
    async with batching(device, graphs={"double": Graph(device)}) as batcher:
        device.hold()
        first = asyncio.create_task(batcher.submit(rows(1)))
        await device.begun()
        others = [asyncio.create_task(batcher.submit(some)) for some in (graph_rows(2, 3), rows(4), graph_rows(5))]
        await asyncio.sleep(0)
        device.go.release(9)
        await asyncio.gather(first, *others)
    assert sorted(device.batches) == [-3, 1, 1]


async def test_a_graph_that_few_ask_for_does_not_wait_behind_the_other():
    """One row of a graph is run long before the hundred batches of the generator that waited when it came."""
    device = Device(largest_batch=1)
    async with batching(device, graphs={"double": Graph(device)}) as batcher:
        device.hold()
        many = asyncio.create_task(batcher.submit(rows(*range(100))))
        await device.begun()
        one = asyncio.create_task(batcher.submit(graph_rows(7)))
        await asyncio.sleep(0)
        device.go.release(1000)
        drawn = await one
        assert pixels(await many) == list(range(100))
    assert drawn.output(0).tolist() == [14.0]
    assert device.batches.index(-1) < 10


async def test_work_that_comes_back_is_admitted_for_all_its_runs():
    """Beside others that wait, a hundred thousand runs of a row are refused where one is taken."""
    device = Device()
    async with batching(device, graphs={"double": Graph(device)}) as batcher:
        device.hold()
        running = asyncio.create_task(batcher.submit(graph_rows(1)))
        await device.begun()
        waiting = asyncio.create_task(batcher.submit(graph_rows(2)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded), batcher.reserved("double", 100_000, time.monotonic() + 0.5):
            pass
        once = asyncio.create_task(batcher.submit(graph_rows(4), time.monotonic() + 30.0))
        await asyncio.sleep(0)
        device.go.release(9)
        await asyncio.gather(running, waiting, once)


async def test_what_is_still_to_come_counts_for_those_who_come_later():
    """Between its steps work that comes back waits nowhere, and yet the device is not free."""
    device = Device()
    async with batching(device, graphs={"double": Graph(device)}) as batcher:
        soon = time.monotonic() + 0.5
        with batcher.reserved("double", 100_000, math.inf) as used:
            with pytest.raises(Overloaded):
                await batcher.submit(graph_rows(1), soon)
            used(100_000)
            await batcher.submit(graph_rows(1), time.monotonic() + 30.0)
        await batcher.submit(graph_rows(1), time.monotonic() + 30.0)


async def test_a_graph_that_was_quiet_has_not_saved_up_its_turns():
    """After a long time of the generator alone, both get their turns from the first on."""
    lanes = Lanes({graph: Lane(Device().lend, 1, 1, Pace(1.0, 1, 1)) for graph in (GENERATOR, "double")})

    def push(some):
        lanes.push(Run(some, math.inf, asyncio.get_running_loop().create_future()))

    def turn():
        lane = lanes.next()
        lane.queue.take(1, 0.0)
        lane.used_s += 1.0
        return lane

    push(rows(*range(300)))
    assert all(turn() is lanes.named(GENERATOR) for _ in range(300))
    push(graph_rows(*range(100)))
    push(rows(*range(100)))
    assert sum(turn() is lanes.named(GENERATOR) for _ in range(20)) in (9, 10)


async def test_a_graph_whose_batches_fail_pays_for_its_turns():
    """Or its callers would be served before all others for ever."""
    device = Device(largest_batch=1)
    broken = Graph(device)

    def fail(*_):
        time.sleep(0.002)
        raise RuntimeError("broken")

    broken.lend = fail
    async with batching(device, graphs={"double": broken}) as batcher:
        failing = [asyncio.create_task(batcher.submit(graph_rows(1))) for _ in range(200)]
        await asyncio.sleep(0)
        assert pixels(await batcher.submit(rows(7))) == [7]
        assert not all(task.done() for task in failing)
        assert all(isinstance(end, RuntimeError) for end in await asyncio.gather(*failing, return_exceptions=True))
