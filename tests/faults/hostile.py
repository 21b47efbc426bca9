"""Requests that nobody should send, and what a server answers: random trees, wrong numbers, bombs, bytes of no kind.

Run as `make fuzz` for 100,000 of them; a test sends fewer. The same seed sends the same requests.
"""

import argparse
import asyncio
import io
import math
import random
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.internal.encoder import _VarintBytes  # the library has no public one
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script too

from bundles import write_bundle
from dcgan.status import DETAILS_KEY
from dcgan.v1 import dcgan_pb2 as pb
from processes import Serving, serve

DIM = 8
CALLERS = 32
LIMIT_MIB = 700  # of the server's memory: what it has when idle, one picture being decoded, what waits
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
_STREAMS = {"StreamSamples", "Interpolate", "Arithmetic"}
_NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e6, 1e6 + 1, 1e300, math.inf, -math.inf, math.nan)
_GOOD_PICTURES = 7
_WORDS = (0, 1, 2, 7, 2**31 - 1, 2**32, 2**63, 2**64 - 1)


@dataclass
class Findings:
    """What came back: codes with reasons, and all that should not have."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    peak_mib: float = 0.0


class Hostile:
    """Makes requests, each from (seed, number) alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pictures = list(_pictures())

    def request(self, number: int) -> tuple[str, bytes]:
        """Gives a method and the bytes to send to it."""
        self._random = random.Random(self._seed << 32 | number)
        self._wild = self._flip()  # else nearly all that it asks for can be served
        method, make = self._random.choice(_METHODS)
        data = make(self).SerializeToString()
        match self._random.randrange(10) if self._wild else None:
            case 0:
                return method, self._random.randbytes(self._random.randrange(200))
            case 1 if data:  # one byte of a message that was one
                at = self._random.randrange(len(data))
                return method, data[:at] + self._random.randbytes(1) + data[at + 1 :]
            case 2:
                return method, data[: self._random.randrange(len(data) + 1)]
            case 3 if self._random.random() < 0.3:
                return method, self._declared()
        return method, data

    def _declared(self) -> bytes:
        """Says that a gigabyte follows, or sends a million empty nodes."""
        if self._random.random() < 0.9:
            return b"\x1a" + b"\x80\x80\x80\x80\x04" + bytes(50)
        nodes = b"\x0a\x00" * 1_000_000
        expression = b"\x0a" + _VarintBytes(len(nodes)) + nodes
        return b"\x1a" + _VarintBytes(len(expression)) + expression

    def sample(self) -> Message:
        """A Sample request."""
        return pb.SampleRequest(
            **self._source(), keep_best=self._odd((0, 0, 1), (9, -1)), include_scores=self._flip(), format=self._enum(5)
        )

    def stream(self) -> Message:
        """A StreamSamples request."""
        return pb.StreamSamplesRequest(**self._source(), include_latents=self._flip(), format=self._enum(5))

    def path(self) -> Message:
        """An Interpolate request."""
        return pb.InterpolateRequest(
            points=[self._expression() for _ in range(self._odd((2, 3), (0, 1, 30)))],
            frame_count=self._odd((0, 9, 12), (1, 2, -1, 2**31 - 1)),
            first_frame=self._odd((0, 3), (15, -1)),
            curve=self._enum(3),
            closed=self._flip(),
            easing=self._enum(3),
        )

    def arithmetic(self) -> Message:
        """An Arithmetic request."""
        terms = [
            pb.ArithmeticRequest.Term(
                weight=self._number(),
                exemplars=[self._expression() for _ in range(self._odd((1, 3), (0, 30)))],
                label="x" * 300 if self._random.random() < 0.05 else "term",
            )
            for _ in range(self._odd((1, 3), (0, 30)))
        ]
        return pb.ArithmeticRequest(
            terms=terms, neighbour_count=self._odd((0, 8), (65, -1)), normalization=self._enum(3)
        )

    def encode(self) -> Message:
        """An Encode request."""
        return pb.EncodeRequest(images=self._files(), refine_steps=self._odd((0, 1, 3), (-1, 201)))

    def score(self) -> Message:
        """A Score request."""
        return pb.ScoreRequest(images=self._files()) if self._flip() else pb.ScoreRequest(**self._source())

    def model(self) -> Message:
        """A GetModel request."""
        return pb.GetModelRequest(version=self._random.choice(("", "1", "2", "x" * 5000)))

    def _source(self) -> dict[str, Any]:
        match self._random.randrange(4):
            case 0:
                return {"seeds": self._seeds()}
            case 1:
                return {"latents": self._latents()}
            case 2:
                expressions = [self._expression() for _ in range(self._odd((1, 2, 5), (0, 300)))]
                return {"expressions": pb.ExpressionList(expressions=expressions)}
        return {}

    def _seeds(self) -> pb.SeedRange:
        return pb.SeedRange(
            seed=self._random.choice(_WORDS),
            first_index=self._odd((0, 7), _WORDS),
            count=self._odd((0, 1, 5), (300, -1, 2**63 - 1)),
            truncation=self._odd((None, 0.5), _NUMBERS),
        )

    def _latents(self) -> pb.LatentBatch:
        count = self._odd((1, 3), (0, -1, 2**31 - 1))
        values = np.array([self._number() for _ in range(DIM * 3)], np.float64)
        with np.errstate(over="ignore"):
            data = values.astype("<f4").tobytes()
        honest = 4 * DIM * max(count, 0)
        return pb.LatentBatch(
            count=count,
            dim=self._odd((DIM,), (0, -1, 2**31 - 1)),
            values=data[: min(honest, len(data))],
        )

    def _expression(self) -> pb.Expression:
        nodes = [self._node(at) for at in range(self._odd((1, 3, 5), (0, 20, 900)))]
        return pb.Expression(nodes=nodes, normalization=self._enum(2))

    def _node(self, position: int) -> pb.Node:
        match self._random.randrange(8 if position else 3):
            case 0 | 1:
                return pb.Node(seed=pb.SeedNode(seed=self._random.choice(_WORDS), index=self._random.choice(_WORDS)))
            case 2:
                wild = self._wild and self._flip()
                count = self._random.choice((0, DIM + 1, DIM)) if wild else DIM
                values = [self._number() if wild else self._random.gauss(0, 1) for _ in range(count)]
                return pb.Node(
                    values=pb.ValuesNode(values=[value if abs(value) < 3e38 else math.inf for value in values])
                )
            case 3:
                return pb.Node(direction=self._odd(("less", "more"), ("", "x" * 5000)))
            case 4 | 5:
                terms = [
                    pb.SumNode.Term(node=self._earlier(position), weight=self._number() if self._flip() else None)
                    for _ in range(self._odd((1, 2, 3), (0, 500)))
                ]
                return pb.Node(sum=pb.SumNode(terms=terms))
            case 6:
                return pb.Node(
                    mix=pb.MixNode(
                        start=self._earlier(position),
                        end=self._earlier(position),
                        t=self._odd((0.0, 0.3, 1.0), _NUMBERS),
                        curve=self._enum(3),
                    )
                )
        return pb.Node(image=pb.ImageNode(file=self._file(), refine_steps=self._odd((0, 2), (-1, 999))))

    def _earlier(self, position: int) -> int:
        if position and not (self._wild and self._random.random() < 0.1):
            return self._random.randrange(position)
        return self._random.choice((position, position + 1, -1, 2**31 - 1))

    def _files(self) -> pb.UploadList:
        return pb.UploadList(files=[self._file() for _ in range(self._odd((1, 2), (0, 65)))])

    def _file(self) -> bytes:
        data: bytes = self._random.choice(self._pictures if self._wild else self._pictures[:_GOOD_PICTURES])
        match self._random.randrange(6) if self._wild else None:
            case 0:
                return data[: self._random.randrange(len(data) + 1)]
            case 1 if data:
                at = self._random.randrange(len(data))
                return data[:at] + self._random.randbytes(3) + data[at + 3 :]
        return data

    def _number(self) -> float:
        return self._random.choice(_NUMBERS) if self._wild and self._flip() else self._random.uniform(-3.0, 3.0)

    def _enum(self, count: int) -> int:
        return self._odd(tuple(range(count)), (9, -1))

    def _odd(self, good: Sequence[Any], odd: Sequence[Any]) -> Any:
        """Chooses what can be served or, in a wild request now and then, what can't."""
        return self._random.choice(odd if self._wild and self._random.random() < 0.15 else good)

    def _flip(self) -> bool:
        return self._random.random() < 0.5


