"""Images on their way from a caller into requests, and answers about them, without a server."""

from pathlib import Path

import numpy as np
import pytest

from dcgan import images, latents
from dcgan.client import sources, uploads
from dcgan.client.encoding import EncodeParts
from dcgan.client.scores import ScoreParts
from dcgan.client.streams import SampleStream
from dcgan.errors import BundleChanged, DcganError, InvalidField
from dcgan.v1 import dcgan_pb2 as pb

IDENTITY = pb.Identity(name="tiny", version="1", manifest_digest="a" * 64)
MIB = 1 << 20


def test_an_image_in_an_expression_travels_as_its_file(tmp_path: Path) -> None:
    """Read here where it is named by its path, taken as it is where its bytes are given."""
    path = tmp_path / "face.png"
    path.write_bytes(b"a file")
    for content in (str(path), b"a file"):
        sent = sources.expression_message(latents.image(content, refine_steps=5))
        assert (sent.nodes[0].image.file, sent.nodes[0].image.refine_steps) == (b"a file", 5)


@pytest.mark.parametrize(
    ("size", "words"), [(None, "No such file"), (4 * MIB + 1, "at most 4,194,304 bytes")], ids=["missing", "large"]
)
def test_an_image_that_cannot_be_sent_is_named(tmp_path: Path, size: int | None, words: str) -> None:
    """Before any call, and without reading more of it than could be sent."""
    path = tmp_path / "a.png"
    if size is not None:
        path.write_bytes(bytes(size))
    with pytest.raises(InvalidField, match=words):
        sources.expression_message(latents.image(str(path)))


@pytest.mark.parametrize("path", ["a\0b", "~nobody-is-called-so/a.png", "."])
def test_no_path_is_too_strange_to_be_refused(path: str) -> None:
    """Each fails in another way."""
    with pytest.raises(InvalidField, match="a file that can be read"):
        uploads.read(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_travel_without_loss(channels: int) -> None:
    """One, many in one, many in a list."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, channels), np.uint8)
    for given in (pixels, list(pixels)):
        (sent,) = uploads.upload_lists(given)
        np.testing.assert_array_equal([images.decode(data) for data in sent.files], pixels)
    (alone,) = uploads.upload_lists(pixels[0])
    assert list(alone.files) == list(sent.files[:1])


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([10] * 16, [16]),
        ([10] * 17, [16, 1]),
        ([MIB] * 7, [3, 3, 1]),
        ([4 * MIB, 10, 10], [1, 2]),
        ([10, 4 * MIB], [1, 1]),
    ],
)
def test_uploads_are_put_into_as_few_requests_as_carry_them(sizes: list[int], parts: list[int]) -> None:
    """16 files and 3 MiB each, but for one file that is larger alone; in their order."""
    files = [bytes([at]) + bytes(size - 1) for at, size in enumerate(sizes)]
    lists = list(uploads.upload_lists(files))
    assert [len(one.files) for one in lists] == parts
    assert [data for one in lists for data in one.files] == files


def test_expressions_with_large_images_are_asked_for_in_parts() -> None:
    """As many as a request's bytes allow, at least one."""
    stream = SampleStream([latents.image(bytes(MIB))] * 5)
    assert stream.whole() is None
    assert len(stream.request().expressions.expressions) == 2


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (lambda: EncodeParts([]), "images"),
        (lambda: EncodeParts(np.zeros((2, 2, 4), np.uint8)), "images"),
        (lambda: EncodeParts(b"a", refine_steps=-1), "refine_steps"),
        (lambda: EncodeParts(b"a", refine_steps=2**31), "refine_steps"),
        (lambda: ScoreParts(1, images=b"a"), "images"),
        (lambda: ScoreParts(images=b"a", seed=0), "seed"),
        (lambda: sources.expression_message(latents.image(b"a", refine_steps=2**31)), "refine_steps"),
    ],
)
def test_what_no_request_can_carry_is_refused_by_its_name(asked: object, field: str) -> None:
    """Before any call."""
    with pytest.raises(InvalidField) as refusal:
        asked()  # type: ignore[operator]
    assert refusal.value.metadata["field"] == field


def test_parts_of_another_bundle_are_not_put_together() -> None:
    """One array holds one model's latents, one model's scores."""
    scoring, encoding = ScoreParts(images=[b"a"] * 17), EncodeParts([b"a"] * 17)
    row = pb.LatentBatch(count=16, dim=1, values=bytes(64))
    batch = pb.ImageBatch(format=pb.FORMAT_RAW, height=1, width=1, channels=1, count=16, raw=bytes(16))
    scoring.request()
    scoring.accept(pb.ScoreResponse(identity=IDENTITY, scores=[pb.Score()] * 16))
    encoding.accept(pb.EncodeResponse(identity=IDENTITY, images=batch, latents=row, errors=[0.0] * 16))
    other = pb.Identity(name="tiny", version="2", manifest_digest="b" * 64)
    with pytest.raises(BundleChanged, match="start anew"):
        scoring.accept(pb.ScoreResponse(identity=other, scores=[pb.Score()]))
    with pytest.raises(BundleChanged, match="start anew"):
        encoding.accept(pb.EncodeResponse(identity=other, errors=[0.0]))


def test_a_drawn_seed_is_kept_over_all_parts() -> None:
    """As in a stream: the second part is of the seed that the server drew for the first."""
    parts = ScoreParts(20)
    assert not parts.request().seeds.HasField("seed")
    parts.accept(pb.ScoreResponse(identity=IDENTITY, scores=[pb.Score()] * 16, seed=4711))
    request = parts.request()
    assert (request.seeds.seed, request.seeds.first_index, request.seeds.count) == (4711, 16, 4)
    parts.accept(pb.ScoreResponse(identity=IDENTITY, scores=[pb.Score(logit=1.0)] * 4, seed=4711))
    assert parts.done
    found = parts.whole()
    assert (found.seed, found.logits.tolist()) == (4711, [0.0] * 16 + [1.0] * 4)


def test_an_answer_of_another_length_is_an_error() -> None:
    """What is missing must not shift what follows."""
    scoring, stream = ScoreParts(3, seed=1), SampleStream(2, keep_best=1)
    scoring.request()
    batch = pb.ImageBatch(format=pb.FORMAT_RAW, height=1, width=1, channels=1, count=1, raw=b"1")
    with pytest.raises(DcganError, match="damaged"):
        scoring.accept(pb.ScoreResponse(identity=IDENTITY, scores=[pb.Score()]))
    with pytest.raises(DcganError, match="damaged"):
        EncodeParts(b"a").accept(pb.EncodeResponse(identity=IDENTITY, errors=[0.0, 0.0]))
    with pytest.raises(DcganError, match="damaged"):
        stream.accept_whole(pb.SampleResponse(identity=IDENTITY, images=batch, scores=[pb.Score()]))
