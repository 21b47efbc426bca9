"""Images a second of served bundles, beside raw onnxruntime on the same file in the same run.

Run by `make bench`. Prints Markdown tables and writes them, with a plot, to build/bench. Asserts nothing.

Raw is the best of: one caller with as many threads as there are cores, and one single-threaded caller a core; at
batches of 1, 16 and 64. Rounds of raw and served alternate, and what is compared is the median of the pairs' ratios,
since machines are noisy. Logs and metrics are on.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
import onnxruntime

mpl.use("Agg")
from matplotlib import pyplot as plt

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import load
from sessions import batch_run

from dcgan import bundle as bundles
from dcgan.cgroup import usable_cores
from dcgan.v1 import dcgan_pb2 as pb
from processes import Serving, serve

BATCHES = (1, 16, 64)
CLIENTS = (1, 2, 8, 32)
SIZES = (1, 8, 64)
LATENCIES = 4  # a round lasts at least that many of a call at raw speed
STAGES = ("queue", "device", "encode")
FORMATS = (pb.FORMAT_RAW, pb.FORMAT_PNG, pb.FORMAT_JPEG, pb.FORMAT_WEBP)
# each group is measured in the same rounds, and compared with its first case too
GROUPS = (
    *([(pb.FORMAT_RAW, images, clients)] for images in SIZES for clients in CLIENTS),
    [(image_format, 16, 2) for image_format in FORMATS],
)
HEADER = (
    "| format | images a call | clients | images/s | of raw | of RAW | p50 ms | p95 ms | p99 ms "
    "| queue | device | encode | rest | CPU ms an image | h2load |"
)

Measure: TypeAlias = Callable[[float], float]
Case: TypeAlias = tuple["pb.Format.ValueType", int, int]  # format, images a call, clients


def main() -> None:
    """Measures every case on every bundle and writes what was found."""
    options = asked(__doc__, ["fashion", "build/bench/random-32", "build/bench/random-64"], rounds=10, seconds=1.0)
    for model in options.model:
        one_bundle(model, options)


def asked(description: str | None, models: list[str], rounds: int, seconds: float) -> argparse.Namespace:
    """Reads the command line of a benchmark of bundles with h2load, and makes the folder for what it writes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=models, help=f"bundles. Default: {' '.join(models)}")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"of every case. Default: {rounds}")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"of every round. Default: {seconds:g}")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    load.require()
    options.output.mkdir(parents=True, exist_ok=True)
    return options


def one_bundle(model: str, options: argparse.Namespace) -> None:
    """Measures all groups on a bundle; prints as it goes, and writes table and plot at the end."""
    bundle = bundles.load(bundles.locate(model))
    best, raw_table = best_raw(bundle, options.seconds)
    report = [describe(bundle), raw_table, HEADER, "|" + " --- |" * (HEADER.count("|") - 1)]
    print("\n".join(report), flush=True)
    measured: dict[Case, list[load.Load]] = {}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serve(model, log=log) as serving:
            for group in GROUPS:
                rows, loads = one_group(serving, log, best, group, options)
                print("\n".join(rows), flush=True)
                report += rows
                measured |= loads
    starts = statistics.median(startup(model) for _ in range(5))
    report.append(f"\nFrom `dcgan serve` to SERVING: {starts:.2f} s.\n")
    print(report[-1], flush=True)
    (options.output / f"serving-{bundle.manifest.name}.md").write_text("\n".join(report))
    plot(bundle, measured, options.output / f"serving-{bundle.manifest.name}.png")


def describe(bundle: bundles.Bundle) -> str:
    """Says what is measured, and on what."""
    image = bundle.manifest.image
    return (
        f"{bundle.manifest.name}: {image.height} x {image.width} x {image.channels}; "
        f"{load.processor()}, {os.cpu_count()} cores, {usable_cores()} usable; "
        f"Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}\n"
    )


def best_raw(bundle: bundles.Bundle, seconds: float, variant: str = "float32") -> tuple[Measure, str]:
    """Finds the fastest way to run the file in this process."""
    cores = usable_cores()
    ways = {
        f"{callers} x {threads} threads, batch {batch}": raw(bundle, threads, callers, batch, variant)
        for threads, callers in {(cores, 1), (1, cores)}
        for batch in BATCHES
    }
    rates = {name: statistics.median(measure(seconds / 2) for _ in range(3)) for name, measure in ways.items()}
    best = max(rates, key=lambda name: rates[name])
    rows = [f"| {name} | {rate:,.0f} |{' best' if name == best else ''}" for name, rate in rates.items()]
    return ways[best], "\n".join(["| raw: callers x threads | images/s |", "| --- | --- |", *rows, ""])