_METHODS: list[tuple[str, Callable[[Hostile], Message]]] = [
    ("Sample", Hostile.sample),
    ("StreamSamples", Hostile.stream),
    ("Interpolate", Hostile.path),
    ("Arithmetic", Hostile.arithmetic),
    ("Encode", Hostile.encode),
    ("Score", Hostile.score),
    ("GetModel", Hostile.model),
]


async def attack(target: str, count: int, seed: int = 0) -> Findings:
    """Sends `count` requests by several callers at once; a stream is left after a few messages."""
    hostile, findings = Hostile(seed), Findings()
    numbers = iter(range(count))
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:

        async def call() -> None:
            for number in numbers:
                method, data = hostile.request(number)
                findings.answers[await _asked(channel, method, data, findings, number)] += 1

        await asyncio.gather(*(call() for _ in range(CALLERS)))
    return findings


async def _asked(channel: grpc.aio.Channel, method: str, data: bytes, findings: Findings, number: int) -> str:
    path = f"/dcgan.v1.GeneratorService/{method}"
    try:
        if method in _STREAMS:
            stream = channel.unary_stream(path)(data, timeout=20)
            async for at in _counted(stream):
                if at == 2:
                    stream.cancel()
                    break
        else:
            await channel.unary_unary(path)(data, timeout=20)
    except grpc.aio.AioRpcError as error:
        reason, wrong = _judged(error)
        if wrong:
            findings.wrong.append(f"request {number}, {method}: {wrong}")
        return f"{error.code().name} {reason}"
    return "OK"


