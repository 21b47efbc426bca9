"""A device that a test holds in its hand, and a batcher over it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import numpy as np
from prometheus_client import CollectorRegistry

from dcgan.batcher import Batcher, ValueRows
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
        self.most_rows, self.full = 1 << 20, "Failed to allocate memory for requested buffer"

    def hold(self) -> None:
        """Makes every later run wait until `go` is released."""
        self.go = threading.Semaphore(0)

    def lend(self, latents: np.ndarray) -> np.ndarray:
        """Runs a batch."""
        self.batches.append(len(latents))
        self.started.release()
        self.go.acquire()
        if self.error is not None:
            raise self.error
        if len(latents) > self.most_rows:
            raise RuntimeError(self.full)
        return np.round(latents[:, 0]).astype(np.uint8)[:, None, None, None]

    async def begun(self) -> None:
        """Waits until one more batch has begun."""
        await asyncio.to_thread(self.started.acquire)


class Graph:
    """A graph beside the generator, on the same device: doubles what it is given, and records its batches there."""

    def __init__(self, device: Device) -> None:
        self.largest_batch, self.rows_per_s = device.largest_batch, device.rows_per_s
        self._device = device

    def lend(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Runs a batch, of which the device's record shows minus the number of rows."""
        self._device.batches.append(-len(inputs[0]))
        self._device.started.release()
        self._device.go.acquire()
        return tuple(2 * array for array in inputs)


@asynccontextmanager
async def batching(
    device: Device,
    max_queued_rows: int = 1000,
    on_death: Callable[[BaseException], None] = lambda _: None,
    graphs: Mapping[str, "Graph"] = MappingProxyType({}),
) -> AsyncIterator[Batcher]:
    """Runs a batcher over a device, which is let go at the end."""
    batcher = Batcher(
        device,
        dim=DIM,
        prior="normal",
        shape=(1, 1, 1),
        max_queued_rows=max_queued_rows,
        metrics=Metrics(CollectorRegistry()),
        on_death=on_death,
        graphs=graphs,
    )
    batcher.start()
    try:
        yield batcher
    finally:
        device.go.release(1 << 20)
        await batcher.close(patience_s=2.0)


def rows(*values: int) -> ValueRows:
    """Makes rows whose images are these values."""
    return ValueRows(np.array([[value] * DIM for value in values], np.float32))


def pixels(drawn) -> list[int]:
    """Reads the values back."""
    return np.concatenate(drawn.images)[:, 0, 0, 0].tolist()
