"""The methods, asked over the wire of a real server by bare stubs: answers, streams, refusals, what surrounds them."""

import asyncio
import gc
import itertools
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from bundles import write_bundle
from conftest import serving_here
from dcgan import errors, images, latents
from dcgan.generator import Generator
from dcgan.status import DETAILS_KEY, error_of
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

DIM = 8
MANY = 1000


@pytest.fixture
async def channel(server):
    """A channel to the shared server."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    """The bare generated stub."""
    return dcgan_pb2_grpc.GeneratorServiceStub(channel)


def seed_node(seed, index=0):
    """A node that names a latent."""
    return pb.Node(seed=pb.SeedNode(seed=seed, index=index))


def one(*nodes, **fields):
    """An expression of these nodes."""
    return pb.Expression(nodes=nodes, **fields)


def seeds(**fields):
    """A raw Sample request with a seed range."""
    return pb.SampleRequest(seeds=pb.SeedRange(**fields), format=pb.FORMAT_RAW, include_latents=True)


def pixels(batch):
    """Reads a raw image batch as an array."""
    shape = batch.count, batch.height, batch.width, batch.channels
    return np.frombuffer(batch.raw, np.uint8).reshape(shape)


def values(batch):
    """Reads a latent batch as an array."""
    return np.frombuffer(batch.values, "<f4").reshape(batch.count, batch.dim)


async def _read_all(call):
    return [answer async for answer in call]


async def refused(call) -> tuple[grpc.StatusCode, errors.DcganError]:
    """Awaits a call that must fail: its code and the error that a client makes of it."""
    ending = _read_all(call) if isinstance(call, grpc.aio.UnaryStreamCall) else call
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ending
    error = refusal.value
    return error.code(), error_of(error.code(), error.details(), error.trailing_metadata())


async def test_the_model_describes_itself(stub):
    """Identity, shapes, limits, directions."""
    model = await stub.GetModel(pb.GetModelRequest())
    assert (model.identity.name, model.identity.version, model.identity.provider) == (
        "linear",
        "1",
        "CPUExecutionProvider",
    )
    assert (model.latent_dim, model.prior) == (DIM, pb.PRIOR_NORMAL)
    assert (model.height, model.width, model.channels) == (6, 5, 3)
    assert [direction.name for direction in model.directions] == ["less", "more"]
    assert model.limits.max_images == 256
    assert model.golden_exact


async def test_the_same_seed_gives_the_same_images_however_it_is_asked(stub):
    """Together, one by one, as a stream, as expressions, as values: the same bytes."""
    together = await stub.Sample(seeds(seed=7, count=20))
    assert together.seed == 7
    np.testing.assert_array_equal(values(together.latents), latents.draw(7, np.arange(20), DIM, "normal"))
    for index in (0, 13, 19):
        alone = await stub.Sample(seeds(seed=7, first_index=index, count=1))
        np.testing.assert_array_equal(pixels(alone.images)[0], pixels(together.images)[index])
    stream = stub.StreamSamples(pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=7, count=20), format=pb.FORMAT_RAW))
    streamed = np.concatenate([pixels(chunk.images) async for chunk in stream])
    np.testing.assert_array_equal(streamed, pixels(together.images))
    expressions = pb.ExpressionList(expressions=[one(seed_node(7, index)) for index in range(20)])
    computed = await stub.Sample(pb.SampleRequest(expressions=expressions, format=pb.FORMAT_RAW))
    np.testing.assert_array_equal(pixels(computed.images), pixels(together.images))
    given = await stub.Sample(pb.SampleRequest(latents=together.latents, format=pb.FORMAT_RAW))
    np.testing.assert_array_equal(pixels(given.images), pixels(together.images))


async def test_no_seed_means_a_new_one_that_is_told(stub):
    """Two calls differ; the returned seed gives the same image again."""
    drawn = [await stub.Sample(pb.SampleRequest(format=pb.FORMAT_RAW)) for _ in range(2)]
    assert drawn[0].seed != drawn[1].seed
    again = await stub.Sample(seeds(seed=drawn[0].seed))
    np.testing.assert_array_equal(pixels(again.images), pixels(drawn[0].images))


@pytest.mark.parametrize(
    ("image_format", "start"),
    [
        ("FORMAT_UNSPECIFIED", b"\x89PNG"),
        ("FORMAT_PNG", b"\x89PNG"),
        ("FORMAT_JPEG", b"\xff\xd8"),
        ("FORMAT_WEBP", b"RIFF"),
    ],
)
async def test_images_come_in_the_format_asked_for(stub, image_format, start):
    """PNG without loss and by default, JPEG and WebP."""
    request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=3), format=pb.Format.Value(image_format))
    answer = await stub.Sample(request)
    assert answer.images.count == len(answer.images.encoded) == 3
    assert all(data.startswith(start) for data in answer.images.encoded)
    if start == b"\x89PNG":
        raw = pixels((await stub.Sample(seeds(seed=1, count=3))).images)
        for data, image in zip(answer.images.encoded, raw, strict=True):
            np.testing.assert_array_equal(images.decode(data), image)


async def test_a_stream_names_its_images_and_itself_once(stub):
    """Chunks follow each other without a gap; only the first carries the identity."""
    request = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=7, first_index=5, count=MANY), format=pb.FORMAT_RAW)
    chunks = [chunk async for chunk in stub.StreamSamples(request)]
    assert len(chunks) > 1
    assert [chunk.HasField("identity") for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert chunks[0].first_index == 5
    for before, after in itertools.pairwise(chunks):
        assert after.first_index == before.first_index + before.images.count
    assert sum(chunk.images.count for chunk in chunks) == MANY


async def test_a_path_streams_its_frames_and_continues_at_any(stub):
    """Frames 7 to the end are the same whether or not 0 to 6 were sent."""
    request = pb.InterpolateRequest(
        points=[one(seed_node(1)), one(seed_node(2)), one(seed_node(3))],
        frame_count=600,
        format=pb.FORMAT_RAW,
        include_latents=True,
    )
    whole = [chunk async for chunk in stub.Interpolate(request)]
    request.first_frame = 7
    rest = [chunk async for chunk in stub.Interpolate(request)]
    assert rest[0].first_frame == 7
    frames, later = (np.concatenate([pixels(chunk.images) for chunk in chunks]) for chunks in (whole, rest))
    assert len(frames) == 600
    np.testing.assert_array_equal(later, frames[7:])
    ends = await stub.Sample(seeds(seed=1, count=1))
    np.testing.assert_array_equal(frames[:1], pixels(ends.images))


async def test_arithmetic_shows_terms_then_the_result_then_neighbours(stub):
    """Each with its latent; the result is the weighted sum, neighbours lie within 0.25 of it."""
    request = pb.ArithmeticRequest(
        terms=[
            pb.ArithmeticRequest.Term(label="a", exemplars=[one(seed_node(at)) for at in (1, 2, 3)]),
            pb.ArithmeticRequest.Term(label="b", weight=-1, exemplars=[one(seed_node(at)) for at in (4, 5, 6)]),
        ],
        normalization=pb.NORMALIZATION_RAW,
        format=pb.FORMAT_RAW,
    )
    chunks = [chunk async for chunk in stub.Arithmetic(request)]
    parts = {chunk.part: chunk for chunk in chunks}
    assert [chunk.part for chunk in chunks] == [1, 2, 3]
    assert [parts[part].images.count for part in (1, 2, 3)] == [2, 1, 8]
    drawn = {at: latents.draw(at, [0], DIM, "normal")[0].astype(np.float64) for at in range(1, 7)}
    terms = [np.mean([drawn[at] for at in exemplars], axis=0) for exemplars in ((1, 2, 3), (4, 5, 6))]
    np.testing.assert_allclose(values(parts[1].latents), terms, rtol=1e-5, atol=1e-6)
    result = values(parts[2].latents)[0]
    np.testing.assert_allclose(result, terms[0] - terms[1], rtol=1e-5, atol=1e-6)
    assert 0 < np.abs(values(parts[3].latents) - result).max() <= 0.2500001


S = pb.SampleRequest
E = pb.ExpressionList


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (S(seeds=pb.SeedRange(count=-1)), "seeds.count"),
        (S(seeds=pb.SeedRange(first_index=2**64 - 1, count=2)), "seeds.first_index"),
        (S(seeds=pb.SeedRange(truncation=0)), "seeds.truncation"),
        (S(seeds=pb.SeedRange(truncation=float("nan"))), "seeds.truncation"),
        (S(format=9), "format"),
        (S(latents=pb.LatentBatch(count=1, dim=7, values=bytes(28))), "latents.dim"),
        (S(latents=pb.LatentBatch(count=-1, dim=DIM)), "latents.count"),
        (S(latents=pb.LatentBatch(count=2, dim=DIM, values=bytes(32))), "latents.values"),
        (S(latents=pb.LatentBatch(count=1, dim=DIM, values=b"\xff" * 32)), "latents.values[0]"),
        (S(expressions=E()), "expressions.expressions"),
        (S(expressions=E(expressions=[one()])), "expressions.expressions[0].nodes"),
        (S(expressions=E(expressions=[one(pb.Node())])), "expressions.expressions[0].nodes[0]"),
        (
            S(expressions=E(expressions=[one(pb.Node(values=pb.ValuesNode(values=[1.0])))])),
            "expressions.expressions[0].nodes[0].values.values",
        ),
        (
            S(expressions=E(expressions=[one(pb.Node(values=pb.ValuesNode(values=[float("inf")] * DIM)))])),
            "expressions.expressions[0].nodes[0].values.values",
        ),
        (
            S(expressions=E(expressions=[one(seed_node(1), pb.Node(sum=pb.SumNode()))])),
            "expressions.expressions[0].nodes[1].sum.terms",
        ),
        (
            S(expressions=E(expressions=[one(pb.Node(sum=pb.SumNode(terms=[pb.SumNode.Term(node=0)])))])),
            "expressions.expressions[0].nodes[0].sum.terms[0].node",
        ),
        (
            S(expressions=E(expressions=[one(seed_node(1), pb.Node(mix=pb.MixNode(start=0, end=-1)))])),
            "expressions.expressions[0].nodes[1].mix.end",
        ),
        (
            S(expressions=E(expressions=[one(seed_node(1), pb.Node(mix=pb.MixNode(t=2)))])),
            "expressions.expressions[0].nodes[1].mix.t",
        ),
        (
            S(
                expressions=E(
                    expressions=[
                        one(seed_node(1), pb.Node(sum=pb.SumNode(terms=[pb.SumNode.Term(weight=float("nan"))])))
                    ]
                )
            ),
            "expressions.expressions[0].nodes[1].sum.terms[0].weight",
        ),
        (S(expressions=E(expressions=[one(*[seed_node(1)] * 1025)])), "expressions.expressions[0].nodes[1024]"),
        (
            S(
                expressions=E(
                    expressions=[
                        one(
                            seed_node(1),
                            *(pb.Node(sum=pb.SumNode(terms=[pb.SumNode.Term(node=at, weight=1e6)])) for at in range(9)),
                            pb.Node(values=pb.ValuesNode(values=[3e38] * DIM)),
                            pb.Node(sum=pb.SumNode(terms=[pb.SumNode.Term(node=10, weight=9)])),
                        )
                    ]
                )
            ),
            "expressions.expressions[0]",
        ),
    ],
)
async def test_a_bad_field_is_named(stub, request_message, field):
    """Its path is in the error, its value and what is allowed in the message."""
    code, error = await refused(stub.Sample(request_message))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, errors.InvalidField)
    assert error.metadata["field"] == field
    assert "allowed" in error.message


@pytest.mark.parametrize(
    ("method", "request_message", "field"),
    [
        ("Interpolate", pb.InterpolateRequest(points=[one(seed_node(1))]), "points"),
        ("Interpolate", pb.InterpolateRequest(points=[one(seed_node(1))] * 2, frame_count=-3), "frame_count"),
        (
            "Interpolate",
            pb.InterpolateRequest(points=[one(seed_node(1))] * 2, frame_count=3, first_frame=3),
            "first_frame",
        ),
        ("Interpolate", pb.InterpolateRequest(points=[one(seed_node(1))] * 2, curve=5), "curve"),
        ("Arithmetic", pb.ArithmeticRequest(), "terms"),
        ("Arithmetic", pb.ArithmeticRequest(terms=[pb.ArithmeticRequest.Term()]), "terms[0].exemplars"),
        (
            "Arithmetic",
            pb.ArithmeticRequest(terms=[pb.ArithmeticRequest.Term(exemplars=[one(seed_node(1))])], neighbour_count=65),
            "neighbour_count",
        ),
        ("StreamSamples", pb.StreamSamplesRequest(seeds=pb.SeedRange(count=-5)), "seeds.count"),
    ],
)
async def test_a_bad_field_ends_a_stream_before_it_begins(stub, method, request_message, field):
    """Refused before the first message, so that nothing is drawn for it."""
    code, error = await refused(getattr(stub, method)(request_message))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata["field"] == field


async def test_too_many_images_names_the_call_that_serves_them(stub):
    """One over the limit is refused, the limit itself is not."""
    assert (await stub.Sample(seeds(seed=1, count=256))).images.count == 256
    code, error = await refused(stub.Sample(seeds(seed=1, count=257)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, errors.TooManyImages)
    assert "StreamSamples" in error.message


async def test_an_unknown_direction_names_those_there_are(stub):
    """NOT_FOUND with ResourceInfo."""
    request = S(expressions=E(expressions=[one(pb.Node(direction="sideways"))]))
    code, error = await refused(stub.Sample(request))
    assert code == grpc.StatusCode.NOT_FOUND
    assert isinstance(error, errors.UnknownDirection)
    assert "less, more" in error.message


async def test_another_version_is_refused_by_every_method(stub):
    """FAILED_PRECONDITION that says which version serves."""
    calls = [
        stub.GetModel(pb.GetModelRequest(version="2")),
        stub.Sample(S(version="2")),
        stub.StreamSamples(pb.StreamSamplesRequest(version="2")),
        stub.Interpolate(pb.InterpolateRequest(version="2")),
        stub.Arithmetic(pb.ArithmeticRequest(version="2")),
    ]
    for call in calls:
        code, error = await refused(call)
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert error.metadata["served"] == "1"
    assert (await stub.Sample(S(version="1"))).images.count == 1


async def test_garbage_on_the_wire_is_an_invalid_argument(channel):
    """Not gRPC's UNKNOWN with a Python message."""
    for method in ("GetModel", "Sample"):
        call = channel.unary_unary(f"/dcgan.v1.GeneratorService/{method}")
        code, error = await refused(call(b"\xff\xff\xff\xff"))
        assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    call = channel.unary_stream("/dcgan.v1.GeneratorService/StreamSamples")
    code, error = await refused(call(b"\x0a\xff"))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_an_unknown_method_is_unimplemented(channel):
    """Calls leave to gRPC what isn't ours."""
    code, _ = await refused(channel.unary_unary("/dcgan.v1.GeneratorService/Score")(b""))
    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_refusal_is_a_rich_status_under_4_kib(stub):
    """Larger trailers would replace the message by a stream error, however long the bad value is."""
    request = S(expressions=E(expressions=[one(pb.Node(direction="x" * 100_000))]), version="1")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.Sample(request)
    trailers = dict(refusal.value.trailing_metadata())
    assert len(trailers[DETAILS_KEY]) < 4096
    status = status_pb2.Status.FromString(trailers[DETAILS_KEY])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("dcgan", "UNKNOWN_DIRECTION")


