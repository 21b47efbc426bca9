"""What all tests share: small bundles, and real servers on free ports of the loopback address."""

import asyncio
import logging
import signal
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from bundles import write_bundle
from dcgan.config import Settings
from dcgan.server import Running, serving
from dcgan.v1 import dcgan_pb2_grpc

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

# A job in a shell's background ignores it, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def settings_for(bundle: Path, **changes: Any) -> Settings:
    """Gives settings for a server on free ports that stops without delay."""
    given: dict[str, Any] = {"model": str(bundle), "device": "cpu", "port": 0, "metrics_port": 0, "drain_delay_s": 0.0}
    return Settings(**(given | changes))


@asynccontextmanager
async def serving_here(bundle: Path, **changes: Any) -> AsyncIterator[Running]:
    """Runs a real server in the test's own event loop."""
    async with serving(settings_for(bundle, **changes)) as running:
        yield running


@contextmanager
def serving_in_thread(bundle: Path, **changes: Any) -> Iterator[Running]:
    """Runs a real server in an event loop of its own, for blocking clients."""
    ready: list[Running] = []
    begun, leave = threading.Event(), []

    async def main() -> None:
        stop = asyncio.Event()
        leave.append((asyncio.get_running_loop(), stop))
        async with serving(settings_for(bundle, **changes)) as running:
            ready.append(running)
            begun.set()
            await stop.wait()

    def target() -> None:
        try:
            asyncio.run(main())
        finally:
            begun.set()

    thread = threading.Thread(target=target, name="server")
    thread.start()
    begun.wait()
    try:
        yield ready[0]
    finally:
        loop, stop = leave[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()


def metrics_of(running: Running) -> str:
    """Reads /metrics of a server that runs here."""
    with urllib.request.urlopen(f"http://{running.metrics_address}/metrics") as page:
        text: str = page.read().decode()
        return text


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle: latents of 8 normal values, images 6 x 5 RGB, directions `more` and `less`."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "linear", directions=("less", "more"))


@pytest.fixture(scope="session")
def server(bundle: Path) -> Iterator[Running]:
    """A real server of `bundle` that lives as long as the tests; don't stop it."""
    with serving_in_thread(bundle) as running:
        yield running


@pytest.fixture
async def channel(server):
    """A channel to the shared server."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    """The bare generated stub."""
    return dcgan_pb2_grpc.GeneratorServiceStub(channel)
