"""Images a second of the served bundle, beside raw onnxruntime on the same file in the same run.

Run by `make bench`; takes about two minutes on an otherwise idle machine, prints a Markdown table, asserts nothing.
The clients are Python processes that send ready-made bytes and read none of the answer: they share the machine's
cores with the server, so their part of the CPU is stated.

Raw is the best of: one caller with as many threads as there are cores, and one single-threaded caller a core; at
batches of 1, 16 and 64. Rounds of raw and served alternate, and the medians are compared, since machines are noisy.
"""

import argparse
import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import serve

from dcgan import bundle as bundles
from dcgan.generator import usable_cores
from dcgan.latents import draw
from dcgan.v1 import dcgan_pb2 as pb

CLIENTS = (1, 32)
IMAGES = (1, 8, 64)
BATCHES = (1, 16, 64)


@dataclass(frozen=True)
class Load:
    """What one round of load measured."""

    images_per_s: float
    latencies_ms: list[float]
    client_cpu_s: float
    seconds: float


def main() -> None:
    """Measures every case and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion", help="bundle: a directory or a shipped name. Default: fashion")
    parser.add_argument("--rounds", type=int, default=5, help="of every case. Default: 5")
    parser.add_argument("--seconds", type=float, default=1.5, help="of every round. Default: 1.5")
    arguments = parser.parse_args()
    bundle = bundles.load(bundles.locate(arguments.model))
    raws = raw_callers(bundle)
    print(f"{os.cpu_count()} cores, {usable_cores()} usable; onnxruntime {onnxruntime.__version__}; {bundle.path.name}")
    print("\n| raw onnxruntime | images/s |\n| --- | --- |")
    best, best_rate = "", 0.0
    for name, measure in raws.items():
        rate = statistics.median(measure(arguments.seconds / 2) for _ in range(3))
        print(f"| {name} | {rate:,.0f} |", flush=True)
        best, best_rate = (name, rate) if rate > best_rate else (best, best_rate)
    print(f"\nServed beside raw ({best}):\n")
    print("| format | images a request | clients | images/s | of raw | p50 ms | p95 ms | clients' CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with serve(arguments.model) as serving:
        cases = [(pb.FORMAT_RAW, images, clients) for images in IMAGES for clients in CLIENTS]
        cases += [(pb.FORMAT_PNG, 8, 32), (pb.FORMAT_PNG, 64, 32)]
        for image_format, images, clients in cases:
            served, shares = [], []
            for _ in range(arguments.rounds):
                raw = raws[best](arguments.seconds)
                served.append(load(serving.target, image_format, images, clients, arguments.seconds))
                shares.append(served[-1].images_per_s / raw)
            latencies = sorted(value for one in served for value in one.latencies_ms)
            p50, p95 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.95))
            cpu = sum(one.client_cpu_s for one in served) / sum(one.seconds for one in served) / usable_cores()
            print(
                f"| {pb.Format.Name(image_format).removeprefix('FORMAT_')} | {images} | {clients} "
                f"| {statistics.median(one.images_per_s for one in served):,.0f} | {statistics.median(shares):.2f} "
                f"| {p50:.2f} | {p95:.2f} | {cpu:.0%} |",
                flush=True,
            )


def raw_callers(bundle):
    """Gives functions that measure images/s of each way to run the file in this process, by name."""
    cores = usable_cores()
    dim = bundle.manifest.latent.dim

    def measure_with(threads: int, callers: int, batch: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(bundle.generator, options, providers=["CPUExecutionProvider"])
        latents = draw(0, np.arange(batch), dim, bundle.manifest.latent.prior)

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

    ways = [(cores, 1), (1, cores)] if cores > 1 else [(1, 1)]
    return {
        f"callers {callers}, threads of each {threads}, batch {batch}": measure_with(threads, callers, batch)
        for threads, callers in ways
        for batch in BATCHES
    }


def load(target: str, image_format: int, images: int, clients: int, seconds: float) -> Load:
    """Loads the server from a process of its own for some seconds."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_load, (target, image_format, images, clients, seconds))


def _load(target: str, image_format: int, images: int, clients: int, seconds: float) -> Load:
    request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=images), format=image_format).SerializeToString()
    latencies: list[float] = []

    async def client(call, end: float) -> None:
        while (begun := time.monotonic()) < end:
            await call(request)
            latencies.append(1000.0 * (time.monotonic() - begun))

    async def run() -> tuple[float, float]:
        async with grpc.aio.insecure_channel(target) as channel:
            call = channel.unary_unary("/dcgan.v1.GeneratorService/Sample")
            await call(request)
            begun, cpu = time.monotonic(), time.process_time()
            await asyncio.gather(*(client(call, begun + seconds) for _ in range(clients)))
            return time.monotonic() - begun, time.process_time() - cpu

    elapsed, cpu = asyncio.run(run())
    return Load(images * len(latencies) / elapsed, latencies, cpu, elapsed)


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


if __name__ == "__main__":
    main()
    print(f"\nFrom `dcgan serve` to SERVING: {statistics.median(startup('fashion') for _ in range(5)):.2f} s")
