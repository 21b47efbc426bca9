"""Every method, asked over the wire of a real server by bare stubs: what it answers."""

import itertools

import grpc
import numpy as np
import pytest

from bundles import write_bundle
from conftest import serving_here
from dcgan import images, latents
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from wire import DIM, one, pixels, seed_node, seeds, values

MANY = 1000


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