def raw(bundle: bundles.Bundle, threads: int, callers: int, batch: int, variant: str) -> Measure:
    """Gives a function that measures raw onnxruntime for some seconds, images/s."""
    run = batch_run(bundle, threads, batch, variant)

    def call(end: float) -> int:
        count = 0
        while time.monotonic() < end:
            run()
            count += batch
        return count

    def measure(seconds: float) -> float:
        begun = time.monotonic()
        with ThreadPoolExecutor(callers) as pool:
            count = sum(pool.map(call, [begun + seconds] * callers))
        return count / (time.monotonic() - begun)

    return measure


def one_group(
    serving: Serving, log: Path, best: Measure, group: list[Case], options: argparse.Namespace
) -> tuple[list[str], dict[Case, list[load.Load]]]:
    """Measures cases in alternating rounds: their rows, and what was measured."""
    loads: dict[Case, list[load.Load]] = {case: [] for case in group}
    stages: dict[Case, list[dict[str, float]]] = {case: [] for case in group}
    raw_rates = []
    for _ in range(options.rounds):
        raw_rates.append(best(options.seconds))
        for image_format, images, clients in group:
            request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=images), format=image_format)
            begun = log.stat().st_size
            seconds = max(options.seconds, LATENCIES * images * clients / raw_rates[-1])
            one = load.run(serving.target, serving.process.pid, request, clients, seconds, usable_cores())
            loads[image_format, images, clients].append(one)
            stages[image_format, images, clients].append(shares(log, begun))
    first = [one.images_per_s for one in loads[group[0]]]
    return [row(case, loads[case], stages[case], raw_rates, first) for case in group], loads


def row(
    case: Case, loads: list[load.Load], stages: list[dict[str, float]], raw_rates: list[float], first: list[float]
) -> str:
    """Writes one case as a row of the table: medians of its rounds, and of the ratios of its pairs."""
    image_format, images, clients = case
    rates = [one.images_per_s for one in loads]

    cells = [
        pb.Format.Name(image_format).removeprefix("FORMAT_"),
        images,
        clients,
        f"{statistics.median(rates):,.0f}",
        load.interval([rate / raw_rate for rate, raw_rate in zip(rates, raw_rates, strict=True)]),
        "" if image_format == pb.FORMAT_RAW else load.interval([a / b for a, b in zip(rates, first, strict=True)]),
        *(f"{middle(loads, lambda one, share=share: one.percentile(share)):.2f}" for share in (0.5, 0.95, 0.99)),
        *(f"{statistics.median(stage[name] for stage in stages):.0%}" for name in (*STAGES, "rest")),
        f"{middle(loads, lambda one: one.server_cpu_ms):.3f}",
        f"{middle(loads, lambda one: one.load_cpu):.0%}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def shares(log: Path, begun: int) -> dict[str, float]:
    """Says which share of the calls' time in the server each stage took, from its log behind byte `begun`.

    The rest is parsing, waiting for Python and for the event loop. What gRPC and the network take is not in it.
    """
    with log.open("rb") as file:
        file.seek(begun)
        lines = [line for line in file.read().split(b"\n")[1:-1] if b'"call"' in line]  # the first may be cut
    events = [json.loads(line) for line in lines]
    whole = sum(event["total_ms"] for event in events) or 1.0
    parts = {stage: sum(event[f"{stage}_ms"] for event in events) / whole for stage in STAGES}
    return parts | {"rest": 1.0 - sum(parts.values())}


def startup(model: str) -> float:
    """Measures seconds from the command to the log line that says that it serves."""
    begun = time.monotonic()
    with serve(model):
        return time.monotonic() - begun


def plot(bundle: bundles.Bundle, measured: dict[Case, list[load.Load]], file: Path) -> None:
    """Draws images/s and the latencies against concurrency, a line for each number of images a call."""
    figure, (rates, latencies) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for images in SIZES:
        name = f"{images} image{'s' if images > 1 else ''} a call"
        lines = [measured[pb.FORMAT_RAW, images, clients] for clients in CLIENTS]
        drawn = rates.plot(CLIENTS, [middle(line, lambda one: one.images_per_s) for line in lines], "o-", label=name)
        for share, style in ((0.5, "o-"), (0.99, "^:")):
            values = [middle(line, lambda one, share=share: one.percentile(share)) for line in lines]
            label = f"{name}, p{100 * share:.0f}"
            latencies.plot(CLIENTS, values, style, label=label, color=drawn[0].get_color())
    rates.set(ylabel="images/s", ylim=(0, None), title=f"{bundle.manifest.name}, RAW over gRPC")
    latencies.set(ylabel="ms", yscale="log", title="latency of a call")
    for axes in (rates, latencies):
        axes.set(xscale="log", xlabel="clients")
        axes.set_xticks(CLIENTS, [str(clients) for clients in CLIENTS])
        axes.legend(fontsize="small")
    figure.savefig(file, dpi=120)


def middle(loads: list[load.Load], value: Callable[[load.Load], float]) -> float:
    """Takes the median over rounds."""
    return statistics.median(map(value, loads))


if __name__ == "__main__":
    main()
