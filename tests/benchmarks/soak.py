"""Very many requests with known answers, at one server, from clients that give up and clients that are killed.

Prints Markdown and writes it to build/bench/soak.md, and the server's memory to soak.csv, of which it asserts nothing.
Ends with 1 where a call ended otherwise than with its own images or by its caller's cancelling, and where the server
isn't idle afterwards.

First the images of every seed are drawn and encoded in this process, without the server, and their digests kept. Then
client processes ask for random runs of them in random formats through the bare stub, which retries nothing, and
compare every image. One client more does the same, and is killed at random moments and replaced. A call that is
cancelled is so at a random moment of its life: at once, in the queue, on the device, while its images are encoded.
"""

import argparse
import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import grpc
import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import load

from dcgan import bundle as bundles
from dcgan import images
from dcgan.cgroup import usable_cores
from dcgan.generator import Generator
from dcgan.latents import draw
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import Serving, serve

MODEL = "fashion"
SEEDS, LONGEST, MEAN = 1000, 16, 4  # seeds, images known of each, and images of a call in the mean
FORMATS = {pb.FORMAT_RAW: None, pb.FORMAT_PNG: "png", pb.FORMAT_JPEG: "jpeg", pb.FORMAT_WEBP: "webp"}
STREAMED, GIVEN_UP, AT_ONCE = 0.2, 0.12, 0.1  # shares: of calls, of calls (some answers win), of those given up
DEADLINE_S, HUNG_S, IDLE_S = 30.0, 40.0, 30.0  # of a call, of one that outlives it, of the server to become idle
EVERY_S = 0.25  # from one reading of the memory to the next
WARM_UP, BLOCKS, STUDENT_T = 0.2, 20, 2.101  # share left out, means that a line is fitted to, their 97.5 % quantile
ENDS = ("every image right", "cancelled by us", "another status", "hung", "not what was asked for", "images missing")
RIGHT, CANCELLED, REFUSED, HUNG, WRONG, MISSING = range(len(ENDS))
BUSY = ("dcgan_queued_rows", "dcgan_requests_in_progress")
IMAGES, LONGEST_MS, COLUMNS = len(ENDS), len(ENDS) + 1, len(ENDS) + 2  # of a tally, behind those that count calls


