"""Images a second of a served bundle, beside raw onnxruntime on the same file in the same run.

Run by `make bench`. Prints Markdown tables and writes them, with a plot, to build/bench. Asserts nothing.

Raw is the best of: one caller with as many threads as there are cores, and one single-threaded caller a core; at
batches of 1, 16 and 64. Rounds of raw and served alternate, and what is compared is the median of the pairs' ratios,
since machines are noisy. Logs and metrics are on.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnxruntime

mpl.use("Agg")
from matplotlib import pyplot as plt

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import load
from processes import Serving, serve

from dcgan import bundle as bundles
from dcgan.generator import usable_cores
from dcgan.latents import draw
from dcgan.v1 import dcgan_pb2 as pb

BATCHES = (1, 16, 64)
CLIENTS = (1, 2, 8, 32)
CASES = [
    *((pb.FORMAT_RAW, images, clients) for images in (1, 8, 64) for clients in CLIENTS),
    *((image_format, 16, 2) for image_format in (pb.FORMAT_RAW, pb.FORMAT_PNG, pb.FORMAT_JPEG, pb.FORMAT_WEBP)),
]

Measure = Callable[[float], float]


def main() -> None:
    """Measures every case and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion", help="bundle: a directory or a shipped name. Default: fashion")
    parser.add_argument("--rounds", type=int, default=10, help="of every case. Default: 10")
    parser.add_argument("--seconds", type=float, default=1.0, help="of every round. Default: 1")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    load.require()
    options.output.mkdir(parents=True, exist_ok=True)
    bundle = bundles.load(bundles.locate(options.model))
    report = [describe(bundle)]
    print(report[0], flush=True)
    best, table = best_raw(bundle, options.seconds)
    report.append(table)
    print(table, flush=True)
    points: dict[int, list[tuple[int, float]]] = {}
    header = (
        "| format | images a call | clients | images/s | of raw | p50 ms | p95 ms | p99 ms | CPU ms an image | h2load |"
    )
    rows = [header, "|" + " --- |" * 10]
    print("\n".join(rows))
    with serve(options.model) as serving:
        for image_format, images, clients in CASES:
            row, ratio = one_case(serving, best, image_format, images, clients, options)
            rows.append(row)
            print(row, flush=True)
            if image_format == pb.FORMAT_RAW and images != 16:
                points.setdefault(images, []).append((clients, ratio))
        report += ["\n".join(rows), stages(serving)]
    report.append(
        f"From `dcgan serve` to SERVING: {statistics.median(startup(options.model) for _ in range(5)):.2f} s."
    )
    print("\n".join(report[-2:]))
    (options.output / "serving.md").write_text("\n\n".join(report) + "\n")
    plot(points, options.output / "serving.png")


def describe(bundle: bundles.Bundle) -> str:
    """Says what is measured, and on what."""
    image = bundle.manifest.image
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return (
        f"{bundle.manifest.name}: {image.height} x {image.width} x {image.channels}; "
        f"{models[0].split(':')[1].strip()}, {os.cpu_count()} cores, {usable_cores()} usable; "
        f"Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}\n"
    )


def best_raw(bundle: bundles.Bundle, seconds: float) -> tuple[Measure, str]:
    """Finds the fastest way to run the file in this process."""
    cores = usable_cores()
    ways = {
        f"{callers} x {threads} threads, batch {batch}": raw(bundle, threads, callers, batch)
        for threads, callers in {(cores, 1), (1, cores)}
        for batch in BATCHES
    }
    rates = {name: statistics.median(measure(seconds / 2) for _ in range(3)) for name, measure in ways.items()}
    best = max(rates, key=lambda name: rates[name])
    rows = [f"| {name} | {rate:,.0f} |{' best' if name == best else ''}" for name, rate in rates.items()]
    return ways[best], "\n".join(["| raw: callers x threads | images/s |", "| --- | --- |", *rows, ""])


def raw(bundle: bundles.Bundle, threads: int, callers: int, batch: int) -> Measure:
    """Gives a function that measures raw onnxruntime for some seconds, images/s."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(bundle.generator, options, providers=["CPUExecutionProvider"])
    latents = draw(0, np.arange(batch), bundle.manifest.latent.dim, bundle.manifest.latent.prior)

    def call(end: float) -> int:
        count = 0
        while time.monotonic() < end:
            session.run(["images"], {"latents": latents})
            count += batch
        return count

    def measure(seconds: float) -> float:
        begun = time.monotonic()
        with ThreadPoolExecutor(callers) as pool:
            count = sum(pool.map(call, [begun + seconds] * callers))
        return count / (time.monotonic() - begun)

    return measure


def one_case(
    serving: Serving,
    best: Measure,
    image_format: pb.Format.ValueType,
    images: int,
    clients: int,
    options: argparse.Namespace,
) -> tuple[str, float]:
    """Measures one case in alternating rounds: its row, and its share of raw."""
    request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=images), format=image_format)
    load.check(serving.target, request)
    served, ratios = [], []
    for _ in range(options.rounds):
        beside = best(options.seconds)
        one = load.run(serving.target, serving.process.pid, request, clients, options.seconds, usable_cores())
        served.append(one)
        ratios.append(one.images_per_s / beside)

    def median(value: Callable[[load.Load], float]) -> float:
        return statistics.median(map(value, served))

    row = (
        f"| {pb.Format.Name(image_format).removeprefix('FORMAT_')} | {images} | {clients} "
        f"| {median(lambda one: one.images_per_s):,.0f} | {load.interval(ratios)} "
        f"| {median(lambda one: one.percentile(0.5)):.2f} | {median(lambda one: one.percentile(0.95)):.2f} "
        f"| {median(lambda one: one.percentile(0.99)):.2f} | {median(lambda one: one.server_cpu_ms):.3f} "
        f"| {median(lambda one: one.load_cpu):.0%} |"
    )
    return row, statistics.median(ratios)


def stages(serving: Serving) -> str:
    """Says where the time of all these calls went, from the server's own metrics."""
    with urllib.request.urlopen(serving.metrics) as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def total(name: str, labels: str) -> float:
        return float(values[f"dcgan_{name}_seconds_sum{{{labels}}}"])

    whole = total("request", 'method="Sample"')
    calls = float(values['dcgan_request_seconds_count{method="Sample"}'])
    queue, encode = (total("stage", f'stage="{stage}"') for stage in ("queue", "encode"))
    device = total("stage", 'stage="device"')
    return (
        f"Over all {calls:,.0f} calls: {whole / calls * 1000:.2f} ms a call, of which {queue / whole:.0%} in the queue "
        f"and {encode / whole:.0%} encoding; the device threads were busy for {device:.1f} s.\n"
    )


def startup(model: str) -> float:
    """Measures seconds from the command to the log line that says that it serves."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "dcgan", "serve", "--model", model, "--port", "0", "--metrics-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        seconds = time.monotonic() - begun
        process.kill()
    return seconds


def plot(points: dict[int, list[tuple[int, float]]], file: Path) -> None:
    """Draws the share of raw against concurrency, a line for each number of images a call."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for images, line in points.items():
        axes.plot(*zip(*line, strict=True), marker="o", label=f"{images} image{'s' if images > 1 else ''} a call")
    axes.set(xscale="log", xlabel="clients", ylabel="share of raw onnxruntime", ylim=(0, 1.1), title="RAW over gRPC")
    axes.set_xticks(CLIENTS, [str(clients) for clients in CLIENTS])
    axes.axhline(1.0, color="grey", linewidth=0.5)
    axes.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