async def test_a_request_id_is_taken_or_made_and_returned(stub):
    """With answers and with refusals; one that a log line can't carry is replaced."""
    for given, kept in (("mine-1", True), ("x" * 65, False)):
        call = stub.Sample(S(), metadata=(("x-request-id", given),))
        await call
        returned = dict(await call.trailing_metadata())["x-request-id"]
        assert (returned == given) is kept
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.Sample(S(format=9), metadata=(("x-request-id", "mine-2"),))
    assert dict(refusal.value.trailing_metadata())["x-request-id"] == "mine-2"


async def test_health_and_reflection_answer(channel):
    """Per service and for the whole; reflection lists the service."""
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "dcgan.v1.GeneratorService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request])):
        assert "dcgan.v1.GeneratorService" in [service.name for service in answer.list_services_response.service]


async def test_every_watcher_hears_of_the_drain_and_none_delays_it(bundle):
    """Also where another watcher has left; the grace of a minute is not used up by streams that only watch."""
    async with serving_here(bundle, drain_grace_s=60) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(health_pb2.HealthCheckRequest(service=service)) for service in ("", "", "dcgan.v1.None")]
        states = [(await call.read()).status for call in calls]
        assert states == [health_pb2.HealthCheckResponse.SERVING] * 2 + [health_pb2.HealthCheckResponse.SERVICE_UNKNOWN]
        calls[0].cancel()
        async with asyncio.timeout(10):
            await running.drain(asyncio.Event())
            assert (await calls[1].read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await calls[1].read() is grpc.aio.EOF


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_lost_device_ends_the_server(bundle, monkeypatch):
    """Its calls are INTERNAL without internals, health says NOT_SERVING, and the process ends; draining too."""

    def lost(*_):
        raise RuntimeError("CUDA error 700: /opt/secret/path")

    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        monkeypatch.setattr(Generator, "run", lost)
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        for _ in range(3):
            code, error = await refused(stub.Sample(S()))
            assert code == grpc.StatusCode.INTERNAL
            assert "secret" not in error.message
        with pytest.raises(errors.DeviceError, match="CUDA error 700"):
            await running.supervise(asyncio.get_running_loop().create_future())
        health = health_pb2_grpc.HealthStub(channel)
        status = (await health.Check(health_pb2.HealthCheckRequest())).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(errors.DeviceError):
            await running.drain(asyncio.Event())


async def test_an_answer_with_latents_fits_into_a_message(tmp_path):
    """The limit counts what a latent adds; here each is five times as large as its image."""
    path = write_bundle(tmp_path / "wide", dim=4096, height=28, width=28, channels=1)
    async with serving_here(path) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        limit = (await stub.GetModel(pb.GetModelRequest())).limits.max_images
        answer = await stub.Sample(seeds(seed=1, count=limit))
        assert answer.images.count == answer.latents.count == limit
        request = pb.StreamSamplesRequest(seeds=pb.SeedRange(count=200), format=pb.FORMAT_RAW, include_latents=True)
        assert sum([chunk.latents.count async for chunk in stub.StreamSamples(request)]) == 200


async def test_a_request_that_is_too_large_is_told_so(stub):
    """By our own error, not by gRPC's, which clients retry."""
    request = pb.SampleRequest(latents=pb.LatentBatch(count=1, dim=DIM, values=bytes(5 << 20)))
    code, error = await refused(stub.Sample(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, errors.RequestTooLarge)


async def test_refused_requests_are_let_go_of(bundle):
    """Without waiting for the collector of cycles: 50 refusals of 4 MB don't leave 200 MB behind."""
    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        request = pb.SampleRequest(latents=pb.LatentBatch(count=1, dim=DIM, values=bytes(4_000_000)))
        gc.disable()
        try:
            for _ in range(5):
                await refused(stub.Sample(request))
            before = resident_mib()
            for _ in range(50):
                await refused(stub.Sample(request))
            assert resident_mib() - before < 100
        finally:
            gc.enable()


def resident_mib():
    """Reads the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


async def test_metrics_count_calls_images_and_refusals(bundle):
    """On a server of its own, exactly."""
    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        for _ in range(3):
            await stub.Sample(seeds(seed=1, count=5))
        await refused(stub.Sample(S(format=9)))
        samples = await asyncio.to_thread(scrape, running.metrics_address)
    assert samples["dcgan_requests_total", "OK", "Sample"] == 3
    assert samples["dcgan_requests_total", "INVALID_ARGUMENT", "Sample"] == 1
    assert samples["dcgan_refused_total", "INVALID_FIELD"] == 1
    assert samples["dcgan_images_total",] == 15
    assert samples["dcgan_requests_in_progress", "Sample"] == 0
    assert samples["dcgan_queued_rows",] == 0


def scrape(address):
    """Reads /metrics: value by name and label values, in the order of the labels' names."""
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_call_without_a_deadline_gets_the_default_one(bundle):
    """Nothing waits for ever; here a large batch against a deadline of a microsecond."""
    async with (
        serving_here(bundle, default_deadline_s=1e-6) as running,
        grpc.aio.insecure_channel(running.target) as channel,
    ):
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        code, error = await refused(stub.Sample(seeds(seed=1, count=256)))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "default deadline" in error.message
        assert (await stub.Sample(seeds(seed=1, count=256), timeout=30)).images.count == 256


async def test_a_draining_server_cuts_streams_and_says_where_to_continue(bundle):
    """At a chunk's edge, with the next index; the rest from another server is the rest of the same stream."""
    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        request = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=7, first_index=3, count=10**7), format=pb.FORMAT_RAW)
        call = stub.StreamSamples(request)
        got, drains = [], []

        async def read():
            async for chunk in call:
                got.append(chunk.images.count)
                if not drains:
                    drains.append(asyncio.create_task(running.drain(asyncio.Event())))

        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await read()
        await drains[0]
    error = error_of(cut.value.code(), cut.value.details(), cut.value.trailing_metadata())
    assert isinstance(error, errors.Draining)
    assert int(error.metadata["next_index"]) == 3 + sum(got)


async def test_a_uniform_model_refuses_truncation(tmp_path):
    """It has no meaning there."""
    path = write_bundle(tmp_path / "uniform", dim=DIM, prior="uniform")
    async with serving_here(path) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        code, error = await refused(stub.Sample(seeds(seed=1, truncation=1.0)))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "prior" in error.message
        drawn = values((await stub.Sample(seeds(seed=1, count=9))).latents)
    np.testing.assert_array_equal(drawn, latents.draw(1, np.arange(9), DIM, "uniform"))