def main() -> None:
    """Soaks a server and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000, help="of clients that survive. Default: 200000")
    parser.add_argument("--clients", type=int, default=3, help="processes that survive. Default: 3")
    parser.add_argument("--in-flight", type=int, default=8, help="calls of each at once. Default: 8")
    parser.add_argument("--kills", type=int, default=20, help="clients killed beside these, 1 or more. Default: 20")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="seconds it may take. Default: 3600")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that all processes are ended too
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "known.npy", known_digests())
        with serve(MODEL) as serving:
            crowd = Crowd(serving, folder, options)
            begun = time.monotonic()
            try:
                memory = crowd.load()
            finally:
                crowd.end()
            seconds, figures = time.monotonic() - begun, at_rest(serving)
        examples = [line for file in sorted(folder.glob("bad-*")) for line in file.read_text().splitlines()]
    complaints = [*crowd.complaints(), *left_over(figures), *examples[:10]]
    report = "\n".join([*calls(crowd), *about(crowd, seconds, memory, figures), *complaints, ""])
    print(report)
    (options.output / "soak.md").write_text(report)
    np.savetxt(options.output / "soak.csv", memory, "%d", ",", header="calls,rss_kib", comments="")
    sys.exit(1 if complaints else 0)


def known_digests() -> np.ndarray:
    """Draws and encodes every image here: digests, uint8 (SEEDS, formats, LONGEST, 8)."""
    bundle = bundles.load(bundles.locate(MODEL))
    generator, latent = Generator(bundle, "cpu"), bundle.manifest.latent
    table = np.empty((SEEDS, len(FORMATS), LONGEST, 8), np.uint8)
    for seed in range(SEEDS):
        drawn = generator.run(draw(seed, np.arange(LONGEST), latent.dim, latent.prior))
        for column, name in enumerate(FORMATS.values()):
            table[seed, column] = digests([images.encode(one, name) if name else one.tobytes() for one in drawn])
    return table


def digests(parts: list[bytes]) -> np.ndarray:
    """Digests the bytes of each image: uint8 (n, 8)."""
    joined = b"".join(blake2b(part, digest_size=8).digest() for part in parts)
    return np.frombuffer(joined, np.uint8).reshape(-1, 8)


class Crowd:
    """The client processes, and what each has counted so far: int64 (clients, COLUMNS), survivors first."""

    def __init__(self, serving: Serving, folder: Path, options: argparse.Namespace) -> None:
        self.options, self.kills = options, 0
        self._serving, self._folder, self._processes = serving, folder, []
        self._context = multiprocessing.get_context("spawn")  # gRPC doesn't survive a fork
        self._shared = self._context.RawArray("q", (options.clients + options.kills) * COLUMNS)
        self._until = time.monotonic() + options.limit_s
        self.tally = np.frombuffer(self._shared, np.int64).reshape(-1, COLUMNS)

    @property
    def done(self) -> int:
        """Calls of the survivors that have ended."""
        return int(self.tally[: self.options.clients, :IMAGES].sum())

    def load(self) -> np.ndarray:
        """Runs until the survivors have done, killing others; gives the memory: int64 (n, 2), calls ended and KiB."""
        survivors, memory = self.options.clients, []
        moments = sorted(np.random.default_rng().uniform(0.02, 0.98, self.options.kills - 1) * self.options.requests)
        for share in np.diff(np.linspace(0, self.options.requests, survivors + 1).astype(int)):
            self._start(int(share))
        self._start(sys.maxsize)
        while left := [one for one in self._processes[:survivors] if one.is_alive()]:
            if self._serving.process.poll() is not None:
                sys.exit("the server died")
            if time.monotonic() > self._until or not self._processes[-1].is_alive():
                break
            memory.append((self.done, rss_kib(self._serving.process.pid)))
            loads = self.tally[len(self._processes) - 1, RIGHT] > 0  # else it would be killed before it has called
            if loads and self.kills < len(moments) and self.done >= moments[self.kills]:
                self._kill_last()
                self._start(sys.maxsize)
            left[0].join(EVERY_S)
        self._kill_last()
        return np.array(memory)

    def complaints(self) -> list[str]:
        """Says what went wrong, the clients that were killed included."""
        bad = {end: int(self.tally[:, column].sum()) for column, end in enumerate(ENDS) if column > CANCELLED}
        unended = self.options.requests - self.done
        codes = [one.exitcode for one in self._processes]
        expected = [0] * self.options.clients + [-signal.SIGKILL] * (len(codes) - self.options.clients)
        return [
            *(f"{count:,} calls ended so: {end}" for end, count in bad.items() if count),
            *([f"{unended:,} calls of clients that were not killed never ended"] if unended else []),
            *([f"clients ended with {codes} rather than {expected}"] if codes != expected else []),
        ]

    def end(self) -> None:
        """Ends every client that still runs."""
        for process in filter(lambda one: one.pid, self._processes):  # the last may not have been started yet
            process.kill()
            process.join()

    def _start(self, calls: int) -> None:
        tally = (self._shared, len(self._processes))
        arguments = (self._serving.target, self._folder, calls, self.options.in_flight, self._until, tally)
        self._processes.append(self._context.Process(target=client, args=arguments, daemon=True))
        self._processes[-1].start()

    def _kill_last(self) -> None:
        self._processes[-1].kill()
        self._processes[-1].join()
        self.kills += 1


def client(*arguments: Any) -> None:
    """Is the whole of a client process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; it is the parent that ends its clients
    asyncio.run(Client(*arguments).run())


