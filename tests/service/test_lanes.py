"""Graphs beside the generator: on the same threads, in lanes of their own."""

import asyncio
import time

import numpy as np
import pytest

from dcgan.batcher import GraphRows
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
    """Beside others that wait, a thousand runs of a row are refused where one is taken."""
    device = Device()
    async with batching(device, graphs={"double": Graph(device)}) as batcher:
        device.hold()
        running = asyncio.create_task(batcher.submit(graph_rows(1)))
        await device.begun()
        waiting = asyncio.create_task(batcher.submit(graph_rows(2)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await batcher.submit(graph_rows(3), time.monotonic() + 0.5, repeats=100_000)
        once = asyncio.create_task(batcher.submit(graph_rows(4), time.monotonic() + 30.0))
        await asyncio.sleep(0)
        device.go.release(9)
        await asyncio.gather(running, waiting, once)
