"""Load from outside of Python: h2load, from Debian's nghttp2-client, sends one ready-made request over and over.

It counts HTTP answers and doesn't look into them, and gRPC answers a refusal with 200 too. So `check` asks once with a
real client, and what h2load received in bytes must be as much as so many good answers are.
"""

import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

METHOD = "dcgan.v1.GeneratorService/Sample"
WARM_UP = 0.5  # of the time that counts, before it
GRPC = ("content-type: application/grpc", "te: trailers")


class Failed(Exception):
    """Not every answer was a good one."""


@dataclass(frozen=True)
class Call:
    """One request as h2load sends it."""

    url: str
    headers: tuple[str, ...]
    body: bytes
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Load:
    """What one round of load measured.

    Attributes:
        images_per_s: answered.
        latencies_ms: of every call, sorted.
        server_cpu_ms: processor time of the server for one image, milliseconds.
        load_cpu: share of all cores that the load generator took, 0 to 1.
    """

    images_per_s: float
    latencies_ms: list[float]
    server_cpu_ms: float
    load_cpu: float

    def percentile(self, share: float) -> float:
        """Gives a percentile of the latencies, milliseconds."""
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * share))]


def require() -> None:
    """Ends the program where h2load is missing, saying how to get it."""
    if shutil.which("h2load") is None:
        sys.exit("h2load is needed: apt-get install nghttp2-client")


def check(target: str, request: pb.SampleRequest) -> int:
    """Asks once with a real client, so that what is counted afterwards is known to be answers; gives its bytes."""
    with grpc.insecure_channel(target) as channel:
        answer = dcgan_pb2_grpc.GeneratorServiceStub(channel).Sample(request)
    assert answer.images.count == request.seeds.count
    return answer.ByteSize()


def sampling(target: str, request: pb.SampleRequest) -> Call:
    """Writes a Sample request for h2load, with a deadline as a good client sets one."""
    return Call(f"http://{target}/{METHOD}", (*GRPC, "grpc-timeout: 60S"), framed(request.SerializeToString()))


def framed(message: bytes) -> bytes:
    """Puts gRPC's prefix before a message: not compressed, and its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def run(target: str, pid: int, request: pb.SampleRequest, clients: int, seconds: float, cores: int) -> Load:
    """Loads a server with `clients` connections, one call at a time on each, for some seconds."""
    size = check(target, request)
    return measured(sampling(target, request), clients, seconds, size, request.seeds.count, lambda: cpu_s(pid), cores)


def measured(
    call: Call, clients: int, seconds: float, size: int, images: int, server_cpu_s: Callable[[], float], cores: int
) -> Load:
    """Sends a call over and over, one at a time on each connection.

    Half as long again is spent on warming up, so that calls are under way when the time begins as when it ends: those
    that it cuts off at its end are made up for by those at its beginning.

    Args:
        size: the least bytes of a good answer.
        images: in each answer.
        server_cpu_s: reads the processor time of the server.
        cores: of this machine.

    Raises:
        Failed: there was no answer, one that isn't 200, or less data than so many good answers have.
    """
    with tempfile.TemporaryDirectory() as directory:
        body, log = Path(directory) / "body", Path(directory) / "log"
        body.write_bytes(call.body)
        command = [
            *("h2load", "--clients", str(clients), "--max-concurrent-streams", "1", "--threads", "1"),
            *("--warm-up-time", f"{round(1000 * WARM_UP * seconds)}ms", "--duration", f"{round(1000 * seconds)}ms"),
            *("--data", str(body), "--log-file", str(log)),
            *(part for header in call.headers for part in ("--header", header)),
            *(*call.flags, call.url),
        ]
        server_s = server_cpu_s()
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 + seconds)
        elapsed, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        server_s = server_cpu_s() - server_s
        lines = [line.split("\t") for line in log.read_text().splitlines()]
    good = [int(line[2]) / 1000.0 for line in lines if line[1] == "200"]
    received = int(re.findall(r"\((\d+)\) data", done.stdout)[0])
    # with HTTP/1.1, h2load logs what it was waiting for when the time began as failed
    if not good or len(lines) - len(good) > 1 or received < len(good) * size:
        raise Failed(f"of {len(lines)} answers {len(good)} are 200, and all hold {received} bytes")
    load_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(
        images * len(good) / seconds,
        sorted(good),
        1000.0 * server_s / (images * len(good) * (1.0 + WARM_UP)),
        load_s / elapsed / cores,
    )


def processor() -> str:
    """Names this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line for line in lines if line.startswith("model name")).split(":")[1].strip()


def cpu_s(pid: int) -> float:
    """Reads the processor time of a process from /proc, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def interval(values: list[float]) -> str:
    """Writes a median with the range that holds it with 95 % confidence, by the sign test's ranks."""
    ordered = sorted(values)
    reach = max(0, int((len(ordered) - 1.96 * len(ordered) ** 0.5) / 2))
    return f"{statistics.median(ordered):.2f} ({ordered[reach]:.2f}-{ordered[len(ordered) - 1 - reach]:.2f})"
