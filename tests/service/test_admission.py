"""What the batcher takes, refuses and drops, over a device of the test's own."""

import asyncio
import time

import numpy as np
import pytest

from dcgan.batcher import SeedRows
from dcgan.errors import DeadlineExceeded, Overloaded
from devices import Device, batching, pixels, rows


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    """What waits is not touched."""
    device = Device()
    device.hold()
    async with batching(device, max_queued_rows=20) as batcher:
        waiting = [asyncio.create_task(batcher.submit(rows(1)))]
        await device.begun()
        waiting += [asyncio.create_task(batcher.submit(rows(*[at] * 10))) for at in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refusal:
            await batcher.submit(rows(9))
        assert refusal.value.retry_after_s is not None
        device.go.release(100)
        assert [len(pixels(answer)) for answer in await asyncio.gather(*waiting)] == [1, 10, 10]


async def test_what_can_t_be_done_in_time_is_refused_at_once():
    """By the measured pace, behind what waits; where time is enough, or nobody waits, it is taken."""
    device = Device()
    device.rows_per_s = 1e3
    device.hold()
    async with batching(device, max_queued_rows=100_000) as batcher:
        now = time.monotonic()
        first = asyncio.create_task(batcher.submit(rows(1), now + 100))
        await device.begun()
        waiting = asyncio.create_task(batcher.submit(rows(*[2] * 10_000), now + 100))  # ten seconds' work
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="may take 30") as refusal:
            await batcher.submit(rows(*[3] * 10_000), time.monotonic() + 15)
        assert 7 < refusal.value.retry_after_s < 8
        taken = [
            asyncio.create_task(batcher.submit(rows(*[4] * 10_000), time.monotonic() + 100)),
            asyncio.create_task(batcher.submit(rows(5), time.monotonic() + 5)),  # goes by turns: soon done
        ]
        await asyncio.sleep(0)
        device.go.release(1 << 20)
        await asyncio.gather(first, waiting, *taken)


async def test_a_device_with_too_much_to_do_still_finishes_what_it_takes():
    """Twice as much as it can do, for a while: what was taken is done in time, and nearly all rows reach a caller."""
    device = Device()
    device.rows_per_s = 4_000.0
    ran = 0

    def run(latents: np.ndarray) -> np.ndarray:
        nonlocal ran
        time.sleep(len(latents) / device.rows_per_s)
        ran += len(latents)
        return np.zeros((len(latents), 1, 1, 1), np.uint8)

    device.lend = run
    async with batching(device, max_queued_rows=100_000) as batcher, asyncio.TaskGroup() as group:

        async def ask() -> str:
            try:
                await batcher.submit(SeedRows(1, 0, 64), time.monotonic() + 0.5)
            except (Overloaded, DeadlineExceeded) as error:
                return type(error).__name__
            return "drawn"

        asked = []
        for _ in range(150):
            asked.append(group.create_task(ask()))
            await asyncio.sleep(0.008)
    ends = [task.result() for task in asked]
    assert ends.count("Overloaded") > 20
    assert ends.count("drawn") * 64 > 0.8 * ran


async def test_the_earliest_deadline_is_not_starved():
    """A long run is done in time although short ones, as many as the device can do, go by turns with it."""
    device = Device(largest_batch=8)
    device.hold()
    async with batching(device, max_queued_rows=100_000) as batcher:
        now = time.monotonic()
        first = asyncio.create_task(batcher.submit(rows(1)))
        await device.begun()
        long = asyncio.create_task(batcher.submit(rows(*[2] * 40), now + 100))
        short = [asyncio.create_task(batcher.submit(rows(3), now + 1000)) for _ in range(400)]
        await asyncio.sleep(0)
        device.go.release(11)
        await long
        assert sum(task.done() for task in short) >= 30
        device.go.release(1 << 20)
        await asyncio.gather(first, *short)


async def test_rows_whose_time_is_up_never_run():
    """They were admitted, but the device was slower than it had been."""
    device = Device()
    device.hold()
    async with batching(device) as batcher:
        first = asyncio.create_task(batcher.submit(rows(1)))
        await device.begun()
        late = asyncio.create_task(batcher.submit(rows(*[2] * 10), time.monotonic() + 0.05))
        stayer = asyncio.create_task(batcher.submit(rows(3), time.monotonic() + 100))
        await asyncio.sleep(0.06)
        device.go.release(1 << 20)
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(first, stayer)
    assert sum(device.batches) == 2


async def test_a_stream_that_has_begun_is_not_refused():
    """Its later chunks are taken even where a new call finds no room."""
    device = Device()
    device.hold()
    async with batching(device, max_queued_rows=10) as batcher:
        tasks = [asyncio.create_task(batcher.submit(rows(1)))]
        await device.begun()
        tasks.append(asyncio.create_task(batcher.submit(rows(*[2] * 10))))
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(batcher.submit(rows(3, 4), admitted=True)))
        await asyncio.sleep(0)
        device.go.release(1 << 20)
        assert pixels((await asyncio.gather(*tasks))[2]) == [3, 4]


async def test_an_empty_queue_takes_a_run_larger_than_the_queue():
    """Otherwise a request that is allowed would be refused for ever."""
    async with batching(Device(), max_queued_rows=5) as batcher:
        assert len(pixels(await batcher.submit(rows(*range(50))))) == 50


async def test_a_pace_measured_wrong_is_corrected():
    """What is alone is always tried, however slow the device once seemed, and so the pace is learned again."""
    device = Device(largest_batch=4)
    device.rows_per_s = 0.001
    async with batching(device) as batcher:
        for _ in range(200):
            assert pixels(await batcher.submit(rows(1, 2, 3, 4), time.monotonic() + 10)) == [1, 2, 3, 4]
        several = [batcher.submit(rows(1, 2), time.monotonic() + 10) for _ in range(20)]
        assert [pixels(answer) for answer in await asyncio.gather(*several)] == [[1, 2]] * 20
