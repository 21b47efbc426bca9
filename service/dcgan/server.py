"""The life of a server: load, warm, serve, drain; `swapping` lets other versions take over meanwhile.

It listens only when the model has reproduced its golden images on the device, so whoever reaches it is served.
SIGTERM drains: health says NOT_SERVING, calls are served on for a delay while balancers notice, then streams end at
a chunk's edge, running calls are finished, and the process exits with 0. A second signal skips the delay.
If a device thread dies the process says NOT_SERVING and ends with an error, so that it is replaced.
"""

import asyncio
import gc
import importlib.metadata
import math
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from dcgan import bundle as bundles
from dcgan import logs, tracing
from dcgan.bundle.versions import holds_versions
from dcgan.calls import Calls
from dcgan.config import Settings
from dcgan.errors import DeviceError, SettingsError
from dcgan.generator.variants import device_for, drawback
from dcgan.health import Health
from dcgan.metrics import Metrics
from dcgan.registry import MAX_REQUEST_BYTES, Model, Registry, started
from dcgan.servicer import GeneratorServicer
from dcgan.swapping import Loaded, Versions
from dcgan.v1 import dcgan_pb2 as pb

if TYPE_CHECKING:
    from dcgan.tracing.spans import Tracer

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GeneratorService"].full_name

_VERSION: Final = importlib.metadata.version("dcgan")
_SUPERVISE_EVERY_S: Final = 5.0
_JOIN_S: Final = 2.0  # a thread that hangs in a driver ends with the process
_LOST_AFTER_S: Final = 60.0  # a batch takes milliseconds; a driver that hangs never comes back

_log = structlog.get_logger()


def run(settings: Settings) -> None:
    """Serves until a signal ends it.

    Raises:
        BundleError, DeviceError, SettingsError: it can't start, or the device is lost.
    """
    logs.configure(settings.log_level)
    with tracing.exporting(_VERSION) as tracer:
        uvloop.run(_main(settings, tracer))


