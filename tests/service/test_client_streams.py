"""Streams as state machines: driven by answers made as a server makes them, cut wherever hypothesis likes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from dcgan.client import messages
from dcgan.client.results import Samples
from dcgan.client.streams import PathStream, SampleStream
from dcgan.errors import BundleChanged, DcganError
from dcgan.latents import Floats32, seed
from dcgan.v1 import dcgan_pb2 as pb

DIM = 3
DRAWN_SEED = 4711
IDENTITY = pb.Identity(name="tiny", version="1", manifest_digest="a" * 64)


def image_batch(values: list[int]) -> pb.ImageBatch:
    """Makes 1 x 1 grey images whose only pixel tells which they are."""
    pixels = bytes(value % 251 for value in values)
    return pb.ImageBatch(format=pb.FORMAT_RAW, height=1, width=1, channels=1, count=len(values), raw=pixels)


def latent_batch(rows: Floats32) -> pb.LatentBatch:
    """Packs latents."""
    return pb.LatentBatch(count=len(rows), dim=rows.shape[1], values=rows.astype("<f4").tobytes())


def sample_answers(
    request: pb.StreamSamplesRequest, chunk: int, identity: pb.Identity = IDENTITY
) -> Iterator[pb.StreamSamplesResponse]:
    """Answers as a server does, with chunks of `chunk` images."""
    of_seed = request.WhichOneof("source") == "seeds"
    if of_seed:
        first, count = request.seeds.first_index, request.seeds.count
        names = list(range(first, first + count))
    elif request.WhichOneof("source") == "latents":
        rows = np.frombuffer(request.latents.values, "<f4").reshape(request.latents.count, DIM)
        first, names = 0, rows[:, 0].astype(int).tolist()
    else:
        first, names = 0, [one.nodes[0].seed.seed for one in request.expressions.expressions]
    for start in range(0, len(names), chunk):
        yield pb.StreamSamplesResponse(
            identity=None if start else identity,
            images=image_batch(names[start : start + chunk]),
            seed=(request.seeds.seed if request.seeds.HasField("seed") else DRAWN_SEED) if of_seed else 0,
            latents=latent_batch(np.zeros((len(names[start : start + chunk]), DIM), np.float32)),
            first_index=first + start,
        )


def frame_answers(request: pb.InterpolateRequest, chunk: int) -> Iterator[pb.InterpolateResponse]:
    """Answers as a server does, with chunks of `chunk` frames."""
    for start in range(request.first_frame, request.frame_count, chunk):
        frames = list(range(start, min(start + chunk, request.frame_count)))
        identity = IDENTITY if start == request.first_frame else None
        yield pb.InterpolateResponse(identity=identity, images=image_batch(frames), first_frame=start)


def driven(stream: Any, answers: Callable[[Any], Iterator[Any]], cuts: list[int]) -> list[Samples]:
    """Takes a stream to its end over calls that are cut after so many chunks, the last ones after none."""
    taken: list[Samples] = []
    remaining = iter(cuts)
    while not stream.done:
        limit = next(remaining, None)
        for number, answer in enumerate(answers(stream.request())):
            if number == limit:
                break
            taken.append(stream.accept(answer))
    return taken


cut_lists = st.lists(st.integers(0, 4), max_size=12)
"""After how many chunks each of the first calls is cut."""


@given(
    count=st.integers(1, 60),
    first_index=st.integers(0, 2**64 - 61),
    asked_seed=st.none() | strategies.words64,
    chunk=st.integers(1, 9),
    cuts=cut_lists,
)
def test_a_stream_of_seeds_that_is_cut_anywhere_gives_every_image_once(
    count: int, first_index: int, asked_seed: int | None, chunk: int, cuts: list[int]
) -> None:
    """A seed that the server drew is kept, since another one would be other pictures."""
    stream = SampleStream(count, seed=asked_seed, first_index=first_index, include_latents=True)
    whole = messages.joined(driven(stream, lambda request: sample_answers(request, chunk), cuts))
    assert whole.images.ravel().tolist() == [(first_index + number) % 251 for number in range(count)]
    assert whole.seed == (DRAWN_SEED if asked_seed is None else asked_seed)
    assert whole.first_index == first_index
    assert whole.latents is not None
    assert whole.latents.shape == (count, DIM)


@given(count=st.integers(1, 60), chunk=st.integers(1, 9), cuts=cut_lists)
def test_a_stream_of_a_list_that_is_cut_anywhere_gives_every_image_once(
    count: int, chunk: int, cuts: list[int]
) -> None:
    """Expressions and latents alike go on in the middle of the list."""
    rows = np.repeat(np.arange(count, dtype=np.float32)[:, None], DIM, axis=1)
    for what in ([seed(number) for number in range(count)], rows):
        stream = SampleStream(what)
        chunks = driven(stream, lambda request: sample_answers(request, chunk), cuts)
        assert messages.joined(chunks).images.ravel().tolist() == list(range(count))
        assert [part.first_index for part in chunks] == np.cumsum([0, *map(len, chunks)])[:-1].tolist()
        assert chunks[0].seed is None


@given(count=st.integers(1, 60), chunk=st.integers(1, 9), cuts=cut_lists)
def test_a_path_that_is_cut_anywhere_gives_every_frame_once(count: int, chunk: int, cuts: list[int]) -> None:
    """It goes on at the next frame of the same path."""
    stream = PathStream(messages.path_request(["1", "2"], frames=count))
    frames = driven(stream, lambda request: frame_answers(request, chunk), cuts)
    assert messages.joined(frames).images.ravel().tolist() == list(range(count))


def test_a_stream_goes_on_only_with_the_version_it_began_with() -> None:
    """The request names it, so that a server with another one refuses."""
    stream = SampleStream(10, seed=1)
    assert stream.request().version == ""
    stream.accept(next(sample_answers(stream.request(), 3)))
    again = stream.request()
    assert (again.version, again.seeds.first_index, again.seeds.count) == ("1", 3, 7)


def test_a_stream_never_goes_on_with_another_bundle_of_the_same_version() -> None:
    """The digest of the manifest tells them apart."""
    stream = SampleStream(10, seed=1)
    stream.accept(next(sample_answers(stream.request(), 3)))
    other = pb.Identity(name="tiny", version="1", manifest_digest="b" * 64)
    with pytest.raises(BundleChanged, match="3 of 10 images came"):
        stream.accept(next(sample_answers(stream.request(), 3, other)))


def test_a_chunk_that_is_not_due_is_an_error() -> None:
    """A gap or a repetition would go unnoticed otherwise."""
    stream = SampleStream(10, seed=1)
    chunks = list(sample_answers(stream.request(), 3))
    with pytest.raises(DcganError, match="images 6 to 8 where image 0 was due"):
        stream.accept(chunks[2])


def test_a_large_list_is_asked_for_in_parts_that_servers_accept() -> None:
    """2,000 sums of 4 nodes and terms exceed the limit of 1,024 in one request; 10 MB of latents that of bytes."""
    many = SampleStream([seed(1) + seed(2)] * 2_000)
    request = many.request()
    size = sum(
        len(one.nodes) + sum(len(node.sum.terms) for node in one.nodes) for one in request.expressions.expressions
    )
    assert 1_000 < size <= 1_024
    assert SampleStream(np.zeros((100_000, 25), np.float32)).request().ByteSize() < 2 << 20
