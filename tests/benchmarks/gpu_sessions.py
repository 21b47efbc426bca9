"""Generators in this process, for gpu.py: how fast by batch and by option of CUDA, and whether pixels are the CPU's."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dcgan import bundle as bundles
from dcgan.generator import CPU, CUDA, levels_apart
from dcgan.generator.binding import Bound
from dcgan.generator.cuda import provider_options
from dcgan.generator.sessions import Session
from dcgan.latents import draw

SEARCHES = ("HEURISTIC", "EXHAUSTIVE", "DEFAULT")
WARM_RUNS = 5
AS_SERVED = "as served"
# what differs from the options that servers take
CHOICES: dict[str, Mapping[str, str]] = {
    AS_SERVED: {},
    **{f"cuDNN search {name}": {"cudnn_conv_algo_search": name} for name in SEARCHES[1:]},
    "TF32 off": {"use_tf32": "0"},
    "NHWC preferred": {"prefer_nhwc": "1"},
    "workspaces up to 32 MiB": {"cudnn_conv_use_max_workspace": "0"},
}


@dataclass(frozen=True)
class Raw:
    """What one way to run a graph made in batches of one size; `failure` says why it made nothing."""

    variant: str
    choice: str
    batch: int
    first_run_s: float = 0.0
    images_per_s: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Parity:
    """How far images on the device are from the CPU's, in grey levels, and whether their bytes depend on the batch."""

    variant: str
    batch: int
    max_levels: int
    mean_levels: float
    as_in_batches_of_one: bool
    whatever_stands_beside: bool


def variants(bundle: bundles.Bundle, device: str) -> list[str]:
    """Names the forms of the generator that are measured here: float16 too, where there is a GPU for it."""
    return ["float32", "float16"] if device == "cuda" and "float16" in bundle.variants else ["float32"]


def raw(bundle: bundles.Bundle, variant: str, device: str, batches: Sequence[int], seconds: float) -> list[Raw]:
    """Measures each choice, the largest batch first, bound to memory as servers are; and as they are, but unbound."""
    measured = []
    for choice, different in (CHOICES if device == "cuda" else {AS_SERVED: {}}).items():
        measured += _choice(bundle, variant, device, batches, seconds, choice, different)
    return [*measured, *_choice(bundle, variant, device, batches, seconds, "not bound", {})]


def _choice(
    bundle: bundles.Bundle,
    variant: str,
    device: str,
    batches: Sequence[int],
    seconds: float,
    choice: str,
    different: Mapping[str, str],
) -> list[Raw]:
    latent = bundle.manifest.latent
    latents = draw(0, np.arange(max(batches)), latent.dim, latent.prior)
    rows: list[Raw] = []
    try:
        session = _session(bundle.generator_as(variant), device, max(batches), different)
        bound = Bound(session, batches, device)
        for batch in sorted(batches, reverse=True):
            given = {"latents": latents[:batch]}

            def run(given: Mapping[str, Any] = given) -> object:
                return session.run(["images"], given) if choice == "not bound" else bound.run(given)

            rows.append(_measured(Raw(variant, choice, batch), run, seconds))
    except Exception as error:  # a choice that a card or a version doesn't have is a finding
        rows.append(Raw(variant, choice, 0, failure=str(error).strip().split("\n", 1)[0][-200:]))
    return rows


def _measured(row: Raw, run: Callable[[], object], seconds: float) -> Raw:
    begun = time.perf_counter()
    run()
    first_s = time.perf_counter() - begun
    for _ in range(WARM_RUNS):
        run()
    count, begun = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begun) < seconds or not count:
        run()
        count += 1
    return Raw(**asdict(row) | {"first_run_s": first_s, "images_per_s": count * row.batch / elapsed})


def _session(graph: bytes, device: str, most: int, different: Mapping[str, str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if device == "cpu":
        return onnxruntime.InferenceSession(graph, options, providers=[CPU])
    onnxruntime.preload_dlls()
    chosen = {**provider_options(graph, most), **different}
    providers = [(CUDA, chosen), CPU]
    session = onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=False)
    if session.get_providers()[0] != CUDA:
        raise RuntimeError(f"onnxruntime took {session.get_providers()[0]}")
    return session


def parity(bundle: bundles.Bundle, variant: str, device: str, count: int) -> list[Parity]:
    """Compares images of `count` latents with the CPU's, in batches of every size that a server runs."""
    latent = bundle.manifest.latent
    latents = draw(1, np.arange(count), latent.dim, latent.prior)
    expected = Session(bundle.generator, Path("generator.onnx"), "cpu").run({"latents": latents})["images"]
    session = Session(bundle.generator_as(variant), Path(f"{variant}.onnx"), "cuda" if device == "cuda" else "cpu")
    order = np.random.default_rng(0).permutation(count)

    def drawn(batch: int, order: np.ndarray) -> np.ndarray:
        parts = [latents[order[at : at + batch]] for at in range(0, count, batch)]
        images = np.concatenate([session.run({"latents": part})["images"] for part in parts])
        return images[np.argsort(order)]

    alone = drawn(1, np.arange(count))
    found = []
    for batch in session.batch_sizes:
        images = drawn(batch, np.arange(count))
        apart = levels_apart(images, expected)
        same, shuffled = np.array_equal(images, alone), np.array_equal(images, drawn(batch, order))
        found.append(Parity(variant, batch, *apart, same, shuffled))
    return found
