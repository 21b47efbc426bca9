"""Encode and Score over the wire of a real server: uploads of all kinds, what comes back, and what is refused."""

import io

import grpc
import numpy as np
import pytest
from PIL import Image

from bundles import write_bundle
from conftest import serving_in_thread
from dcgan import errors, images, latents
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from wire import DIM, E, S, one, pixels, refused, seed_node, seeds, values

HEIGHT, WIDTH = 6, 5
PICTURE = np.random.default_rng(3).integers(0, 8, (HEIGHT, WIDTH, 3), np.uint8) * 32


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A server of a bundle with a discriminator, an encoder and its gradient."""
    bundle = write_bundle(tmp_path_factory.mktemp("whole") / "m", dim=DIM, encoder=True, discriminator=True)
    with serving_in_thread(bundle) as running:
        yield running


@pytest.fixture
async def asked(whole):
    """Its stub."""
    async with grpc.aio.insecure_channel(whole.target) as channel:
        yield dcgan_pb2_grpc.GeneratorServiceStub(channel)


def file_of(picture, kind="PNG", **options):
    """Writes a Pillow image as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def turned():
    """The picture lying on its side, with the EXIF entry that says so."""
    picture = Image.fromarray(PICTURE).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    return file_of(picture, exif=exif)


def many_scans():
    """A JPEG whose last scan comes a hundred times: it is small, and each goes over the whole picture."""
    data = file_of(Image.fromarray(PICTURE), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + 100 * data[last:-2] + data[-2:]


def encode(*files, **fields):
    """A raw Encode request."""
    return pb.EncodeRequest(images=pb.UploadList(files=files), format=pb.FORMAT_RAW, **fields)


@pytest.mark.parametrize(
    "data",
    [
        file_of(Image.fromarray(PICTURE).convert("RGBA")),
        file_of(Image.fromarray(PICTURE).quantize(256, dither=Image.Dither.NONE)),
        file_of(Image.fromarray(PICTURE), "WEBP", lossless=True),
        file_of(Image.fromarray(PICTURE), "BMP"),
        turned(),
    ],
    ids=["alpha", "palette", "webp", "bmp", "exif"],
)
async def test_the_same_picture_gives_the_same_latent_in_any_file(asked, data):
    """Whatever holds its pixels."""
    answer = await asked.Encode(encode(file_of(Image.fromarray(PICTURE)), data))
    first, second = values(answer.latents)
    np.testing.assert_array_equal(first, second)


async def test_a_larger_picture_is_cropped_and_resized(asked):
    """Margins beyond the model's proportions change nothing, above and below or left and right."""
    large = PICTURE.repeat(4, 0).repeat(4, 1)
    wide, high = (np.pad(large, (rows, columns, (0, 0))) for rows, columns in (((0, 0), (8, 8)), ((6, 6), (0, 0))))
    answer = await asked.Encode(encode(*(file_of(Image.fromarray(some)) for some in (large, wide, high))))
    found = values(answer.latents)
    np.testing.assert_array_equal(found, found[[0, 0, 0]])


async def test_a_grey_picture_is_taken_by_a_colour_model(asked):
    """As grey in all three channels."""
    grey = PICTURE[:, :, 0]
    answer = await asked.Encode(
        encode(file_of(Image.fromarray(grey)), file_of(Image.fromarray(grey[:, :, None].repeat(3, 2))))
    )
    first, second = values(answer.latents)
    np.testing.assert_array_equal(first, second)


async def test_refining_brings_the_error_down(asked):
    """Of an image that the generator drew; the reconstruction is what the returned latent draws, its error is true."""
    drawn = await asked.Sample(seeds(seed=5, count=3))
    files = [images.encode(image, "png") for image in pixels(drawn.images)]
    rough = await asked.Encode(encode(*files))
    fine = await asked.Encode(encode(*files, refine_steps=60))
    assert (np.array(fine.errors) < 0.5 * np.array(rough.errors)).all()
    again = await asked.Sample(S(latents=fine.latents, format=pb.FORMAT_RAW))
    np.testing.assert_array_equal(pixels(again.images), pixels(fine.images))
    apart = (pixels(fine.images).astype(float) - pixels(drawn.images)) / 127.5
    np.testing.assert_allclose(fine.errors, np.square(apart).mean(axis=(1, 2, 3)))


async def test_an_image_in_an_expression_is_the_latent_that_encode_finds(asked):
    """With as many steps; so a mix of two images begins and ends with them."""
    files = [file_of(Image.fromarray(PICTURE)), file_of(Image.fromarray(PICTURE[::-1]))]
    ends = values((await asked.Encode(encode(*files, refine_steps=3))).latents)
    nodes = [pb.Node(image=pb.ImageNode(file=data, refine_steps=3)) for data in files]
    mixes = [one(*nodes, pb.Node(mix=pb.MixNode(start=0, end=1, t=t))) for t in (0.0, 1.0)]
    answer = await asked.Sample(S(expressions=E(expressions=mixes), include_latents=True))
    np.testing.assert_array_equal(values(answer.latents), ends)
    path = asked.Interpolate(pb.InterpolateRequest(points=[one(node) for node in nodes], include_latents=True))
    frames = np.concatenate([values(chunk.latents) async for chunk in path])
    np.testing.assert_array_equal(frames[[0, -1]], ends)


async def test_images_that_the_result_does_not_need_are_not_even_read(asked):
    """As other nodes beside the way to the result."""
    unused = [pb.Node(image=pb.ImageNode(file=b"no image", refine_steps=200)) for _ in range(100)]
    answer = await asked.Sample(S(expressions=E(expressions=[one(*unused, seed_node(5))]), include_latents=True))
    np.testing.assert_array_equal(values(answer.latents), latents.draw(5, [0], DIM, "normal"))


async def test_scores_are_the_same_for_seeds_latents_and_uploads(asked):
    """Of the same pictures."""
    drawn = await asked.Sample(seeds(seed=5, count=4))
    files = [images.encode(image, "png") for image in pixels(drawn.images)]
    answers = [
        await asked.Score(request)
        for request in (
            pb.ScoreRequest(seeds=pb.SeedRange(seed=5, count=4)),
            pb.ScoreRequest(latents=drawn.latents),
            pb.ScoreRequest(images=pb.UploadList(files=files)),
            pb.ScoreRequest(expressions=E(expressions=[one(seed_node(5, at)) for at in range(4)])),
        )
    ]
    assert answers[0].seed == 5
    for answer in answers:
        assert answer.scores == answers[0].scores
        assert all(0.0 <= score.probability <= 1.0 and 0.0 <= score.percentile <= 100.0 for score in answer.scores)


async def test_the_best_of_many_are_those_with_the_highest_scores(asked):
    """Best first, with where they stood, and the same images as without."""
    every = await asked.Sample(seeds(seed=5, first_index=100, count=20))
    scores = (await asked.Score(pb.ScoreRequest(latents=every.latents))).scores
    request = seeds(seed=5, first_index=100, count=20)
    request.keep_best = 3
    best = await asked.Sample(request)
    order = sorted(range(20), key=lambda at: -scores[at].logit)[:3]
    assert list(best.indices) == [100 + at for at in order]
    assert list(best.scores) == [scores[at] for at in order]
    np.testing.assert_array_equal(pixels(best.images), pixels(every.images)[order])
    np.testing.assert_array_equal(values(best.latents), values(every.latents)[order])


@pytest.mark.parametrize(
    ("method", "request_message", "field"),
    [
        ("Encode", encode(), "images.files"),
        ("Encode", encode(*[b""] * 65), "images.files"),
        ("Encode", encode(b"no image"), "images.files[0]"),
        (
            "Encode",
            encode(file_of(Image.fromarray(PICTURE)), file_of(Image.fromarray(PICTURE))[:60]),
            "images.files[1]",
        ),
        ("Encode", encode(file_of(Image.new("L", (4097, 4096)))), "images.files[0]"),
        ("Encode", encode(b"", refine_steps=201), "refine_steps"),
        ("Encode", encode(b"", refine_steps=-1), "refine_steps"),
        ("Score", pb.ScoreRequest(images=pb.UploadList(files=[b"GIF89a"])), "images.files[0]"),
        ("Score", pb.ScoreRequest(seeds=pb.SeedRange(count=257)), "source"),
        ("Sample", S(keep_best=2), "keep_best"),
        ("Sample", S(keep_best=-1), "keep_best"),
        ("Sample", S(keep_best=9, seeds=pb.SeedRange(count=257)), "keep_best"),
        ("Sample", S(include_scores=True, seeds=pb.SeedRange(count=257)), "include_scores"),
        (
            "Sample",
            S(expressions=E(expressions=[one(seed_node(1), pb.Node(image=pb.ImageNode(file=b"?")))])),
            "expressions.expressions[0].nodes[1].image.file",
        ),
        (
            "Sample",
            S(
                expressions=E(
                    expressions=[
                        one(
                            *(pb.Node(image=pb.ImageNode(file=bytes([at]))) for at in range(65)),
                            pb.Node(sum=pb.SumNode(terms=[pb.SumNode.Term(node=at) for at in range(65)])),
                        )
                    ]
                )
            ),
            "expressions.expressions[0].nodes[64].image",
        ),
        ("Encode", encode(many_scans()), "images.files[0]"),
    ],
)
async def test_what_is_no_use_is_refused_by_its_field(asked, method, request_message, field):
    """An image that can't be read, too many of them, too many steps."""
    code, error = await refused(getattr(asked, method)(request_message))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, errors.InvalidField)
    assert error.metadata["field"] == field


