"""Swaps two versions of a model fifty times under load, and compares every image with what its version must give.

python tests/faults/live_swaps.py

Version 2 draws the negatives of version 1. Unary calls go through the bare stub, which retries nothing. Some streams
know a second server that always serves version 1: those have to come whole once they have begun, and may not begin
where they ask the other one first. The others know the swapping server alone, and may end with BUNDLE_CHANGED.
Prints what was counted, and the server's memory after each swap: its slope from the fifth swap on, with the 95 %
interval.
"""

import argparse
import asyncio
import hashlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors import numpy as safetensors
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from dcgan import bundle as bundles
from dcgan import connect_async, errors
from dcgan.bundle.versions import roll_back
from dcgan.generator import Generator
from dcgan.latents import draw
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import Serving, serve

SEED, COUNT, LONGEST = 7, 60_000, 16  # images of the seed that are known; of a unary call
IN_FLIGHT = 6
FIRST = 5  # swaps before memory counts
MAX_SWAP_S = 60.0


def main() -> None:
    """Swaps, and ends with 1 where a call ended otherwise than it may, or an image isn't its version's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=50, help="Default: 50")
    swaps = parser.parse_args().swaps
    with tempfile.TemporaryDirectory() as name:
        directory, fixed = Path(name) / "fashion", Path(name) / "fixed"
        directory.mkdir()
        bundles.extend(bundles.locate("fashion"), directory / "1", {}, {})
        bundles.extend(directory / "1", directory / ".2", {"version": "2"}, negative(directory / "1"))
        shutil.copytree(directory / "1", fixed / "1")
        known = {version: digests(directory / place) for version, place in (("1", "1"), ("2", ".2"))}
        with serve(directory, log=Path(name) / "log") as swapping, serve(fixed) as other:
            run = Run(known)
            memory, seconds = asyncio.run(run.all(directory, swapping, other, swaps))
    print("\n".join([*run.told(), *told_memory(memory, seconds)]))
    sys.exit(1 if run.wrong() else 0)


def negative(path: Path) -> dict[str, bytes]:
    """Gives the files in which a bundle of negative images differs from one."""
    bundle = bundles.load(path)
    golden = {"latents": bundle.golden_latents, "images": 255 - bundle.golden_images}
    return {bundles.GENERATOR: inverted(bundle.generator), bundles.GOLDEN: safetensors.save(golden)}


def inverted(generator: bytes) -> bytes:
    """Adds 255 - x behind a generator."""
    model = onnx.load_from_string(generator)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["positive" if name == "images" else name for name in node.output]
    white = helper.make_tensor("white", TensorProto.UINT8, [], [255])
    graph.initializer.append(white)
    graph.node.append(helper.make_node("Sub", ["white", "positive"], ["images"]))
    return bytes(model.SerializeToString())


def digests(path: Path) -> list[bytes]:
    """Draws the images of the seed here, without a server, and keeps a digest of each."""
    bundle = bundles.load(path)
    generator, latent = Generator(bundle, "cpu"), bundle.manifest.latent
    found: list[bytes] = []
    for start in range(0, COUNT, 500):
        images = generator.run(draw(SEED, np.arange(start, start + 500), latent.dim, latent.prior))
        found += [digest(image) for image in images]
    return found


def digest(image: np.ndarray) -> bytes:
    """Digests one image."""
    return hashlib.blake2b(image.tobytes(), digest_size=8).digest()


class Run:
    """The load and its counts."""

    def __init__(self, known: dict[str, list[bytes]]) -> None:
        self._known = known
        self._ended = asyncio.Event()
        self.calls: Counter[str] = Counter()
        self.images: Counter[str] = Counter()

    async def all(
        self, directory: Path, swapping: Serving, other: Serving, swaps: int
    ) -> tuple[list[int], list[float]]:
        """Loads until all swaps are done; gives the memory in KiB after each, and the seconds that each took."""
        async with (
            grpc.aio.insecure_channel(swapping.target) as channel,
            connect_async(f"{swapping.target},{other.target}") as both,
            connect_async(swapping.target) as one,
            asyncio.TaskGroup() as group,
        ):
            stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
            for _ in range(IN_FLIGHT):
                group.create_task(self._unary(stub))
            group.create_task(self._streams(both, "1", "with a second server"))
            group.create_task(self._streams(one, "", "with this server alone"))
            memory, seconds = [], []
            for number in range(swaps):
                begun = time.monotonic()
                wanted = "1" if number % 2 else "2"
                if wanted == "2":
                    (directory / ".2").rename(directory / "2")
                else:
                    roll_back(directory)[0].rename(directory / ".2")
                await self._taken(stub, swapping, wanted, begun)
                seconds.append(time.monotonic() - begun)
                memory.append(resident_kib(swapping))
            self._ended.set()
        return memory, seconds

    async def _taken(
        self, stub: dcgan_pb2_grpc.GeneratorServiceStub, server: Serving, wanted: str, begun: float
    ) -> None:
        """Waits until a version serves and the other one is out of memory."""
        while time.monotonic() < begun + MAX_SWAP_S:
            model = await stub.GetModel(pb.GetModelRequest())
            figures = await asyncio.to_thread(server.figures)
            if model.identity.version == wanted and figures["dcgan_loaded_models"] == 1:
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"version {wanted} didn't take over; refused: {model.refused_versions}")

    async def _unary(self, stub: dcgan_pb2_grpc.GeneratorServiceStub) -> None:
        while not self._ended.is_set():
            first, count = random.randrange(COUNT - LONGEST), random.randint(1, LONGEST)
            seeds = pb.SeedRange(seed=SEED, first_index=first, count=count)
            try:
                answer = await stub.Sample(pb.SampleRequest(seeds=seeds, format=pb.FORMAT_RAW), timeout=30)
            except grpc.aio.AioRpcError as error:
                self.calls[f"unary: {error.code().name} {error.details()}"] += 1
                continue
            images = np.frombuffer(answer.images.raw, np.uint8).reshape(count, -1)
            self.calls["unary: OK"] += 1
            self._compare(answer.identity.version, first, images)

    async def _streams(self, client: object, version: str, which: str) -> None:
        while not self._ended.is_set():
            at = 0
            try:
                async for chunk in client.stream_samples(COUNT, seed=SEED, version=version):
                    self._compare(chunk.identity.version, at, chunk.images)
                    at += len(chunk)
            except errors.VersionNotServed:
                self.calls[f"stream {which}: VERSION_NOT_SERVED after {at} images"] += 1
            except errors.BundleChanged:
                self.calls[f"stream {which}: BUNDLE_CHANGED"] += 1
            except errors.DcganError as error:
                self.calls[f"stream {which}: {error.reason} {error.message}"] += 1
            else:
                self.calls[f"stream {which}: " + ("whole" if at == COUNT else f"{at} images")] += 1

    def _compare(self, version: str, first: int, images: np.ndarray) -> None:
        right = [digest(image) for image in images] == self._known[version][first : first + len(images)]
        self.images[f"of version {version}" if right else "WRONG"] += len(images)

    def wrong(self) -> bool:
        """Whether anything happened that may not."""
        may = {
            "unary: OK",
            "stream with a second server: whole",
            "stream with a second server: VERSION_NOT_SERVED after 0 images",
            "stream with this server alone: whole",
            "stream with this server alone: BUNDLE_CHANGED",
        }
        return "WRONG" in self.images or not self.calls.keys() <= may

    def told(self) -> list[str]:
        """Says what was counted."""
        return [f"{name}: {count:,}" for name, count in [*sorted(self.calls.items()), *sorted(self.images.items())]]


def resident_kib(server: Serving) -> int:
    """Reads the memory of the server."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4


def told_memory(memory: list[int], seconds: list[float]) -> list[str]:
    """Says how memory went, and how long a swap took from its file operation until the old model was gone."""
    lines = [f"a swap took {np.median(seconds):.1f} s in the median, {max(seconds):.1f} s at most"]
    if len(memory) > FIRST + 2:
        fit = stats.linregress(np.arange(FIRST, len(memory)), memory[FIRST:])
        reach = stats.t.ppf(0.975, len(memory) - FIRST - 2) * fit.stderr
        lines += [
            f"memory {memory[FIRST] / 1024:.0f} MiB after swap {FIRST + 1}, {memory[-1] / 1024:.0f} after the last",
            f"slope {fit.slope:.1f} KiB a swap, 95 % interval {fit.slope - reach:.1f} to {fit.slope + reach:.1f}",
        ]
    return lines


if __name__ == "__main__":
    main()
