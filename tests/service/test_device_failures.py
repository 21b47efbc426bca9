"""What becomes of callers where the device fails, hangs or dies."""

import asyncio

import pytest

from dcgan.batcher import SeedRows
from devices import Device, batching, pixels, rows


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


@pytest.mark.parametrize(
    "full",
    [
        "bfc_arena.cc:376 AllocateRawInternal Available memory of 0 is smaller than requested bytes of 2048",
        "bfc_arena.cc:331 AllocateRawInternal Failed to allocate memory for requested buffer of size 8388608000",
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
    ],
)
async def test_a_full_gpu_is_told_by_its_messages(full):
    """Those of ONNX Runtime's arena, within its limit and without, of CUDA, of cuDNN and of cuBLAS."""
    device = Device()
    device.most_rows, device.full = 4, full
    async with batching(device) as batcher:
        assert pixels(await batcher.submit(rows(*range(8)))) == list(range(8))
    assert device.batches == [8, 4, 4]


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