@pytest.mark.parametrize(
    ("method", "request_message", "part"),
    [
        ("Encode", encode(file_of(Image.fromarray(PICTURE))), "encoder"),
        ("Score", pb.ScoreRequest(), "discriminator"),
        ("Sample", S(keep_best=1), "discriminator"),
        ("Sample", S(include_scores=True), "discriminator"),
        ("Sample", S(expressions=E(expressions=[one(pb.Node(image=pb.ImageNode()))])), "encoder"),
    ],
)
async def test_a_bundle_without_the_part_says_so(stub, method, request_message, part):
    """FAILED_PRECONDITION, and what to do about it."""
    code, error = await refused(getattr(stub, method)(request_message))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(error, errors.NotInBundle)
    assert error.metadata["part"] == part
    assert "dcgan-train" in error.message or "--held-out" in error.message


async def test_get_model_tells_of_the_parts(asked, stub):
    """And of none where there is none."""
    full, bare = await asked.GetModel(pb.GetModelRequest()), await stub.GetModel(pb.GetModelRequest())
    assert full.encoder.refines
    assert full.HasField("calibration")
    assert not bare.HasField("encoder")
    assert not bare.HasField("calibration")
    assert full.limits.max_uploads == 64


def test_encoded_images_add_without_counting():
    """In a sum with a seed, as explicit values do."""
    image = latents.image(b"x")
    vector = np.linspace(-1, 1, DIM, dtype=np.float32)
    found = latents.evaluate([latents.seed(1) + 2.0 * image], DIM, "normal", {}, {latents.Image(b"x"): vector})[0]
    np.testing.assert_allclose(found, latents.draw(1, [0], DIM, "normal")[0] + 2.0 * vector, rtol=1e-5)