def _judged(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """Gives the reason of a refusal, and what is wrong with it, if anything is."""
    code = error.code().name
    details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    if details is None and "larger than max" in (error.details() or ""):
        return "(by gRPC itself: more than 8 MiB)", ""  # as the proto says of max_request_bytes
    if details is None:
        return "-", f"{code} without details: {error.details()}"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    kinds = {any_detail.TypeName(): any_detail for any_detail in status_pb2.Status.FromString(details).details}
    kinds["google.rpc.ErrorInfo"].Unpack(info)
    if code not in ALLOWED:
        return info.reason, f"{code} {info.reason}: {error.details()}"
    if info.reason == "INVALID_FIELD":
        kinds["google.rpc.BadRequest"].Unpack(bad)
        if not bad.field_violations[0].field:
            return info.reason, "names no field"
    return info.reason, ""


async def _counted(stream: Any) -> Any:
    at = 0
    async for _ in stream:
        yield at
        at += 1


def peak_mib(server: Serving) -> float:
    """Reads the most memory that a server ever had resident."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _pictures() -> Iterator[bytes]:
    """Gives images of all kinds, and files that are none or too large."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    for mode, kind in (
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("L", "JPEG"),
        ("RGB", "WEBP"),
        ("P", "GIF"),
    ):
        file = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(file, kind)
        yield file.getvalue()
    for size in ((4096, 4096), (60_000, 60_000), (1, 2**31 - 1)):
        yield _bomb(*size)
    yield b""
    yield b"GIF89a" + bytes(40)


def _bomb(width: int, height: int) -> bytes:
    """Makes a small PNG that says it has very many black pixels; the data are cut off after 16 million."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min((width + 1) * height, 1 << 24)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def main() -> int:
    """Attacks a server of its own; prints what came back, and exits with 1 if anything should not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = write_bundle(Path(folder) / "m", dim=DIM, directions=("less", "more"), encoder=True, discriminator=True)
        with serve(model) as server:
            findings = asyncio.run(attack(server.target, options.count, options.seed))
            peak = peak_mib(server)
            alive = server.process.poll() is None
    for answer, count in findings.answers.most_common():
        print(f"{count:8,} {answer}")
    print(f"peak memory {peak:.0f} MiB, allowed {LIMIT_MIB}; alive: {alive}; wrong: {len(findings.wrong)}")
    for line in findings.wrong[:20]:
        print(line)
    return int(bool(findings.wrong) or not alive or peak > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
