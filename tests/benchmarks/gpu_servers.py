"""Servers on one card, more and more of them, for gpu.py: what they made of calls, and what held them back."""

import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import callers
import grpc
import load

from dcgan.cgroup import usable_cores
from dcgan.generator import CPU, CUDA
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import Serving, serve

PROVIDERS = {"cuda": CUDA, "cpu": CPU}

CLIENTS = min(usable_cores(), 8)
IN_FLIGHT_IMAGES = 2048  # of all clients of a server: several of its largest batches
STEADY = 0.8  # of a round, as in callers.closed


@dataclass(frozen=True)
class Plan:
    """How much is measured: raw batches, calls (format, images), servers at once, seconds a round, latents compared."""

    batches: tuple[int, ...] = (1024, 512, 256, 128, 64, 8, 1)
    calls: tuple[tuple[str, int], ...] = (
        *(("RAW", images) for images in (1, 8, 64, 256)),
        *(("PNG", images) for images in (1, 8, 64)),
    )
    servers: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 2.0
    latents: int = 1024


@dataclass(frozen=True)
class Started:
    """What it took until so many servers served, those before them included: seconds, and MiB of the card's memory."""

    servers: int
    seconds: float
    card_mib_before: str
    card_mib_after: str


@dataclass(frozen=True)
class Served:
    """What servers made of one kind of call: rates of all of them, and the mean of one where it says so.

    Attributes:
        of_raw: beside raw onnxruntime as one process.
        server_cores: processor time of one server a second; and client_cores: of all clients.
        cpu_us: processor time of the servers for one image, microseconds.
        device_busy: share of the time that one server's device thread ran batches.
        batch_rows: rows of a batch in the mean.
    """

    variant: str
    servers: int
    format: str
    images: int
    images_per_s: float
    of_raw: float
    p50_ms: float
    p99_ms: float
    failed: int
    server_cores: float
    client_cores: float
    cpu_us: float
    device_busy: float
    batch_rows: float


def served(model: str, device: str, variant: str, plan: Plan, raw: float) -> tuple[list[Started], list[Served]]:
    """Measures more and more servers on the one card, beside the rate of raw onnxruntime."""
    started: list[Started] = []
    rows: list[Served] = []
    flags = ["--device", device, *(("--variant", variant) if variant != "float32" else ())]
    with ExitStack() as stack:
        processes = max(CLIENTS, plan.servers[-1])
        clients = stack.enter_context(callers.processes(processes))
        list(clients.map(time.sleep, [1.0] * processes))  # so that all have started
        serving: list[Serving] = []
        for count in plan.servers:
            used, begun = asked_card("memory.used"), time.monotonic()
            with ThreadPoolExecutor(count) as pool:
                more = range(count - len(serving))
                serving += pool.map(lambda _: stack.enter_context(serve(model, *flags)), more)
            most = min(confirmed(one, PROVIDERS[device]) for one in serving)
            started.append(Started(count, time.monotonic() - begun, used, asked_card("memory.used")))
            calls = [(variant, *call) for call in plan.calls if call[1] <= most]
            rows += [one_case(clients, serving, call, plan.seconds, raw) for call in calls]
    return started, rows


def confirmed(serving: Serving, provider: str) -> int:
    """Ends the program where a server doesn't run what it was told to; gives the images that a call may ask for."""
    with grpc.insecure_channel(serving.target) as channel:
        found = dcgan_pb2_grpc.GeneratorServiceStub(channel).GetModel(pb.GetModelRequest())
    if found.identity.provider != provider:
        sys.exit(f"the server runs {found.identity.provider}, not {provider}")
    return found.limits.max_images


def one_case(
    clients: ProcessPoolExecutor, serving: list[Serving], case: tuple[str, str, int], seconds: float, raw: float
) -> Served:
    """Asks all servers at once, each from processes of its own, for some seconds."""
    variant, image_format, images = case
    request = pb.SampleRequest(
        seeds=pb.SeedRange(seed=1, count=images), format=pb.Format.Value(f"FORMAT_{image_format}")
    )
    for one in serving:
        load.check(one.target, request)
    each = max(1, CLIENTS // len(serving))
    flights = max(1, min(64, IN_FLIGHT_IMAGES // images // each))
    message = request.SerializeToString()
    before = [one.figures() for one in serving]
    begun = time.monotonic()
    loads = [
        clients.submit(callers.closed, one.target, one.process.pid, message, flights, seconds)
        for one in serving
        for _ in range(each)
    ]
    rounds = [one.result(timeout=seconds + 4 * callers.PATIENCE_S) for one in loads]
    elapsed = time.monotonic() - begun
    after = [one.figures() for one in serving]
    good = [second for one in rounds for second in one.seconds_of(callers.OK)]
    rate = images * len(good) / (STEADY * seconds)
    server_s = sum(one.server_cpu_s for one in rounds) / each / (STEADY * seconds)  # each client read the same server's
    busy = [change('dcgan_stage_seconds_sum{stage="device"}', a, b) for a, b in zip(before, after, strict=True)]
    rows, runs = (
        sum(change(f"dcgan_batch_rows_{part}", a, b) for a, b in zip(before, after, strict=True))
        for part in ("sum", "count")
    )
    return Served(
        *(variant, len(serving), image_format, images, rate, rate / raw),
        *(callers.percentile_ms(good, share) for share in (0.5, 0.99)),
        sum(call.code != callers.OK for one in rounds for call in one.calls),
        server_s / len(serving),
        sum(one.client_cpu_s for one in rounds) / (STEADY * seconds),
        1e6 * server_s / rate if rate else 0.0,
        statistics.mean(busy) / elapsed,
        rows / max(1.0, runs),
    )


def change(name: str, before: dict[str, float], after: dict[str, float]) -> float:
    """Tells by how much a figure of a server has grown."""
    return after.get(name, 0.0) - before.get(name, 0.0)


def asked_card(query: str) -> str:
    """Asks nvidia-smi about the first card; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "--id=0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
