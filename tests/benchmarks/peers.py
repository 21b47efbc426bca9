"""Single images a second of `dcgan serve` beside other servers of the same ONNX file, in the same run.

Run by `make bench-peers`. Prints Markdown tables and writes them to build/bench/peers.md. Asserts no speed.

The peers stand in peers/catalogue.py. They come from PyPI, each into an environment of its own; one is written by
hand (plain_server.py). Each gets as many single-threaded sessions as `dcgan serve` has device threads, speaks its own
protocol, and is asked by h2load for one image a call. Peers are given a latent; ours also draws it from its seed. All
must first answer a real client with the very bytes that the session gives in this process. Rounds alternate (A B C A
B C), with all servers but one stopped by SIGSTOP, so that one that polls while it is idle takes nothing from the rest.
A peer that can't be installed or started is named with the reason, and the rest goes on.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "peers"), str(HERE), str(HERE.parent)]
import load
import trees
from catalogue import PEERS, Case, Peer, Place, free_port, sampled
from environments import NotToBeHad, python_of, version_of

import dcgan
from dcgan import bundle as bundles
from dcgan.cgroup import usable_cores
from dcgan.latents import draw
from dcgan.v1 import dcgan_pb2 as pb
from processes import serve

SEED = 1
SETTLE_S = 0.3  # before a server is stopped: Triton ends itself where it is stopped in the middle of something
START_S = 60.0  # the longest that a peer may take to its first answer
HEADER = "| server | version | requests/s | dcgan over it | CPU ms a request | p50 ms | p99 ms | notes |"


@dataclass(frozen=True)
class Running:
    """A server that has given the right image."""

    name: str
    version: str
    pid: int
    call: load.Call
    notes: str


def main() -> None:
    """Measures all servers on every model and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models, names = ["build/bench/random-64", "fashion"], [peer.name for peer in PEERS]
    parser.add_argument("--model", nargs="+", default=models, help=f"bundles. Default: {' '.join(models)}")
    parser.add_argument("--peer", nargs="*", default=names, choices=names, help="which. Default: all")
    parser.add_argument("--rounds", type=int, default=10, help="of every server. Default: 10")
    parser.add_argument("--seconds", type=float, default=1.0, help="of every round. Default: 1")
    parser.add_argument("--clients", type=int, default=32, help="connections, a call at a time each. Default: 32")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    load.require()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the servers are ended too
    options.output.mkdir(parents=True, exist_ok=True)
    pythons, missing = installed([peer for peer in PEERS if peer.name in options.peer])
    report = [describe(options)]
    print(report[0], flush=True)
    for model in options.model:
        report.append(one_model(model, pythons, dict(missing), options))
        print(report[-1], flush=True)
    (options.output / "peers.md").write_text("\n".join(report))


def installed(peers: list[Peer]) -> tuple[dict[Peer, str], dict[str, str]]:
    """Sees to it that each peer has its environment: the Pythons of those that have, and why others haven't."""
    pythons, missing = {}, {}
    for peer in peers:
        try:
            pythons[peer] = python_of(peer)
        except NotToBeHad as error:
            missing[peer.name] = f"can't be installed: {error}"
    return pythons, missing


def describe(options: argparse.Namespace) -> str:
    """Says on what was measured, and how."""
    return (
        f"{load.processor()}, {usable_cores()} usable cores, load before: {os.getloadavg()[0]:.1f}; "
        f"onnxruntime {onnxruntime.__version__} everywhere. One image a call, {options.clients} connections, "
        f"{options.rounds} rounds of {options.seconds:g} s, alternating. Medians; ratios with their 95 % intervals. "
        "Peers are given a latent, dcgan draws it.\n"
    )


def one_model(model: str, pythons: dict[Peer, str], missing: dict[str, str], options: argparse.Namespace) -> str:
    """Starts all servers on a bundle, measures them in turns, and ends them; gives the table."""
    case = case_of(model)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(ours(model, case))]
        for peer, python in pythons.items():
            try:
                servers.append(stack.enter_context(started(peer, python, case, folder, options.output)))
            except NotToBeHad as error:
                missing[peer.name] = f"can't be started: {error}"
        loads = in_turns(servers, case, missing, options)
    return table(case, loads, missing)


def case_of(model: str) -> Case:
    """Loads a bundle and runs its first image here."""
    bundle = bundles.load(bundles.locate(model))
    latent, image = bundle.manifest.latent, bundle.manifest.image
    latents = draw(SEED, np.arange(1), latent.dim, latent.prior)
    session = onnxruntime.InferenceSession(bundle.generator, providers=["CPUExecutionProvider"])
    images = session.run(["images"], {"latents": latents})[0]
    name = f"{bundle.manifest.name}, {image.height} x {image.width} x {image.channels}"
    file = str((bundle.path / bundles.GENERATOR).resolve())
    return Case(name, file, latents.tobytes(), latent.dim, images.tobytes(), usable_cores())


