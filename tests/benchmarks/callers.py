"""Clients of scenarios.py and overload.py, each in a process of its own, so that none waits for another's Python.

They send ready-made messages and don't look into answers, so `load.check` asks once before. All times are seconds on
the monotonic clock, which the processes of a machine share. Each is bounded by time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import grpc
import load
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

PATIENCE_S = 10.0  # for a call that is given no deadline to keep
OK = "OK"


@dataclass(frozen=True)
class Call:
    """One call of `closed` or `flood`.

    Attributes:
        ended: when, in seconds since the round began.
        seconds: from sending to the end.
        code: the name of its status.
    """

    ended: float
    seconds: float
    code: str


@dataclass(frozen=True)
class Round:
    """What a client of Sample saw in one round.

    Attributes:
        calls: all of them, but for those of `after`.
        lags: seconds that calls were sent later than the schedule said, where there is one.
        begin, end: the part that counts, in seconds since the round began: its steady state.
        server_cpu_s, client_cpu_s: processor time that the server and this client took in that part.
        after: a call sent right after the last of a flood, and one sent when all had ended.
    """

    calls: list[Call]
    lags: list[float]
    begin: float
    end: float
    server_cpu_s: float
    client_cpu_s: float
    after: tuple[Call, ...] = ()

    def seconds_of(self, *codes: str) -> list[float]:
        """Gives the latencies of the calls with such a code that ended in the steady part."""
        return [call.seconds for call in self.calls if call.code in codes and self.begin <= call.ended < self.end]


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Gives processes for clients: spawned, since gRPC doesn't survive a fork, and ended when their work has."""
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        yield pool


def percentile_ms(seconds: list[float], share: float) -> float:
    """Gives a percentile of some seconds in milliseconds; NaN where there is nothing."""
    ordered = sorted(seconds) or [float("nan")]
    return 1000.0 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def percentiles(seconds: list[float], *shares: float) -> str:
    """Writes percentiles in milliseconds."""
    return ", ".join(f"{percentile_ms(seconds, share):.2f}" for share in shares)


def await_serving(channel: grpc.Channel) -> None:
    """Returns when the server's health is SERVING; the channel is connected then."""
    request = health_pb2.HealthCheckRequest()
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_S, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def stream(target: str, request: pb.StreamSamplesRequest, until: float) -> list[tuple[float, int]]:
    """Reads one stream after the other until some time; gives when how many images arrived."""
    arrivals = []
    with grpc.insecure_channel(target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        while time.monotonic() < until:
            call = stub.StreamSamples(request, timeout=until - time.monotonic() + PATIENCE_S)
            for answer in call:
                arrivals.append((time.monotonic(), answer.images.count))
                if arrivals[-1][0] >= until:
                    call.cancel()
                    break
    return arrivals


def singles(
    target: str, request: pb.SampleRequest, windows: list[tuple[float, float]], every_s: float
) -> list[tuple[float, float]]:
    """Asks on a schedule in each window (begin, end); gives when calls were sent and answered, from when each was due.

    A call that is due while the one before it runs is sent late, and its latency counts from when it was due.
    """
    latencies = []
    with grpc.insecure_channel(target) as channel:
        await_serving(channel)
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        for begin, end in windows:
            for number in range(int((end - begin) / every_s)):
                due = begin + number * every_s
                time.sleep(max(0.0, due - time.monotonic()))
                sent = time.monotonic()
                stub.Sample(request, timeout=PATIENCE_S)
                latencies.append((sent - due, time.monotonic() - due))
    return latencies


def closed(target: str, pid: int, message: bytes, in_flight: int, seconds: float) -> Round:
    """Keeps a number of calls in flight for some seconds, of which the first fifth isn't counted."""
    return asyncio.run(_closed(target, pid, message, in_flight, seconds))


def flood(target: str, pid: int, message: bytes, rate: float, seconds: float, deadline_s: float) -> Round:
    """Sends calls on a schedule, whatever becomes of them, for some seconds; the first deadline's time isn't counted.

    Where the process can't keep the rate, it sends as fast as it can; `calls` tells how many there were.
    """
    return asyncio.run(_flood(target, pid, message, rate, seconds, deadline_s))


class _Caller:
    """Makes calls on one connection and notes how they end."""

    def __init__(self, channel: grpc.aio.Channel, pid: int, message: bytes) -> None:
        self._method: Callable[..., Awaitable[bytes]] = channel.unary_unary(f"/{load.METHOD}")
        self._pid, self._message = pid, message
        self.calls: list[Call] = []
        self.begun = time.monotonic()

    async def note(self, timeout_s: float) -> None:
        """Makes one call that counts."""
        self.calls.append(await self.call(timeout_s))

    async def call(self, timeout_s: float) -> Call:
        """Makes one call."""
        sent = time.monotonic()
        try:
            await self._method(self._message, timeout=timeout_s)
            code = OK
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        ended = time.monotonic()
        return Call(ended - self.begun, ended - sent, code)

    def cpu_s(self) -> tuple[float, float]:
        """Reads the processor times of the server and of this process."""
        return load.cpu_s(self._pid), time.process_time()

    async def cpu_s_after(self, seconds: float) -> tuple[float, float]:
        """Reads them later in the round."""
        await asyncio.sleep(self.begun + seconds - time.monotonic())
        return self.cpu_s()


async def _closed(target: str, pid: int, message: bytes, in_flight: int, seconds: float) -> Round:
    async with grpc.aio.insecure_channel(target) as channel:
        caller = _Caller(channel, pid, message)

        async def loop() -> None:
            while time.monotonic() < caller.begun + seconds:
                await caller.note(PATIENCE_S)

        async with asyncio.TaskGroup() as group:
            before = group.create_task(caller.cpu_s_after(seconds / 5.0))
            after = group.create_task(caller.cpu_s_after(seconds))
            for _ in range(in_flight):
                group.create_task(loop())
    server_s, client_s = (end - begin for begin, end in zip(before.result(), after.result(), strict=True))
    return Round(caller.calls, [], seconds / 5.0, seconds, server_s, client_s)


async def _flood(target: str, pid: int, message: bytes, rate: float, seconds: float, deadline_s: float) -> Round:
    async with grpc.aio.insecure_channel(target) as channel:
        caller = _Caller(channel, pid, message)
        await asyncio.wait_for(channel.channel_ready(), PATIENCE_S)
        caller.begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            before = group.create_task(caller.cpu_s_after(deadline_s))
            lags: list[float] = []
            while (now := time.monotonic() - caller.begun) < seconds:
                if (lag := now - len(lags) / rate) < 0.0:
                    await asyncio.sleep(-lag)
                    continue
                lags.append(lag)
                group.create_task(caller.note(deadline_s))
                await asyncio.sleep(0)
            after = caller.cpu_s()
            at_once = group.create_task(caller.call(deadline_s))
        last = await caller.call(deadline_s)
    server_s, client_s = (end - begin for begin, end in zip(before.result(), after, strict=True))
    return Round(caller.calls, lags, deadline_s, seconds, server_s, client_s, (at_once.result(), last))
