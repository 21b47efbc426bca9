"""What logs, metrics and traces cost: processor time a call, with all that their threads do behind it.

Prints Markdown. Asserts nothing. Needs h2load, and the extra [otel]. Run by `make bench-observability`.

Servers that differ in one thing take turns of a moment in one process, which hands them calls as gRPC would, one at a
time, so that no call shares a batch: gRPC's own part is the same in all, and its noise larger than what is measured.
For the same reason their model costs next to nothing. What is compared are the differences of each round, and, since
other load only adds to processor time, the least of all rounds. The share is of a call for one image of the model
given, to `dcgan serve` over gRPC, in the same rounds.
"""

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import load
from prometheus_client import CollectorRegistry

from bundles import write_bundle
from conftest import settings_for
from dcgan import calls, logs, server
from dcgan.metrics import Metrics
from dcgan.tracing.spans import Tracer
from dcgan.v1 import dcgan_pb2 as pb
from processes import serve
from receiver import receiving

ONE = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=1), format=pb.FORMAT_RAW)
SETTLE_S = 0.1  # lines gather for 50 ms
COSTS = {  # each is measured against another one
    "logs and metrics": ("served", "bare"),
    "traces of all calls": ("traced", "served"),
    "traces of one call in ten": ("one in ten", "served"),
}


class Nothing:
    """Stands for all metrics of a server that has none."""

    def __getattr__(self, _: str) -> "Nothing":
        return self

    def labels(self, *_: object) -> "Nothing":
        """Gives itself."""
        return self

    def observe(self, *_: Any) -> None:
        """Counts nothing."""

    inc = dec = set = info = set_function = observe


class Context:
    """What gRPC tells of a call, and is told."""

    def time_remaining(self) -> float:
        """Gives a deadline, as good clients do."""
        return 60.0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Gives what any client sends."""
        return (("user-agent", "grpc-python/1.80"),)

    def set_trailing_metadata(self, _: object) -> None:
        """Sends nothing."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="build/bench/random-64")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--calls", type=int, default=100, help="of each server in a round")
    parser.add_argument("--model-calls", type=int, default=5, help="of the model given")
    options = parser.parse_args()
    load.require()
    with receiver_elsewhere() as endpoint, log_elsewhere(), serve(options.model) as serving:
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        load.check(serving.target, ONE)
        spent = uvloop.run(measured(serving.target, clock_of(serving.process.pid), options))
    print(load.processor())
    print(table(spent, options))


async def measured(target: str, clock: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """Measures all servers in turns; gives microseconds of processor time a call, of each round."""
    counted = calls._Call._count
    async with AsyncExitStack() as stack:
        bundle = write_bundle(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "small")

        async def started(tracer: Tracer | None, metrics: Any = Metrics) -> Any:
            server.Metrics = metrics
            running = await stack.enter_async_context(server.serving(settings_for(bundle), tracer))
            methods = calls.Calls(running.servicer, running.registry, metrics(CollectorRegistry()), 60.0, tracer)
            return methods.service(SimpleNamespace(method=f"/{load.METHOD}")).unary_unary

        servers = {"bare": await started(None, lambda _: Nothing()), "served": await started(None)}
        tracers: dict[str, Tracer] = {}
        for name, share in (("traced", "1"), ("one in ten", "0.1")):
            os.environ |= {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": share}
            tracers[name] = Tracer("0")
            stack.callback(tracers[name].close)
            servers[name] = await started(tracers[name])
        gc.freeze()  # as `dcgan serve` does
        spent: dict[str, list[float]] = {name: [] for name in (*servers, "model")}
        for _ in range(1 + options.rounds):  # the first warms up
            for name, call in servers.items():
                calls._Call._count = (lambda *_: None) if name == "bare" else counted
                spent[name].append(
                    await turn(time.CLOCK_PROCESS_CPUTIME_ID, options.calls, answer(call, options.calls))
                )
            asked = asyncio.to_thread(ask, target, options.model_calls)
            spent["model"].append(await turn(clock, options.model_calls, asked))
    return {name: values[1:] for name, values in spent.items()}


async def turn(clock: int, count: int, made: Awaitable[None], tracer: Tracer | None = None) -> float:
    """Waits for so many calls, and for what threads do later; gives microseconds of processor time a call."""
    before = time.clock_gettime_ns(clock)
    await made
    if tracer is not None:  # which else would wait five seconds for more
        tracer._provider.force_flush()
    await asyncio.sleep(SETTLE_S)
    return (time.clock_gettime_ns(clock) - before) / 1000 / count


async def answer(call: Any, count: int) -> None:
    """Makes calls in this process, one after the other."""
    for _ in range(count):
        await call(ONE.SerializeToString(), Context())


def ask(target: str, count: int) -> None:
    """Makes calls over gRPC, one after the other."""
    call = load.sampling(target, ONE)
    with tempfile.NamedTemporaryFile() as body:
        body.write(call.body)
        body.flush()
        headers = (part for header in call.headers for part in ("--header", header))
        command = ["h2load", "--clients", "1", "--requests", str(count), "--data", body.name, *headers, call.url]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    if f"{count} succeeded, 0 failed" not in done.stdout:
        raise load.Failed(done.stdout)


def clock_of(pid: int) -> int:
    """Names the clock of a process's processor time. Source: clock_getcpuclockid(3), as Linux does it."""
    return (~pid << 3) | 2


@contextmanager
def receiver_elsewhere() -> Iterator[str]:
    """Runs a receiver of traces in a process of its own; gives its endpoint."""
    command = [sys.executable, __file__, "--receiver"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


@contextmanager
def log_elsewhere() -> Iterator[None]:
    """Sends the log through a pipe to a process that drops it."""
    kept = os.dup(2)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        try:
            logs.configure("info")
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def table(spent: dict[str, list[float]], options: argparse.Namespace) -> str:
    """Writes what each costs, medians with their intervals."""
    whole = statistics.median(spent["model"])
    lines = [
        f"{options.rounds} rounds of {options.calls} calls. A call for one image of {options.model} takes "
        f"{load.interval([value / 1000 for value in spent['model']])} ms of processor time; to the small one without "
        f"logs, metrics, traces and gRPC {load.interval(spent['bare'])} \u00b5s.",
        "",
        "| | \u00b5s of processor time a call | share of that call | between the quietest rounds |",
        "| --- | --- | --- | --- |",
    ]
    for name, (with_it, without) in COSTS.items():
        added = [a - b for a, b in zip(spent[with_it], spent[without], strict=True)]
        least = min(spent[with_it]) - min(spent[without])
        share = statistics.median(added) / whole
        lines.append(f"| {name} | {load.interval(added)} | {share:.1%} | {least:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["--receiver"]:
        with receiving() as receiver:
            print(receiver.variables["OTEL_EXPORTER_OTLP_ENDPOINT"], flush=True)
            sys.stdin.read()
    else:
        main()