class Client:
    """Keeps calls in flight and counts how they end, in its row of the tally; `until` is on the monotonic clock."""

    def __init__(
        self, target: str, folder: Path, calls: int, in_flight: int, until: float, tally: tuple[Any, int]
    ) -> None:
        self._target, self._left, self._in_flight, self._until = target, calls, in_flight, until
        self._tally = np.frombuffer(tally[0], np.int64).reshape(-1, COLUMNS)[tally[1]]
        self._bad = folder / f"bad-{tally[1]}"
        self._known = np.load(folder / "known.npy", mmap_mode="r")
        self._random = np.random.default_rng()
        self._usual_s = 0.02  # that the last call took

    async def run(self) -> None:
        """Makes all calls over one connection."""
        async with grpc.aio.insecure_channel(self._target) as channel, asyncio.TaskGroup() as group:
            stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
            for _ in range(self._in_flight):
                group.create_task(self._calls(stub))

    async def _calls(self, stub: dcgan_pb2_grpc.GeneratorServiceStub) -> None:
        parent = multiprocessing.parent_process()  # where it was killed, nobody ends us but we ourselves
        while self._left > 0 and time.monotonic() < self._until and parent.is_alive():
            self._left -= 1
            count = int(min(self._random.geometric(1 / MEAN), LONGEST))
            first = int(self._random.integers(LONGEST - count + 1))
            seeds = pb.SeedRange(seed=int(self._random.integers(SEEDS)), first_index=first, count=count)
            asked = {"seeds": seeds, "format": list(FORMATS)[self._random.integers(len(FORMATS))]}
            if self._random.random() < STREAMED:
                call = stub.StreamSamples(pb.StreamSamplesRequest(**asked), timeout=DEADLINE_S)
            else:
                call = stub.Sample(pb.SampleRequest(**asked), timeout=DEADLINE_S)
            begun = time.monotonic()
            end, why = await self._end_of(call, **asked)
            took_ms = round(1000 * (time.monotonic() - begun))
            self._tally[LONGEST_MS] = max(took_ms, self._tally[LONGEST_MS])
            self._tally[end] += 1
            if end > CANCELLED and self._tally[REFUSED:IMAGES].sum() <= 3:
                with self._bad.open("a") as file:
                    file.write(" ".join(f"{ENDS[end]}: {why}; {asked}".split()) + "\n")

    async def _end_of(self, call: Any, seeds: pb.SeedRange, format: int) -> tuple[int, str]:  # noqa: A002
        """Waits for the end of a call, or makes it by giving up; says which it was, and what there is to say of it."""
        begun, loop, given_up = time.monotonic(), asyncio.get_running_loop(), asyncio.Event()
        if self._random.random() < GIVEN_UP:
            after_s = 0.0 if self._random.random() < AT_ONCE else self._random.uniform(0.0, 1.2 * self._usual_s)
            loop.call_later(after_s, lambda: call.cancel() and given_up.set())
        try:
            async with asyncio.timeout(HUNG_S):
                answers = [one async for one in call] if hasattr(call, "__aiter__") else [await call]
        except TimeoutError:
            return HUNG, f"no end after {HUNG_S} s"
        except asyncio.CancelledError:
            return (CANCELLED, "") if given_up.is_set() else (REFUSED, "CANCELLED, but not by us")
        except grpc.aio.AioRpcError as error:
            if given_up.is_set() and error.code() is grpc.StatusCode.CANCELLED:
                return CANCELLED, ""  # grpc.aio raises this or that, by when in a call's end one gives up
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return HUNG if late else REFUSED, f"{error.code().name} {error.details()}"
        self._usual_s = time.monotonic() - begun
        return self._compared(answers, seeds, format)

    def _compared(self, answers: list[Any], seeds: pb.SeedRange, image_format: int) -> tuple[int, str]:
        """Compares all that came with what is known."""
        parts: list[bytes] = []
        for answer in answers:
            batch = answer.images
            size, first = max(batch.height * batch.width * batch.channels, 1), getattr(answer, "first_index", None)
            if (answer.seed, batch.format) != (seeds.seed, image_format):
                return WRONG, f"seed {answer.seed}, format {batch.format}"
            if first not in (None, seeds.first_index + len(parts)):
                return WRONG, f"first_index {first} after {len(parts)} images"
            raw = [batch.raw[start : start + size] for start in range(0, len(batch.raw), size)]
            parts += raw if image_format == pb.FORMAT_RAW else batch.encoded
        if len(parts) != seeds.count or sum(answer.images.count for answer in answers) != seeds.count:
            return MISSING, f"{len(parts)} images"
        known = self._known[seeds.seed, list(FORMATS).index(image_format)]
        right = (digests(parts) == known[seeds.first_index : seeds.first_index + seeds.count]).all(axis=1)
        self._tally[IMAGES] += right.sum()
        if right.all():
            return RIGHT, ""
        wrong = [np.argwhere((self._known == one).all(axis=-1)).tolist() for one in digests(parts)[~right]]
        return WRONG, f"right are {right.tolist()}; the others are these of [seed, format, index]: {wrong}"


