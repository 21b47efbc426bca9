"""Images a second of the int8 variant beside float32, through gRPC and raw, all in the same rounds.

Run by `make bench-variants`. Prints a Markdown table and writes it to build/bench/variants.md. Asserts nothing.
Ratios are to the best that raw onnxruntime does with the float32 generator in this process, as in `serving`.
"""

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import load
import serving

from dcgan import bundle as bundles
from dcgan.cgroup import usable_cores
from dcgan.v1 import dcgan_pb2 as pb
from processes import serve

VARIANTS = ("float32", "int8")
CASES = ((1, 1), (1, 32), (8, 32), (64, 8))  # images a call, clients
HEADER = "| what | images a call | clients | images/s | of raw float32 | p50 ms |"


def main() -> None:
    """Measures every case of both variants on every bundle."""
    options = serving.asked(__doc__, ["fashion", "build/bench/random-64"], rounds=7, seconds=1.5)
    report = []
    for model in options.model:
        for line in one_bundle(model, options.rounds, options.seconds):
            print(line, flush=True)
            report.append(line)
    (options.output / "variants.md").write_text("\n".join(report))


def one_bundle(model: str, rounds: int, seconds: float) -> Iterator[str]:
    """Measures a bundle and writes its table, line by line."""
    bundle = bundles.load(bundles.locate(model))
    spec = bundle.manifest.variants["int8"]
    yield serving.describe(bundle)
    yield f"int8 is {spec.mean_levels:.3f} of 255 grey levels off in the mean, {spec.max_levels} at most\n"
    raws = {variant: serving.best_raw(bundle, seconds, variant) for variant in VARIANTS}
    yield from (f"{variant}\n\n{table}" for variant, (_, table) in raws.items())
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serve(model, "--variant", name)) for name in VARIANTS}
        raw_rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        loads: dict[tuple[str, int, int], list[load.Load]] = {}
        for _ in range(rounds):
            for variant, (measure, _) in raws.items():
                raw_rates[variant].append(measure(seconds))
            for variant, server in servers.items():
                for images, clients in CASES:
                    request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=images), format=pb.FORMAT_RAW)
                    one = load.run(server.target, server.process.pid, request, clients, seconds, usable_cores())
                    loads.setdefault((variant, images, clients), []).append(one)
    yield f"{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}"
    for variant, rates in raw_rates.items():
        yield row(f"raw {variant}", "", "", rates, raw_rates["float32"], "")
    for (variant, images, clients), many in loads.items():
        rates = [one.images_per_s for one in many]
        p50 = f"{statistics.median(one.percentile(0.5) for one in many):.2f}"
        yield row(variant, images, clients, rates, raw_rates["float32"], p50)
    yield ""


def row(what: str, images: object, clients: object, rates: list[float], raw: list[float], p50: str) -> str:
    """Writes a row: medians of the rounds, and of the ratios of their pairs."""
    ratio = load.interval([rate / raw_rate for rate, raw_rate in zip(rates, raw, strict=True)])
    return f"| {what} | {images} | {clients} | {statistics.median(rates):,.0f} | {ratio} | {p50} |"


if __name__ == "__main__":
    main()
