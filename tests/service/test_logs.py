"""The log of a real `dcgan serve`: one event a request, its level, and nothing of what was in the request."""

import asyncio
import base64
import json
import struct
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from bundles import write_bundle
from dcgan import images
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import serve
from receiver import facts, receiving
from wire import DIM, E, one

VALUE = 0.8765432  # of every latent that is sent
MARK = b"RECOGNISABLE-BYTES"
PASSWORD = "open-sesame"
LATENT = one(pb.Node(values=pb.ValuesNode(values=[VALUE] * DIM)))
LATENTS = pb.LatentBatch(count=1, dim=DIM, values=struct.pack("<f", VALUE) * DIM)
PICTURE = images.encode(np.full((6, 5, 3), 77, np.uint8), "png") + MARK  # decoders ignore what comes behind
BLACK = images.encode(np.zeros((6, 5, 3), np.uint8), "png") + MARK
NOT_A_PICTURE = MARK * 9
ENCODED = one(pb.Node(image=pb.ImageNode(file=PICTURE)))
KEYS = {
    *("event", "level", "timestamp", "method", "code", "reason", "request_id", "trace_id"),
    *("image_count", "queue_ms", "device_ms", "encode_ms", "total_ms"),
}


def uploads(*files):
    """A list of image files."""
    return pb.UploadList(files=files)


VALID = [
    ("GetModel", pb.GetModelRequest()),
    ("Sample", pb.SampleRequest(latents=LATENTS, include_latents=True, format=pb.FORMAT_RAW)),
    ("Sample", pb.SampleRequest(expressions=E(expressions=[LATENT, ENCODED]))),
    ("StreamSamples", pb.StreamSamplesRequest(latents=LATENTS)),
    ("Interpolate", pb.InterpolateRequest(points=[LATENT, ENCODED], include_latents=True)),
    ("Arithmetic", pb.ArithmeticRequest(terms=[pb.ArithmeticRequest.Term(label="label", exemplars=[LATENT, ENCODED])])),
    ("Encode", pb.EncodeRequest(images=uploads(PICTURE), refine_steps=2)),
    ("Score", pb.ScoreRequest(images=uploads(PICTURE))),
]
REFUSED = [
    ("GetModel", pb.GetModelRequest(version="0")),
    ("Sample", pb.SampleRequest(latents=pb.LatentBatch(count=2, dim=DIM, values=LATENTS.values))),
    ("StreamSamples", pb.StreamSamplesRequest(expressions=E(expressions=[LATENT, one()]))),
    ("Interpolate", pb.InterpolateRequest(points=[LATENT])),
    ("Arithmetic", pb.ArithmeticRequest(terms=[pb.ArithmeticRequest.Term(exemplars=[LATENT], weight=1e9)])),
    ("Encode", pb.EncodeRequest(images=uploads(NOT_A_PICTURE))),
    ("Score", pb.ScoreRequest(images=uploads(PICTURE, NOT_A_PICTURE))),
]
DEFECT = ("Score", pb.ScoreRequest(images=uploads(BLACK)))
ENDLESS = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=1, count=10**7), format=pb.FORMAT_RAW)


