"""The batcher over a device of the test's own: rows of many callers, one run."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from dcgan.batcher import Batcher, SeedRows, ValueRows
from dcgan.errors import DeadlineExceeded, Overloaded
from dcgan.latents import draw
from dcgan.metrics import Metrics

DIM = 4


class Device:
    """A device that a test holds in its hand: it records its batches, and waits for `go` where told to.

    Its image of a latent is the latent's first value, rounded, so that answers can be told apart.
    """

    def __init__(self, threads: int = 1, largest_batch: int = 16) -> None:
        self.threads, self.largest_batch, self.rows_per_s = threads, largest_batch, 1e4
        self.batches: list[int] = []
        self.started, self.go = threading.Semaphore(0), threading.Semaphore(1 << 20)
        self.error: BaseException | None = None
        self.most_rows = 1 << 20

    def hold(self) -> None:
        """Makes every later run wait until `go` is released."""
        self.go = threading.Semaphore(0)

    def run(self, latents: np.ndarray) -> np.ndarray:
        """Runs a batch."""
        self.batches.append(len(latents))
        self.started.release()
        self.go.acquire()
        if self.error is not None:
            raise self.error
        if len(latents) > self.most_rows:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return np.round(latents[:, 0]).astype(np.uint8)[:, None, None, None]

    async def begun(self) -> None:
        """Waits until one more batch has begun."""
        await asyncio.to_thread(self.started.acquire)


@asynccontextmanager
async def batching(
    device: Device, max_queued_rows: int = 1000, on_death: Callable[[BaseException], None] = lambda _: None
) -> AsyncIterator[Batcher]:
    """Runs a batcher over a device, which is let go at the end."""
    async with Batcher(
        device,
        dim=DIM,
        prior="normal",
        shape=(1, 1, 1),
        max_queued_rows=max_queued_rows,
        metrics=Metrics(CollectorRegistry()),
        on_death=on_death,
    ) as batcher:
        try:
            yield batcher
        finally:
            device.go.release(1 << 20)


def rows(*values: int) -> ValueRows:
    """Makes rows whose images are these values."""
    return ValueRows(np.array([[value] * DIM for value in values], np.float32))


def pixels(drawn) -> list[int]:
    """Reads the values back."""
    return np.concatenate(drawn.images)[:, 0, 0, 0].tolist()


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


async def test_a_failed_batch_fails_only_its_own_rows():
    """The next batch is served by the same thread."""
    device = Device()
    async with batching(device) as batcher:
        device.error = RuntimeError("out of memory")
        with pytest.raises(RuntimeError, match="out of memory"):
            await batcher.submit(rows(1))
        device.error = None
        assert pixels(await batcher.submit(rows(2))) == [2]


async def test_a_run_with_one_failed_batch_leaves_the_queue():
    """The rest of its rows are not drawn for nobody."""
    device = Device(largest_batch=4)
    device.hold()
    async with batching(device) as batcher:
        device.error = RuntimeError("lost")
        failing = asyncio.create_task(batcher.submit(rows(*[1] * 400)))
        await device.begun()
        device.go.release()
        with pytest.raises(RuntimeError, match="lost"):
            await failing
        device.error = None
        device.go.release(1 << 20)
        assert pixels(await batcher.submit(rows(2))) == [2]
    assert sum(device.batches) < 20


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

    device.run = run
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


async def test_a_batch_too_large_for_memory_is_tried_once_in_halves():
    """Every row still reaches its own caller; other failures are not tried again."""
    device = Device()
    device.hold()
    async with batching(device) as batcher:
        first = asyncio.create_task(batcher.submit(rows(0)))
        await device.begun()
        tasks = [asyncio.create_task(batcher.submit(rows(*range(at, at + 5)))) for at in (10, 20, 30)]
        await asyncio.sleep(0)
        device.most_rows = 8
        device.go.release(1 << 20)
        await first
        assert [pixels(await task) for task in tasks] == [list(range(at, at + 5)) for at in (10, 20, 30)]
        assert device.batches == [1, 15, 7, 8]
        device.most_rows = 1
        with pytest.raises(RuntimeError, match="Failed to allocate"):
            await batcher.submit(rows(*range(8)))


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_device_that_fails_again_and_again_is_lost():
    """ONNX Runtime reports a lost GPU as an ordinary error of each run: after three, one row is tried alone."""
    device = Device()
    died = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with batching(device, on_death=lambda _: loop.call_soon_threadsafe(died.set)) as batcher:
        device.error = RuntimeError("CUDA error 700")
        for _ in range(3):
            with pytest.raises(RuntimeError, match="CUDA error 700"):
                await batcher.submit(rows(1, 2))
        await asyncio.wait_for(died.wait(), timeout=5)
    assert device.batches == [2, 2, 2, 1]


async def test_a_device_that_recovers_is_not_lost():
    """Three failures in a row, and then the one row works."""
    device = Device()
    device.most_rows = 1
    async with batching(device, on_death=lambda error: pytest.fail(str(error))) as batcher:
        for _ in range(5):
            with pytest.raises(RuntimeError, match="Failed to allocate"):
                await batcher.submit(rows(*range(8)))
        assert pixels(await batcher.submit(rows(2))) == [2]


async def test_a_pace_measured_wrong_is_corrected():
    """What is alone is always tried, however slow the device once seemed, and so the pace is learned again."""
    device = Device(largest_batch=4)
    device.rows_per_s = 0.001
    async with batching(device) as batcher:
        for _ in range(200):
            assert pixels(await batcher.submit(rows(1, 2, 3, 4), time.monotonic() + 10)) == [1, 2, 3, 4]
        several = [batcher.submit(rows(1, 2), time.monotonic() + 10) for _ in range(20)]
        assert [pixels(answer) for answer in await asyncio.gather(*several)] == [[1, 2]] * 20


async def test_a_batch_whose_latents_can_t_be_drawn_fails_alone():
    """An error before the device is reached is the batch's own too."""
    device = Device()
    async with batching(device) as batcher:
        with pytest.raises(RuntimeError, match="the batch failed"):
            await batcher.submit(SeedRows("no seed", 0, 2))
        assert pixels(await batcher.submit(rows(2))) == [2]


async def test_the_age_of_a_batch_on_the_device_is_known():
    """So that a driver that never returns can be noticed."""
    device = Device()
    device.hold()
    async with batching(device) as batcher:
        assert batcher.longest_run_s() == 0
        task = asyncio.create_task(batcher.submit(rows(1)))
        await device.begun()
        assert batcher.longest_run_s() > 0
        device.go.release()
        await task


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dying_device_thread_is_reported():
    """What is no batch's own error ends the thread, and whoever supervises it hears of it."""
    device = Device()
    device.error = SystemExit("the driver is gone")
    deaths: list[BaseException] = []
    died = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_death(error: BaseException) -> None:
        deaths.append(error)
        loop.call_soon_threadsafe(died.set)

    async with batching(device, on_death=on_death) as batcher:
        task = asyncio.create_task(batcher.submit(rows(1)))
        await asyncio.wait_for(died.wait(), timeout=5)
        task.cancel()
    assert str(deaths[0]) == "the driver is gone"
