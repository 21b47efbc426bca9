"""The batcher over a device of the test's own: rows of many callers, one run."""

import asyncio

import numpy as np

from dcgan.batcher import SeedRows
from dcgan.latents import draw
from devices import DIM, Device, batching, pixels, rows


async def test_what_waits_while_the_device_runs_becomes_one_batch():
    """There is no timer: the device's own time gathers the next batch."""
    device = Device()
    device.hold()
    async with batching(device) as batcher, asyncio.TaskGroup() as group:
        first = group.create_task(batcher.submit(rows(1)))
        await device.begun()
        others = [group.create_task(batcher.submit(rows(value))) for value in range(2, 12)]
        await asyncio.sleep(0)
        device.go.release(2)
        await asyncio.gather(first, *others)
    assert device.batches == [1, 10]


async def test_every_caller_gets_its_own_rows():
    """Runs of all lengths, cut and mixed into batches by two threads."""
    device = Device(threads=2, largest_batch=7)
    async with batching(device) as batcher:
        wanted = [[(start + at) % 200 for at in range(length)] for start, length in enumerate(range(1, 40))]
        answers = await asyncio.gather(*(batcher.submit(rows(*values)) for values in wanted))
    assert [pixels(answer) for answer in answers] == wanted
    assert max(device.batches) <= 7


async def test_one_image_does_not_wait_behind_ten_thousand():
    """A run of one row gets into the very next batch."""
    device = Device()
    device.hold()
    async with batching(device, max_queued_rows=100_000) as batcher:
        long = asyncio.create_task(batcher.submit(rows(*[1] * 10_000)))
        await device.begun()
        short = asyncio.create_task(batcher.submit(rows(7)))
        await asyncio.sleep(0)
        device.go.release(2)
        assert pixels(await short) == [7]
        assert not long.done()
        assert device.batches[:2] == [16, 16]
        long.cancel()


async def test_what_a_running_thread_does_in_a_moment_wakes_no_other():
    """Where a full batch takes less than a millisecond, a second thread begins when a full batch waits."""
    device = Device(threads=2, largest_batch=4)
    device.rows_per_s = 1e5
    device.hold()
    async with batching(device) as batcher:
        tasks = [asyncio.create_task(batcher.submit(rows(1)))]
        await device.begun()
        for value in range(2, 6):
            tasks.append(asyncio.create_task(batcher.submit(rows(value))))
            await asyncio.sleep(0)
            assert len(device.batches) == 1 or value == 5
        await device.begun()
        device.go.release(2)
        assert [pixels(await task) for task in tasks] == [[1], [2], [3], [4], [5]]
    assert device.batches == [1, 4]


async def test_a_cancelled_caller_does_not_disturb_its_batch():
    """One client hanging up neither hangs nor fails its neighbours."""
    device = Device()
    device.hold()
    async with batching(device) as batcher:
        tasks = [asyncio.create_task(batcher.submit(rows(value))) for value in (1, 2, 3)]
        await device.begun()
        tasks[1].cancel()
        await asyncio.sleep(0)
        device.go.release(3)
        answers = await asyncio.wait_for(asyncio.gather(tasks[0], tasks[2]), timeout=5)
    assert [pixels(answer) for answer in answers] == [[1], [3]]


async def test_rows_of_a_caller_that_left_never_run():
    """Cancelled while waiting, its rows leave the queue at once."""
    device = Device()
    device.hold()
    async with batching(device) as batcher:
        first = asyncio.create_task(batcher.submit(rows(1)))
        await device.begun()
        leaver = asyncio.create_task(batcher.submit(rows(*[2] * 50)))
        stayer = asyncio.create_task(batcher.submit(rows(3)))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.sleep(0)
        device.go.release(5)
        await asyncio.gather(first, stayer)
    assert sum(device.batches) == 2


async def test_idle_threads_share_what_waits():
    """Two threads, eight rows: four each, and not eight and none."""
    device = Device(threads=2)
    device.hold()
    async with batching(device) as batcher:
        while batcher._idle < 2:  # noqa: ASYNC110  # until both threads have come to wait
            await asyncio.sleep(0)
        task = asyncio.create_task(batcher.submit(rows(*range(8))))
        await device.begun()
        await device.begun()
        device.go.release(2)
        await task
    assert device.batches == [4, 4]


async def test_named_rows_are_drawn_by_their_names():
    """Seeds, values and truncated seeds in one batch, each as if alone; the last index of all among them."""
    device = Device()
    device.hold()
    runs = [SeedRows(7, 3, 5), rows(1, 2), SeedRows(8, 2**64 - 2, 2), SeedRows(7, 0, 3, truncation=0.5)]
    async with batching(device) as batcher:
        first = asyncio.create_task(batcher.submit(rows(0)))
        await device.begun()
        tasks = [asyncio.create_task(batcher.submit(run)) for run in runs]
        await asyncio.sleep(0)
        device.go.release(2)
        await first
        drawn = [np.concatenate((await task).latents) for task in tasks]
    assert device.batches == [1, 12]
    np.testing.assert_array_equal(drawn[0], draw(7, np.arange(3, 8), DIM, "normal"))
    np.testing.assert_array_equal(drawn[2], draw(8, [2**64 - 2, 2**64 - 1], DIM, "normal"))
    np.testing.assert_array_equal(drawn[3], draw(7, np.arange(3), DIM, "normal", truncations=0.5))
