"""Servers on an NVIDIA GPU beside raw onnxruntime on the same card, in the same run.

Run by `make bench-gpu`. Prints Markdown, and writes it with a JSON file to build/bench. Asserts nothing but that the
provider is the one that was asked for.

In turn: the card; how far its pixels are from the CPU's, and whether they depend on the batch; raw onnxruntime by batch
and by the options that are open; then servers on ports of their own, more and more of them on the one card, asked by
Python processes that don't look into the answers. Servers, clients and the driver share this machine's cores, so what
each server took of them, how busy its device thread was and how many rows its batches had stand beside each rate: they
say what held it back. Every load is bounded in time.
"""

import argparse
import json
import platform
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import onnxruntime

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import gpu_sessions as sessions
import load
from gpu_servers import PROVIDERS, Plan, asked_card, served

from dcgan import bundle as bundles
from dcgan.cgroup import usable_cores

QUICK = Plan((16, 1), (("RAW", 8), ("PNG", 1)), (2,), 0.3, 32)


def main() -> None:
    """Measures all of it and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="build/bench/random-64", help="bundle. Default: build/bench/random-64")
    parser.add_argument(
        "--device", choices=list(PROVIDERS), default="cuda", help="cpu tries the program. Default: cuda"
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds, to try the program")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that servers and clients are ended too
    plan = QUICK if options.quick else Plan()
    if options.device == "cuda":
        require_gpu()
    bundle = bundles.load(bundles.locate(options.model))
    report = Report(options.output, describe(bundle, options.device))
    for variant in sessions.variants(bundle, options.device):
        compared = sessions.parity(bundle, variant, options.device, plan.latents)
        report.add(f"{variant}: pixels beside the CPU's", compared)
        raw = sessions.raw(bundle, variant, options.device, plan.batches, plan.seconds / 4)
        report.add(f"{variant}: raw onnxruntime", raw)
        rate = max(row.images_per_s for row in raw if row.choice == sessions.AS_SERVED)
        if not rate:
            sys.exit("the options of servers made nothing, for the reason in the table")
        started, rows = served(options.model, options.device, variant, plan, rate)
        report.add(f"{variant}: starts", started)
        report.add(f"{variant}: servers", rows)
        again = sessions.raw(bundle, variant, options.device, plan.batches[:1], plan.seconds / 4)[:1]
        report.add(f"{variant}: raw onnxruntime once more", again)


def require_gpu() -> None:
    """Ends the program where there is no NVIDIA GPU, or onnxruntime can't use one."""
    if shutil.which("nvidia-smi") is None:
        sys.exit("no nvidia-smi here: make bench-gpu needs an NVIDIA GPU and its driver")
    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        sys.exit("this onnxruntime has no CUDA: install '.[gpu,training]', as make bench-gpu does")


def describe(bundle: bundles.Bundle, device: str) -> str:
    """Says what is measured, and on what."""
    image = bundle.manifest.image
    card = asked_card("name,driver_version,memory.total") if device == "cuda" else "no GPU: figures mean nothing"
    return (
        f"{bundle.manifest.name}: {image.height} x {image.width} x {image.channels}; {card}; "
        f"{load.processor()}, {usable_cores()} usable cores; Python {platform.python_version()}, "
        f"onnxruntime {onnxruntime.__version__} (CUDA {onnxruntime.cuda_version or 'none'}), grpcio {grpc.__version__}"
    )


class Report:
    """Tables, printed as they come and written each time, so that a run that is cut off leaves what it has."""

    def __init__(self, folder: Path, title: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._text, self._tables = folder, [title], dict[str, Any](measured=title)
        print(title, flush=True)

    def add(self, title: str, rows: list[Any]) -> None:
        """Adds a table of dataclasses of one kind."""
        found = [asdict(row) for row in rows]
        lines = [f"\n## {title}\n", "| " + " | ".join(name.replace("_", " ") for name in found[0]) + " |"]
        lines += ["|" + " --- |" * len(found[0])]
        lines += ["| " + " | ".join(map(cell, row.values())) + " |" for row in found]
        print("\n".join(lines), flush=True)
        self._text += lines
        self._tables[title] = found
        (self._folder / "gpu.md").write_text("\n".join(self._text) + "\n")
        (self._folder / "gpu.json").write_text(json.dumps(self._tables, indent=1) + "\n")


def cell(value: object) -> str:
    """Writes a figure: rates without decimals, small ones with four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return str(value)


if __name__ == "__main__":
    main()
