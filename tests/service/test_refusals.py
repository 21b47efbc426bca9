"""What is refused, asked over the wire of a real server by bare stubs: the code, the reason, the field."""

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from bundles import write_bundle
from conftest import serving_here
from dcgan import errors, latents
from dcgan.status import DETAILS_KEY
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from wire import DIM, E, S, one, refused, seed_node, seeds, values


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
    code, _ = await refused(channel.unary_unary("/dcgan.v1.GeneratorService/Paint")(b""))
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


async def test_a_request_that_is_too_large_is_told_so(stub):
    """By our own error, not by gRPC's, which clients retry."""
    request = pb.SampleRequest(latents=pb.LatentBatch(count=1, dim=DIM, values=bytes(5 << 20)))
    code, error = await refused(stub.Sample(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, errors.RequestTooLarge)


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
