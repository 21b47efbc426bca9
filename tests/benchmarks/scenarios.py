"""Four scenarios of `dcgan serve` on one bundle: latency, restarts, fairness, overload.

Run by hand: `scenarios.py --model BUNDLE --scenario latency fairness`. Prints Markdown and writes it to
build/bench/scenarios-<bundle name>.md, which holds the scenarios of the last run. Asserts no speed.

Clients, servers and the sessions that they are compared with share this machine's cores, on its loopback address; what
clients took of the cores is printed where it matters. Rounds of what is compared alternate, and medians are given with
their 95 % intervals, since machines are noisy. Logs and metrics of the server are on.
"""

import argparse
import itertools
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import onnxruntime

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import callers
import load
from callers import percentile_ms, percentiles
from overload import overload
from sessions import batch_run

from dcgan import bundle as bundles
from dcgan.cgroup import usable_cores
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import serve

SINGLE = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=1), format=pb.FORMAT_RAW)
EVERY_S = 0.1  # between the single images beside a stream


def main() -> None:
    """Measures the chosen scenarios and writes what was found."""
    scenarios = {one.__name__: one for one in (latency, restarts, fairness, overload)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion", help="bundle: a directory or a shipped name. Default: fashion")
    parser.add_argument("--scenario", nargs="+", default=list(scenarios), choices=scenarios, help="Default: all")
    parser.add_argument("--rounds", type=int, default=10, help="of latency and restarts. Default: 10")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round of latency. Default: 1")
    parser.add_argument("--pairs", type=int, default=6, help="of rounds of fairness and overload. Default: 6")
    parser.add_argument("--stream-seconds", type=float, default=8.0, help="of a round of fairness. Default: 8")
    parser.add_argument("--stream-images", type=int, default=100_000, help="of one stream. Default: 100000")
    parser.add_argument("--peak-seconds", type=float, default=4.0, help="of a round at the peak. Default: 4")
    parser.add_argument("--flood-seconds", type=float, default=10.0, help="of a flood, over 2. Default: 10")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    load.require()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that servers and clients are ended too
    options.output.mkdir(parents=True, exist_ok=True)
    bundle = bundles.load(bundles.locate(options.model))
    report = [
        f"{bundle.manifest.name}; {usable_cores()} usable cores, load before: {os.getloadavg()[0]:.1f}; "
        f"onnxruntime {onnxruntime.__version__}, grpcio {grpc.__version__}\n"
    ]
    print(report[0], flush=True)
    for name in options.scenario:
        report.append(f"## {name}\n\n{scenarios[name](bundle, options)}\n")
        print(report[-1], flush=True)
    (options.output / f"scenarios-{bundle.manifest.name}.md").write_text("\n".join(report))


def latency(bundle: bundles.Bundle, options: argparse.Namespace) -> str:
    """Compares one client that asks for one image at a time with the session in this process."""
    run = batch_run(bundle, 1, 1)
    p50s: dict[str, list[float]] = {"session in process": [], "h2load": [], "Python, sync stub": []}
    with serve(options.model) as serving, grpc.insecure_channel(serving.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        for _ in range(options.rounds):
            ran = timed(run, options.seconds)
            loaded = load.run(serving.target, serving.process.pid, SINGLE, 1, options.seconds, usable_cores())
            asked = timed(lambda: stub.Sample(SINGLE, timeout=callers.PATIENCE_S), options.seconds)
            for p50s_of_one, value in zip(
                p50s.values(), (median_ms(ran), loaded.percentile(0.5), median_ms(asked)), strict=True
            ):
                p50s_of_one.append(value)
    inside = p50s["session in process"]
    rows = [
        f"| {name} | {statistics.median(values):.3f} "
        f"| {load.interval([value - base for value, base in zip(values, inside, strict=True)])} |"
        for name, values in p50s.items()
    ]
    return "\n".join(
        [
            f"One client, one RAW image a call; {options.rounds} rounds of {options.seconds:g} s. "
            "Aim: at most 0.8 ms above the session.\n",
            "| caller | p50 ms | above the session in its round, ms |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def restarts(_bundle: bundles.Bundle, options: argparse.Namespace) -> str:
    """Compares the first 100 calls after each of some starts with 1,000 calls after 2 s of load."""
    starts, first, steady = [], [], []
    for _ in range(options.rounds):
        begun = time.monotonic()
        with serve(options.model) as serving, grpc.insecure_channel(serving.target) as channel:
            callers.await_serving(channel)
            starts.append(time.monotonic() - begun)
            stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)

            def ask(stub: dcgan_pb2_grpc.GeneratorServiceStub = stub) -> object:
                return stub.Sample(SINGLE, timeout=callers.PATIENCE_S)

            first += timed(ask, count=100)
            timed(ask, 2.0)
            steady += timed(ask, count=1000)
    rows = [
        f"| {name} | {len(values):,} | {percentiles(values, 0.5, 0.95, 1.0)} |"
        for name, values in (("first 100 after SERVING", first), ("1,000 after 2 s of load", steady))
    ]
    return "\n".join(
        [
            f"{options.rounds} restarts, single RAW images one after the other. "
            "Aim: p95 at most 1.5 times the steady one.\n",
            "| calls | pooled | p50, p95, max ms |",
            "| --- | --- | --- |",
            *rows,
            f"\np95 is {percentile_ms(first, 0.95) / percentile_ms(steady, 0.95):.2f} times the steady one, p50 "
            f"{median_ms(first) / median_ms(steady):.2f} times. From the command to SERVING: "
            f"{load.interval(starts)} s, at most {max(starts):.2f} s.",
        ]
    )


def fairness(bundle: bundles.Bundle, options: argparse.Namespace) -> str:
    """Measures a stream alone and beside single images ten times a second, and what those wait."""
    run = batch_run(bundle, 1, 16)
    alone_s, both_s = timed(run, 1.0), both_cores(run, 1.0)
    streamed = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=1, count=options.stream_images), format=pb.FORMAT_RAW)
    with serve(options.model) as serving, callers.processes(2) as pool:
        begin = time.monotonic() + 4.0  # the clients start and connect meanwhile
        edges = [begin + number * options.stream_seconds for number in range(2 * options.pairs + 1)]
        windows = list(itertools.pairwise(edges))
        reading = pool.submit(callers.stream, serving.target, streamed, edges[-1])
        asking = pool.submit(callers.singles, serving.target, SINGLE, windows[1::2], EVERY_S)
        arrivals, latencies = reading.result(), asking.result()
    assert arrivals[0][0] < begin, "the client took more than 4 s to start: the first window isn't whole"
    alone_s, both_s = alone_s + timed(run, 1.0), both_s + both_cores(run, 1.0)
    rates = [sum(n for at, n in arrivals if start <= at < end) / options.stream_seconds for start, end in windows]
    losses = [100.0 * (1.0 - beside / alone) for alone, beside in zip(rates[::2], rates[1::2], strict=True)]
    late, waited = [lag for lag, _ in latencies], [seconds for _, seconds in latencies]
    runs = (("other core idle", median_ms(alone_s)), ("a run on every core", median_ms(both_s)))
    return "\n".join(
        [
            f"Streams of {options.stream_images:,} RAW images; {options.pairs} pairs of {options.stream_seconds:g} s "
            f"alone and beside single RAW images every {EVERY_S:g} s. "
            "Aim: the stream loses less than 5 %, p99 at most 3 runs of 16 rows.\n",
            "| | |",
            "| --- | --- |",
            f"| stream alone, images/s | {load.interval(rates[::2])} |",
            f"| stream beside singles, images/s | {load.interval(rates[1::2])} |",
            f"| loss, % | {load.interval(losses)} |",
            f"| singles: calls, from when each was due | {len(waited):,} |",
            f"| singles: p50, p99, max ms | {percentiles(waited, 0.5, 0.99, 1.0)} |",
            f"| of it until sent: p50, p99 ms | {percentiles(late, 0.5, 0.99)} |",
            *(f"| 16 rows in process, {how}: median ms | {ms:.2f} |" for how, ms in runs),
            *(f"| singles' p99 over it, {how} | {percentile_ms(waited, 0.99) / ms:.2f} |" for how, ms in runs),
        ]
    )


def timed(work: Callable[[], object], seconds: float = 60.0, count: int | None = None) -> list[float]:
    """Does something again and again, for some seconds or some times; gives the seconds of each."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end and (count is None or len(times) < count):
        work()
        times.append(time.monotonic() - begun)
    return times


def both_cores(work: Callable[[], object], seconds: float) -> list[float]:
    """Does the same in a thread for each core."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return [one for times in pool.map(lambda _: timed(work, seconds), range(usable_cores())) for one in times]


def median_ms(seconds: list[float]) -> float:
    """Gives the median in milliseconds."""
    return 1000.0 * statistics.median(seconds)


if __name__ == "__main__":
    main()