class Asking:
    """Calls a server, each call with an id of its own and a password; keeps the codes by id."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        self.codes: dict[str, str] = {}

    def begin(self, method, request, timeout_s=30):
        """Begins a call; gives it and its id."""
        request_id = f"asked-{len(self.codes)}"
        self.codes[request_id] = "none yet"
        metadata = (("x-request-id", request_id), ("authorization", f"Bearer {PASSWORD}"))
        return getattr(self._stub, method)(request, timeout=timeout_s, metadata=metadata), request_id

    async def end(self, call, request_id):
        """Reads a call to its end."""
        if isinstance(call, grpc.aio.UnaryStreamCall):
            with suppress(grpc.RpcError, asyncio.CancelledError):
                while await call.read() is not grpc.aio.EOF:
                    pass
        self.codes[request_id] = (await call.code()).name

    async def all(self, serving):
        """Asks for what is valid, refused, a defect, too much, too slow, given up, and cut by the server's end."""
        for method, request in [*VALID, *REFUSED, DEFECT]:
            await self.end(*self.begin(method, request))
        many = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=256), format=pb.FORMAT_RAW)
        while "RESOURCE_EXHAUSTED" not in self.codes.values():
            for call in [self.begin("Sample", many) for _ in range(50)]:
                await self.end(*call)
        await self.end(*self.begin("Sample", many, timeout_s=None))
        left, cut = self.begin("StreamSamples", ENDLESS), self.begin("StreamSamples", ENDLESS)
        await left[0].read()
        left[0].cancel()
        await self.end(*left)
        await cut[0].read()
        serving.terminate()
        await self.end(*cut)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A log, the spans, and the codes that callers saw, by the ids of their calls."""
    folder = tmp_path_factory.mktemp("logged")
    bundle = write_bundle(folder / "m", encoder=True, discriminator=True, defect=True)
    flags = ("--max-queued-rows", 1000, "--default-deadline-s", 1e-4, "--drain-delay-s", 0)
    broken = {"OTEL_EXPORTER_OTLP_HEADERS": f'authorization="{PASSWORD}"'}  # which the SDK can't parse, and says so

    async def asked(serving):
        async with grpc.aio.insecure_channel(serving.target) as channel:
            asking = Asking(channel)
            await asking.all(serving)
            return asking.codes

    with receiving() as receiver:
        with serve(bundle, *flags, log=folder / "log", **receiver.variables, **broken) as serving:
            codes = asyncio.run(asked(serving))
            assert serving.process.wait(timeout=30) == 0
        text = (folder / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return SimpleNamespace(text=text, lines=lines, codes=codes, spans=receiver.spans)


def calls(logged):
    """Gives the events of calls."""
    return [line for line in logged.lines if line["event"] == "call"]


def test_each_request_is_one_event_with_its_id(logged):
    """However it ended; with the code that its caller saw, and its trace."""
    assert {line["request_id"]: line["code"] for line in calls(logged)} == logged.codes
    assert Counter(line["request_id"] for line in logged.lines if "request_id" in line).most_common(1)[0][1] == 1
    traces = {
        facts(span)["dcgan.request_id"]: span.trace_id.hex()
        for span in logged.spans
        if span.kind == span.SPAN_KIND_SERVER
    }
    assert {line["request_id"]: line["trace_id"] for line in calls(logged)} == traces


def test_levels_say_whose_doing_it_was(logged):
    """Information of what is in order or the caller's, a warning of what can't be done now, an error of a defect."""
    assert {(line["code"], line["level"]) for line in calls(logged)} == {
        ("OK", "info"),
        ("INVALID_ARGUMENT", "info"),
        ("FAILED_PRECONDITION", "info"),
        ("CANCELLED", "info"),
        ("RESOURCE_EXHAUSTED", "warning"),
        ("DEADLINE_EXCEEDED", "warning"),
        ("UNAVAILABLE", "warning"),
        ("INTERNAL", "error"),
    }


def test_a_defect_brings_its_traceback(logged):
    """In its one event; no other event has more than the fields that all have."""
    (defect,) = [line for line in calls(logged) if line["code"] == "INTERNAL"]
    assert "discriminator gave numbers that are not finite" in json.dumps(defect["exception"])
    assert all(line.keys() == KEYS for line in calls(logged) if line is not defect)
    assert defect.keys() == {*KEYS, "exception"}


def test_nothing_of_what_was_sent_is_logged_or_traced(logged):
    """Latents, images, and what callers prove themselves with; a receiver's header neither."""
    assert any("Header format invalid" in line.get("problem", "") for line in logged.lines)
    traced = "".join(map(str, logged.spans))
    for sent in (MARK, LATENTS.values, PASSWORD.encode(), PICTURE[:24], b"0.876543"):
        forms = (
            sent.decode("latin-1"),
            repr(sent)[2:-1],
            sent.hex(),
            base64.b64encode(sent[:-3]).decode().rstrip("=")[:-1],
        )
        for form in forms:
            assert form not in logged.text
            assert form not in traced