@dataclass(slots=True)
class Running:
    """A server that answers.

    Attributes:
        target: host:port of gRPC, and metrics_address of /metrics.
        dead: settled with the error where the device is lost.
    """

    target: str
    metrics_address: str
    settings: Settings
    server: grpc.aio.Server
    health: Health
    servicer: GeneratorServicer
    registry: Registry
    dead: asyncio.Future[BaseException]

    async def drain(self, hurry: asyncio.Event) -> None:
        """Takes leave: NOT_SERVING, the delay (unless `hurry` is set), then the running calls' grace.

        Raises:
            DeviceError: the device was lost meanwhile.
        """
        self.health.stop()
        await self._first_of(hurry.wait(), self.settings.drain_delay_s)
        self.servicer.draining = True
        await self._first_of(self.server.stop(self.settings.drain_grace_s), math.inf)

    async def supervise(self, stopping: asyncio.Future[None]) -> None:
        """Waits for the signal to stop.

        Raises:
            DeviceError: the device was lost before.
        """
        while not stopping.done():
            await self._first_of(asyncio.shield(stopping), _SUPERVISE_EVERY_S)
            stuck_s = self.registry.longest_run_s()
            if stuck_s > _LOST_AFTER_S:
                raise self._lost(f"a batch has been running for {stuck_s:.0f} s")

    async def _first_of(self, done: Awaitable[object], timeout_s: float) -> None:
        """Waits until something is done or time is up; raises if the device is lost first."""
        waiting = asyncio.ensure_future(done)
        ends: list[asyncio.Future[Any]] = [waiting, self.dead]
        await asyncio.wait(
            ends, timeout=None if timeout_s == math.inf else timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if self.dead.done():
            raise self._lost(repr(self.dead.result()))

    def _lost(self, why: str) -> DeviceError:
        self.health.stop()
        return DeviceError(f"the device is lost: {why}")


@asynccontextmanager
async def serving(settings: Settings, tracer: "Tracer | None" = None) -> AsyncIterator[Running]:
    """Loads the model and serves it for as long as the context lasts."""
    loop = asyncio.get_running_loop()
    dead: asyncio.Future[BaseException] = loop.create_future()

    def die(error: BaseException) -> None:
        loop.call_soon_threadsafe(_settle, dead, error)

    def start(loaded: Loaded) -> Model:
        return started(loaded.bundle, loaded.generator, loaded.parts, metrics, settings.max_queued_rows, die)

    begun = time.monotonic()
    counts = _metrics_registry()
    metrics = Metrics(counts)
    metrics.server.info({"version": _VERSION, "device": settings.device})
    path = bundles.locate(settings.model)
    device = device_for(settings.variant, settings.device)
    versions = Versions(path, device, settings.variant, metrics) if holds_versions(path) else None
    loaded = versions.first() if versions else Loaded.of(bundles.load(path), device, settings.variant)
    registry = Registry(start(loaded), versions.refusals if versions else {}, metrics)
    generator = loaded.generator
    against = drawback(generator.variant, generator.provider)
    if against:
        _log.warning("variant not at home here", variant=generator.variant, why=against)
    servicer = GeneratorServicer(registry.refusals, metrics)
    health = Health(SERVICE)
    async with _closing(registry):
        with _metrics_served(settings, counts) as metrics_address:
            calls = Calls(servicer, registry, metrics, settings.default_deadline_s, tracer)
            async with _listening(settings, calls, health) as (server, target):
                _log.info(
                    "serving",
                    target=target,
                    metrics=f"http://{metrics_address}/metrics",
                    model=registry.current().identity.name,
                    version=registry.current().identity.version,
                    variant=generator.variant,
                    provider=generator.provider,
                    device_threads=generator.threads,
                    golden_exact=generator.golden_exact,
                    start_ms=round(1000 * (time.monotonic() - begun)),
                )
                del loaded, generator  # else they would stay in memory when another version has taken over
                async with _watching(versions, registry, start, settings.drain_grace_s):
                    yield Running(target, metrics_address, settings, server, health, servicer, registry, dead)


@asynccontextmanager
async def _closing(registry: Registry) -> AsyncIterator[None]:
    """Ends the device threads of all models in the end."""
    try:
        yield
    finally:
        for model in registry.loaded:
            await model.batcher.close(_JOIN_S)


@asynccontextmanager
async def _watching(
    versions: Versions | None, registry: Registry, start: Callable[[Loaded], Model], grace_s: float
) -> AsyncIterator[None]:
    """Looks after new versions meanwhile, where there is a directory of them."""
    if versions is None:
        yield
        return
    watch = asyncio.create_task(versions.watch(registry, start, grace_s))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def _main(settings: Settings, tracer: "Tracer | None") -> None:
    stopping, hurry = _signals()  # first, so that a signal while the model loads ends the process in order too
    async with serving(settings, tracer) as running:
        gc.freeze()  # what was loaded stays, so the collector need not look through it again and again
        await running.supervise(stopping)
        _log.info("draining", delay_s=settings.drain_delay_s, grace_s=settings.drain_grace_s)
        await running.drain(hurry)
        _log.info("stopped")


def _signals() -> tuple[asyncio.Future[None], asyncio.Event]:
    """Gives a future that the first SIGTERM or SIGINT settles, and an event that the next one sets."""
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[None] = loop.create_future()
    hurry = asyncio.Event()

    def on_signal() -> None:
        if stopping.done():
            hurry.set()
        else:
            stopping.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stopping, hurry


def _settle(future: asyncio.Future[BaseException], error: BaseException) -> None:
    if not future.done():
        future.set_result(error)


@asynccontextmanager
async def _listening(settings: Settings, calls: Calls, health: Health) -> AsyncIterator[tuple[grpc.aio.Server, str]]:
    """Listens on the port of gRPC; gives the server and its host:port."""
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),  # two servers on one port would share its calls at random
            # what gRPC has not shown us yet waits where no deadline is seen and nothing refused with a reason; we take
            # about 2,000 calls a second, and by gRPC's own limit of 3,000 they would be old when they come
            ("grpc.server.max_pending_requests", 1000),  # from here on some are cancelled at once
            ("grpc.server.max_pending_requests_hard_limit", 1500),
            # beyond the limit that we refuse with a reason, so that gRPC's own refusal is seldom seen
            ("grpc.max_receive_message_length", 2 * MAX_REQUEST_BYTES),
            # no grace is set for old connections: a long stream ends on the one that it began on
            ("grpc.max_connection_age_ms", round(1000 * settings.max_connection_age_s)),
        ],
    )
    server.add_generic_rpc_handlers((calls,))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    host = _bracketed(settings.host)
    try:
        port = server.add_insecure_port(f"{host}:{settings.port}")
    except RuntimeError as error:
        raise SettingsError(_taken(host, settings.port, "--port")) from error
    await server.start()
    try:
        yield server, f"{host}:{port}"
    finally:
        await server.stop(0)


@contextmanager
def _metrics_served(settings: Settings, registry: CollectorRegistry) -> Iterator[str]:
    """Serves /metrics from a thread of its own; gives host:port."""
    try:
        httpd, thread = start_http_server(settings.metrics_port, settings.host.strip("[]"), registry)
    except OSError as error:
        raise SettingsError(_taken(settings.host, settings.metrics_port, "--metrics-port")) from error
    try:
        yield f"{_bracketed(settings.host)}:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def _bracketed(host: str) -> str:
    """Writes an IPv6 address in brackets, as before a port."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def _taken(host: str, port: int, flag: str) -> str:
    return (
        f"can't listen on {host}:{port}: the port is taken or the address isn't this machine's; "
        f"choose another with {flag} and --host"
    )


def _metrics_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
