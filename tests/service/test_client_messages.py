"""Requests out of what callers say, and answers into what they get."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from dcgan import images, latents
from dcgan.client import messages, sources
from dcgan.client.streams import SampleStream
from dcgan.errors import DcganError, ExpressionError, InvalidField
from dcgan.latents import Expression, Term, direction, mean, mix, seed
from dcgan.v1 import dcgan_pb2 as pb

DIM = 3
IDENTITY = pb.Identity(name="tiny", version="1", manifest_digest="a" * 64)


@given(st.lists(strategies.expressions(DIM), min_size=1, max_size=5))
def test_an_expression_travels_unchanged(expressions: list[Expression]) -> None:
    """Nodes keep their order and their references."""
    for expression in expressions:
        sent = pb.Expression.FromString(sources.expression_message(expression).SerializeToString())
        assert len(sent.nodes) == len(expression.nodes)
        for node, message in zip(expression.nodes, sent.nodes, strict=True):
            match node:
                case latents.Seed(number, index):
                    assert (message.seed.seed, message.seed.index) == (number, index)
                    assert not message.seed.HasField("truncation")
                case latents.Values(values):
                    assert list(message.values.values) == list(values)
                case latents.Sum(terms):
                    assert [(term.node, term.weight) for term in message.sum.terms] == list(terms)
                case latents.Mix(start, end, t):
                    assert (message.mix.start, message.mix.end, message.mix.t) == (start, end, t)


def test_what_is_particular_about_an_expression_travels_too() -> None:
    """Truncation, directions, curves, raw sums."""
    expression = (mix(seed(1, truncation=0.5), direction("smile"), 0.25, curve="linear") * 2).raw()
    sent = sources.expression_message(expression)
    assert sent.nodes[0].seed.truncation == 0.5
    assert sent.nodes[1].direction == "smile"
    assert sent.nodes[2].mix.curve == pb.CURVE_LINEAR
    assert sent.normalization == pb.NORMALIZATION_RAW


def test_large_expressions_are_not_cut_short_in_one_message() -> None:
    """Sixty sums of thirty nodes are few images but more nodes than a request has: they are streamed."""
    sums = [mean(*(seed(at) for at in range(30)))] * 60
    stream = SampleStream(sums)
    assert stream.whole() is None
    whole = SampleStream(sums[:10]).whole()
    assert whole is not None
    assert len(whole.expressions.expressions) == 10


def test_scores_do_not_come_in_streams() -> None:
    """The best of all are known when all are drawn."""
    with pytest.raises(InvalidField, match="only for `sample`"):
        SampleStream(3, include_scores=True).request()


def test_texts_arrays_and_expressions_are_points_alike() -> None:
    """A path takes whatever a sample takes."""
    request = messages.path_request(["7", mean(seed(1), seed(2))])
    assert [len(point.nodes) for point in request.points] == [1, 3]
    request = messages.path_request(np.ones((2, DIM)), frames=5, curve="linear", closed=True, easing="smooth")
    assert list(request.points[0].nodes[0].values.values) == [1.0] * DIM
    assert (request.frame_count, request.curve, request.closed, request.easing) == (
        5,
        pb.CURVE_LINEAR,
        True,
        pb.EASING_SMOOTH,
    )


def test_a_sum_is_asked_for_as_text_or_as_terms() -> None:
    """Both make the same request, but for the labels."""
    text = messages.arithmetic_request("mean(1,2) - 2*seed(3)", neighbours=0)
    terms = messages.arithmetic_request([Term((seed(1), seed(2))), Term((seed(3),), -2.0)], neighbours=0)
    assert [term.label for term in text.terms] == ["mean(1,2)", "seed(3)"]
    for term in text.terms:
        term.label = ""
    assert text == terms
    assert text.HasField("neighbour_count")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (lambda: SampleStream(0), "count"),
        (lambda: SampleStream(1, seed=-1), "seed"),
        (lambda: SampleStream(1, seed=2**64), "seed"),
        (lambda: SampleStream(1, first_index=-1), "first_index"),
        (lambda: SampleStream([]), "expressions"),
        (lambda: SampleStream("1", seed=3), "seed"),
        (lambda: SampleStream("1", truncation=0.5), "truncation"),
        (lambda: SampleStream(np.zeros(3)), "latents"),
        (lambda: SampleStream(np.zeros((0, 3))), "latents"),
        (lambda: SampleStream(1, format="gif"), "format"),  # type: ignore[arg-type]
        (lambda: SampleStream(5, keep_best=6), "keep_best"),
        (lambda: SampleStream(5, keep_best=-1), "keep_best"),
        (lambda: SampleStream(300, keep_best=5).whole(), "keep_best"),
        (lambda: SampleStream(300, include_scores=True).whole(), "include_scores"),
        (lambda: messages.path_request(["1", "2"], frames=0), "frames"),
        (lambda: messages.path_request(["1", "2"], curve="wavy"), "curve"),  # type: ignore[arg-type]
        (lambda: messages.path_request(["1", "2"], easing="hard"), "easing"),  # type: ignore[arg-type]
        (lambda: messages.arithmetic_request("1", neighbours=-1), "neighbours"),
        (lambda: messages.arithmetic_request("1", neighbour_seed=2**64), "neighbour_seed"),
    ],
)
def test_what_no_request_can_carry_is_refused_by_its_name(asked: object, field: str) -> None:
    """Protocol buffers would raise a ValueError that names no argument."""
    with pytest.raises(InvalidField) as refusal:
        asked()  # type: ignore[operator]
    assert refusal.value.metadata["field"] == field


def test_a_wrong_text_is_refused_before_any_call() -> None:
    """With the words of the parser."""
    with pytest.raises(ExpressionError, match="one side of"):
        SampleStream("2*3")


def test_images_of_a_file_format_are_decoded_at_first_use() -> None:
    """`encoded` holds the files as they came."""
    pixels = np.arange(2 * 4 * 5 * 1, dtype=np.uint8).reshape(2, 4, 5, 1)
    batch = pb.ImageBatch(format=pb.FORMAT_PNG, height=4, width=5, channels=1, count=2)
    batch.encoded.extend(images.encode(image, "png") for image in pixels)
    answer = messages.samples(messages.identity_of(IDENTITY), batch, None)
    assert answer.pixels is None
    assert len(answer) == len(answer.encoded) == 2
    np.testing.assert_array_equal(answer.images, pixels)
    assert [picture.size for picture in answer.pillow()] == [(5, 4)] * 2


@pytest.mark.parametrize(
    "batch",
    [
        pb.ImageBatch(format=pb.FORMAT_RAW, height=2, width=2, channels=1, count=2, raw=b"1234567"),
        pb.ImageBatch(format=pb.FORMAT_PNG, height=2, width=2, channels=1, count=2, encoded=[b"one"]),
    ],
)
def test_an_answer_that_contradicts_itself_is_an_error(batch: pb.ImageBatch) -> None:
    """And not an array of another shape."""
    with pytest.raises(DcganError, match="damaged"):
        messages.samples(messages.identity_of(IDENTITY), batch, None)