def rss_kib(pid: int) -> int:
    """Reads how much memory of a process is resident, KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def at_rest(serving: Serving) -> dict[str, float]:
    """Reads the server's figures once it is idle, or as they are when it had time enough to become so."""
    until = time.monotonic() + IDLE_S
    while True:
        figures = serving.figures()
        if not left_over(figures) or time.monotonic() > until:
            return figures
        time.sleep(EVERY_S)


def left_over(figures: dict[str, float]) -> list[str]:
    """Names what the server still has to do, by its own figures."""
    busy = {name: value for name, value in figures.items() if value and name.startswith(BUSY)}
    return [f"not idle after {IDLE_S:g} s: {name} is {value:g}" for name, value in busy.items()]


def slope(memory: np.ndarray) -> tuple[float, float]:
    """Fits a line to means of blocks after the warm-up: KiB for 1,000 calls, and half its 95 % interval."""
    if len(memory) < BLOCKS:
        return np.nan, np.nan
    x, y = np.array([block.mean(axis=0) for block in np.array_split(memory, BLOCKS)]).T
    x, y = (x - x.mean()) / 1000.0, y - y.mean()
    rise = x @ y / (x @ x)
    rest = y - rise * x
    return rise, STUDENT_T * np.sqrt(rest @ rest / (BLOCKS - 2) / (x @ x))


def calls(crowd: Crowd) -> list[str]:
    """Writes how all calls ended."""
    survivors, victims = np.split(crowd.tally, [crowd.options.clients])
    rows = [
        f"| {end} | {survivors[:, column].sum():,} | {victims[:, column].sum():,} |"
        for column, end in enumerate((*ENDS, "images compared and right"))
    ]
    longest = [f"{some[:, LONGEST_MS].max():,}" for some in (survivors, victims)]
    return [
        f"| calls | of {len(survivors)} clients | of {crowd.kills} that were killed |",
        "| --- | --- | --- |",
        *rows,
        f"| ms that the longest call took | {' | '.join(longest)} |",
    ]


def about(crowd: Crowd, seconds: float, memory: np.ndarray, figures: dict[str, float]) -> list[str]:
    """Writes on what it ran, how the memory went, and what the server itself counted."""
    warm = memory[memory[:, 0] >= WARM_UP * crowd.options.requests]
    rise, reach = slope(warm)
    total = "dcgan_requests_total"
    counted = [f"{name.removeprefix(total)} {x:,.0f}" for name, x in figures.items() if name.startswith(total)]
    busy = [f"{sum(x for name, x in figures.items() if name.startswith(one)):g} {one}" for one in BUSY]
    return [
        f"\n{load.processor()}, {usable_cores()} usable cores, load {os.getloadavg()[0]:.1f}; "
        f"{MODEL}, {SEEDS:,} seeds; {seconds:.0f} s, {crowd.done / seconds:,.0f} calls/s of "
        f"the clients that were not killed, {crowd.options.in_flight} in flight at each.\n",
        f"RSS of the server: {memory[0, 1] / 1024:.1f} MiB at first, {warm[0, 1] / 1024:.1f} MiB after {WARM_UP:.0%}, "
        f"{warm[-1, 1] / 1024:.1f} MiB at last. After the {WARM_UP:.0%} it rises for 1,000 calls by {rise:+.2f} KiB "
        f"(95 %: {rise - reach:+.2f} to {rise + reach:+.2f}).\n",
        f"At the end the server says: {', '.join(busy)}.",
        f"It counted, of the killed clients too: {'; '.join(counted)}.",
    ]


if __name__ == "__main__":
    main()
