"""Load from outside of Python: h2load, from Debian's nghttp2-client, sends one ready-made gRPC message over and over.

It counts HTTP answers and doesn't look into them, so `check` asks once with a real client first.
"""

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

METHOD = "dcgan.v1.GeneratorService/Sample"


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


def check(target: str, request: pb.SampleRequest) -> None:
    """Asks once with a real client, so that what is counted afterwards is known to be answers."""
    with grpc.insecure_channel(target) as channel:
        answer = dcgan_pb2_grpc.GeneratorServiceStub(channel).Sample(request)
    assert answer.images.count == request.seeds.count


def run(target: str, pid: int, request: pb.SampleRequest, clients: int, seconds: float, cores: int) -> Load:
    """Loads a server with `clients` connections, one call at a time on each, for some seconds."""
    message = request.SerializeToString()
    images = request.seeds.count
    with tempfile.TemporaryDirectory() as directory:
        body, log = Path(directory) / "body", Path(directory) / "log"
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        command = [
            *("h2load", "--clients", str(clients), "--max-concurrent-streams", "1", "--threads", "1"),
            *("--duration", f"{round(1000 * seconds)}ms", "--data", str(body), "--log-file", str(log)),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            f"http://{target}/{METHOD}",
        ]
        server_before, children_before = cpu_s(pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, timeout=60 + seconds)
        elapsed = time.monotonic() - begun
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert lines
    assert all(line[1] == "200" for line in lines)
    load_s = children.ru_utime + children.ru_stime - children_before.ru_utime - children_before.ru_stime
    return Load(
        images * len(lines) / seconds,
        sorted(int(line[2]) / 1000.0 for line in lines),
        1000.0 * (cpu_s(pid) - server_before) / (images * len(lines)),
        load_s / elapsed / cores,
    )


def cpu_s(pid: int) -> float:
    """Reads the processor time of a process from /proc, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def interval(values: list[float]) -> str:
    """Writes a median with the range that holds it with 95 % confidence, by the sign test's ranks."""
    ordered = sorted(values)
    reach = max(0, int((len(ordered) - 1.96 * len(ordered) ** 0.5) / 2))
    return f"{statistics.median(ordered):.2f} ({ordered[reach]:.2f}-{ordered[len(ordered) - 1 - reach]:.2f})"