@contextmanager
def ours(model: str, case: Case) -> Iterator[Running]:
    """Runs `dcgan serve`, stopped except where it is measured."""
    with serve(model) as serving:
        request = pb.SampleRequest(seeds=pb.SeedRange(seed=SEED, count=1), format=pb.FORMAT_RAW)
        image, call = sampled(serving.target, request)
        assert image == case.image
        trees.send(serving.process.pid, signal.SIGSTOP)
        notes = f"gRPC; {case.instances} device threads, logs and metrics on"
        yield Running("dcgan", dcgan.__version__, serving.process.pid, call, notes)


@contextmanager
def started(peer: Peer, python: str, case: Case, folder: Path, logs: Path) -> Iterator[Running]:
    """Runs a peer, stopped except where it is measured, and ends all its processes; its log stays."""
    place = Place(python, folder / peer.name.replace(" ", "-"), free_port())
    place.folder.mkdir()
    log = logs / f"{case.name.split(',')[0]}-{place.folder.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            peer.command(case, place),
            cwd=place.folder,
            env=os.environ | {"PYTHONPATH": str(HERE / "peers"), "PYTRITON_HOME": str(place.folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        call = first_call(peer, case, place, process, log)
        trees.send(process.pid, signal.SIGSTOP)
        yield Running(peer.name, version_of(peer, python), process.pid, call, peer.notes)
    finally:
        trees.end(process)


def first_call(peer: Peer, case: Case, place: Place, process: subprocess.Popen[bytes], log: Path) -> load.Call:
    """Asks until the peer gives the right image; gives up where it gives another, ends, or has had long enough."""
    until, reason = time.monotonic() + START_S, "no answer"
    while process.poll() is None and time.monotonic() < until:
        try:
            image, call = peer.ask(case, place)
        except (OSError, grpc.RpcError, subprocess.SubprocessError) as error:
            reason = " ".join(str(error).split())[:200]
            time.sleep(0.5)
        else:
            if image != case.image:
                raise NotToBeHad("it gives another image than the session in this process")
            return call
    raise NotToBeHad(complaint(log.read_text(errors="replace")) or reason)


def complaint(log: str) -> str:
    """Finds what went wrong in a log: the first of Python's errors, else the last line."""
    log = log.replace("\\n", "\n").strip()  # PyTriton's holds tracebacks as one line
    return (re.findall(r"\b\w+Error: .+", log) or log.splitlines()[-1:] or [""])[0][:200]


def in_turns(
    servers: list[Running], case: Case, missing: dict[str, str], options: argparse.Namespace
) -> dict[Running, list[load.Load]]:
    """Measures all servers round by round, after one round that isn't counted; leaves out a peer that fails."""
    loads: dict[Running, list[load.Load]] = {server: [] for server in servers}
    for _ in range(1 + options.rounds):
        for server in list(loads):
            try:
                loads[server].append(measured(server, len(case.image), options))
            except (load.Failed, subprocess.SubprocessError) as error:
                if server is servers[0]:
                    raise
                missing[server.name] = f"fails under load: {error}"
                del loads[server]
    return {server: rounds[1:] for server, rounds in loads.items()}


def measured(server: Running, size: int, options: argparse.Namespace) -> load.Load:
    """Lets a server go on, loads it for one round, and stops it again."""
    trees.send(server.pid, signal.SIGCONT)
    try:
        return load.measured(
            server.call, options.clients, options.seconds, size, 1, lambda: trees.cpu_s(server.pid), usable_cores()
        )
    finally:
        time.sleep(SETTLE_S)
        trees.send(server.pid, signal.SIGSTOP)


def table(case: Case, loads: dict[Running, list[load.Load]], missing: dict[str, str]) -> str:
    """Writes what was measured on one model."""
    own = next(iter(loads.values()))
    rows = [f"{case.name}:\n", HEADER, "|" + " --- |" * HEADER.count(" | ") + " --- |"]
    for server, rounds in loads.items():
        ratios = [mine.images_per_s / theirs.images_per_s for mine, theirs in zip(own, rounds, strict=True)]
        values = [
            f"{statistics.median(one.images_per_s for one in rounds):,.0f}",
            "1" if rounds is own else load.interval(ratios),
            f"{statistics.median(one.server_cpu_ms for one in rounds):.2f}",
            *(f"{statistics.median(one.percentile(share) for one in rounds):.1f}" for share in (0.5, 0.99)),
        ]
        rows.append("| " + " | ".join([server.name, server.version, *values, server.notes]) + " |")
    rows += [f"| {name} | - | - | - | - | - | - | {reason} |" for name, reason in missing.items()]
    shares = [statistics.median(one.load_cpu for one in rounds) for rounds in loads.values()]
    return "\n".join([*rows, f"\nh2load took {min(shares):.0%} to {max(shares):.0%} of the cores.\n"])


if __name__ == "__main__":
    main()
