"""The peers: what each needs, how it is started, and how a real client asks it once."""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import load
import onnxruntime

from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

HERE = Path(__file__).resolve().parent
RUNTIME = f"onnxruntime=={onnxruntime.__version__}"
MLSERVER = ("mlserver==1.7.1", "uvloop<0.22", RUNTIME)  # its worker processes don't start with a newer uvloop


@dataclass(frozen=True)
class Case:
    """What all servers are asked for.

    Attributes:
        name: of the bundle, with the size of its images.
        model: path of the ONNX file.
        latent: the bytes of one latent, float32.
        dim: its values.
        image: the bytes that the session gives for it in this process.
        instances: sessions that each peer gets.
    """

    name: str
    model: str
    latent: bytes
    dim: int
    image: bytes
    instances: int


@dataclass(frozen=True)
class Place:
    """Where a peer runs: its Python, a folder of its own, and the port that it is to listen on."""

    python: str
    folder: Path
    port: int

    @property
    def target(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Attributes:
        name: as the table calls it; its first word names the environment.
        packages: what its environment gets from PyPI, the server first; none where it runs in ours.
        command: gives the command line that starts it.
        ask: asks once with a real client: the bytes of the image, and the call to count.
        notes: how it is set up.
        pythons: interpreters to make its environment with, best first.
    """

    name: str
    packages: tuple[str, ...]
    command: Callable[[Case, Place], list[str]]
    ask: Callable[[Case, Place], tuple[bytes, load.Call]]
    notes: str
    pythons: tuple[str, ...] = (sys.executable,)


def sampled(target: str, request: pb.SampleRequest) -> tuple[bytes, load.Call]:
    """Asks a server of our own proto."""
    with grpc.insecure_channel(target) as channel:
        answer = dcgan_pb2_grpc.GeneratorServiceStub(channel).Sample(request, timeout=10.0)
    return answer.images.raw, load.sampling(target, request)


def free_port() -> int:
    """Finds a port of the loopback address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _plain(case: Case, place: Place) -> list[str]:
    return [place.python, str(HERE.parent / "plain_server.py"), case.model, str(place.port), str(case.instances)]


def _ask_plain(case: Case, place: Place) -> tuple[bytes, load.Call]:
    latents = pb.LatentBatch(count=1, dim=case.dim, values=case.latent)
    return sampled(place.target, pb.SampleRequest(latents=latents, format=pb.FORMAT_RAW))


def _litserve(case: Case, place: Place) -> list[str]:
    return [place.python, str(HERE / "litserve_server.py"), case.model, str(place.port), str(case.instances)]


def _ask_litserve(case: Case, place: Place) -> tuple[bytes, load.Call]:
    url, content = f"http://{place.target}/predict", "application/octet-stream"
    request = urllib.request.Request(url, case.latent, {"content-type": content})
    with urllib.request.urlopen(request, timeout=10.0) as answer:
        return answer.read(), load.Call(url, (f"content-type: {content}",), case.latent, ("--h1",))


def _mlserver(case: Case, place: Place, workers: int, threads: int) -> list[str]:
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": free_port(),
        "grpc_port": place.port,
        "metrics_port": free_port(),
        "parallel_workers": workers,
    }
    model = {
        "name": "generator",
        "implementation": "mlserver_runtime.Generator",
        "max_batch_size": 16,
        "max_batch_time": 0.01,
        "parameters": {"uri": case.model, "extra": {"threads": threads}},
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return [str(Path(place.python).with_name("mlserver")), "start", str(place.folder)]


def _pytriton(case: Case, place: Place) -> list[str]:
    ports = [place.port, case.instances, free_port(), free_port()]
    return [place.python, str(HERE / "pytriton_server.py"), case.model, *map(str, ports)]


def _ask_v2(case: Case, place: Place) -> tuple[bytes, load.Call]:
    latent, request, image = (place.folder / name for name in ("latent", "request", "image"))
    latent.write_bytes(case.latent)
    command = [place.python, str(HERE / "v2_client.py"), place.target, *map(str, (latent, request, image))]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    url = f"http://{place.target}/inference.GRPCInferenceService/ModelInfer"
    return image.read_bytes(), load.Call(url, load.GRPC, load.framed(request.read_bytes()))


PEERS = (
    Peer("plain grpc.aio", (), _plain, _ask_plain, "gRPC; a thread a core, no batching, no logs, no metrics"),
    Peer(
        "MLServer",
        MLSERVER,
        lambda case, place: _mlserver(case, place, workers=case.instances, threads=1),
        _ask_v2,
        "V2 over gRPC, raw contents; parallel_workers = cores, batches of 16 within 10 ms, metrics on",
    ),
    Peer(
        "MLServer in process",
        MLSERVER,
        lambda case, place: _mlserver(case, place, workers=0, threads=case.instances),
        _ask_v2,
        "the same with parallel_workers 0, and a thread a core in the runtime",
    ),
    Peer(
        "LitServe",
        ("litserve==0.2.19", RUNTIME),
        _litserve,
        _ask_litserve,
        "HTTP/1.1, raw bytes; workers_per_device = cores, batches of 16 within 2 ms, fast_queue",
    ),
    Peer(
        "PyTriton",
        ("nvidia-pytriton==0.7.0", RUNTIME),
        _pytriton,
        _ask_v2,
        "V2 over gRPC, raw contents; an instance a core, dynamic batches up to 16 without delay, metrics on",
        # Triton's Python stub has an interpreter of its own but takes the standard library of this one; that of 3.11.7
        # asks the stub's RLock for what it hasn't, that of Debian's 3.11.2 doesn't
        ("/usr/bin/python3", sys.executable),
    ),
)
