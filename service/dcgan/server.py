"""The life of a server: load, warm, serve, drain.

It listens only when the model has reproduced its golden images on the device, so whoever reaches it is served.
SIGTERM drains: health says NOT_SERVING, calls are served on for a delay while balancers notice, then streams end at
a chunk's edge, running calls are finished, and the process exits with 0. A second signal skips the delay.
If a device thread dies the process says NOT_SERVING and ends with an error, so that it is replaced.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from dcgan import bundle as bundles
from dcgan import logs
from dcgan.config import Settings
from dcgan.errors import DeviceError, SettingsError
from dcgan.generator import Generator
from dcgan.interceptors import CallInterceptor
from dcgan.metrics import Metrics
from dcgan.registry import MAX_REQUEST_BYTES, Registry, started
from dcgan.servicer import GeneratorServicer
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GeneratorService"].full_name

_log = structlog.get_logger()


def run(settings: Settings) -> None:
    """Serves until a signal ends it.

    Raises:
        BundleError, DeviceError, SettingsError: it can't start, or the device is lost.
    """
    logs.configure(settings.log_level)
    asyncio.run(_main(settings))


@dataclass(slots=True)
class Running:
    """A server that answers.

    Attributes:
        target: host:port of gRPC, and metrics_address of /metrics.
    """

    target: str
    metrics_address: str
    settings: Settings
    server: grpc.aio.Server
    health: health.aio.HealthServicer
    servicer: GeneratorServicer
    dead: asyncio.Future[BaseException]

    async def drain(self, hurry: asyncio.Event) -> None:
        """Takes leave: NOT_SERVING, the delay (unless `hurry` is set), then the running calls' grace."""
        await self.health.enter_graceful_shutdown()
        try:
            async with asyncio.timeout(self.settings.drain_delay_s):
                await hurry.wait()
        except TimeoutError:
            pass
        self.servicer.draining = True
        await self.server.stop(self.settings.drain_grace_s)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Running]:
    """Loads the model and serves it for as long as the context lasts."""
    loop = asyncio.get_running_loop()
    dead: asyncio.Future[BaseException] = loop.create_future()

    def die(error: BaseException) -> None:
        loop.call_soon_threadsafe(_settle, dead, error)

    begun = time.monotonic()
    bundle = bundles.load(bundles.locate(settings.model))
    generator = Generator(bundle, settings.device)
    registry = _metrics_registry()
    metrics = Metrics(registry)
    async with started(bundle, generator, metrics, settings.max_queued_rows, die) as model:
        servicer = GeneratorServicer(Registry(model), metrics)
        with _metrics_served(settings, registry) as metrics_address:
            async with _listening(settings, servicer, metrics) as (server, port, health_servicer):
                for name in ("", SERVICE):
                    await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
                target = f"{settings.host}:{port}"
                _log.info(
                    "serving",
                    target=target,
                    metrics=f"http://{metrics_address}/metrics",
                    model=model.identity.name,
                    version=model.identity.version,
                    provider=generator.provider,
                    device_threads=generator.threads,
                    golden_exact=generator.golden_exact,
                    start_ms=round(1000 * (time.monotonic() - begun)),
                )
                yield Running(target, metrics_address, settings, server, health_servicer, servicer, dead)


async def _main(settings: Settings) -> None:
    stopping, hurry = _signals()  # first, so that a signal while the model loads ends the process in order too
    async with serving(settings) as running:
        ends: list[asyncio.Future[None] | asyncio.Future[BaseException]] = [stopping, running.dead]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if running.dead.done():
            await running.health.enter_graceful_shutdown()
            raise DeviceError(f"the device is lost: {running.dead.result()!r}")
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
async def _listening(
    settings: Settings, servicer: GeneratorServicer, metrics: Metrics
) -> AsyncIterator[tuple[grpc.aio.Server, int, health.aio.HealthServicer]]:
    """Listens on the port of gRPC; gives the server, the port it has, and the health to set."""
    server = grpc.aio.server(
        interceptors=[CallInterceptor(metrics, settings.default_deadline_s)],
        options=[
            ("grpc.so_reuseport", 0),  # two servers on one port would share its calls at random
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_connection_age_ms", round(1000 * settings.max_connection_age_s)),
            ("grpc.max_connection_age_grace_ms", round(1000 * settings.default_deadline_s)),
        ],
    )
    dcgan_pb2_grpc.add_GeneratorServiceServicer_to_server(servicer, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError as error:
        raise SettingsError(_taken(settings.host, settings.port, "--port")) from error
    await server.start()
    try:
        yield server, port, health_servicer
    finally:
        await server.stop(0)


@contextmanager
def _metrics_served(settings: Settings, registry: CollectorRegistry) -> Iterator[str]:
    """Serves /metrics from a thread of its own; gives host:port."""
    try:
        httpd, thread = start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        raise SettingsError(_taken(settings.host, settings.metrics_port, "--metrics-port")) from error
    try:
        yield f"{settings.host}:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


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
