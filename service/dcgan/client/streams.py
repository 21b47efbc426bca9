"""Streams that outlive the connections they arrive on: what came, what is still to be asked for.

Every call is pure and every image has an index, so a stream that was cut goes on with the next image, wherever it is
asked for. The first message pins the bundle: version and manifest digest. A seed that the server drew is kept.
These are state machines without input or output; `sync` and `aio` make the calls.
"""

from dataclasses import replace
from typing import Final, Protocol, TypedDict, TypeVar

import numpy as np

from dcgan.client.messages import format_of, identity_of, samples
from dcgan.client.results import Format, Identity, Samples
from dcgan.client.scores import scores
from dcgan.client.sources import SeedSource, What, source_of
from dcgan.errors import BundleChanged, DcganError, InvalidField, TooManyImages
from dcgan.v1 import dcgan_pb2 as pb

FEW_IMAGES: Final = 64  # under the 4 MiB of a message up to 128 pixels in colour
MOST_IMAGES: Final = 256  # of Limits.max_images: with scores all have to come in one message

RequestT = TypeVar("RequestT", covariant=True)
AnswerT = TypeVar("AnswerT", contravariant=True)


class Resumable(Protocol[RequestT, AnswerT]):
    """What a client drives: while it isn't `done`, send `request()` and hand every answer to `accept`."""

    @property
    def done(self) -> bool:
        """Whether all images have come."""
        ...

    def request(self) -> RequestT:
        """Asks for what is still missing, or for a part of it."""
        ...

    def accept(self, answer: AnswerT) -> Samples:
        """Takes a chunk. Raises BundleChanged for another bundle's, DcganError for one that isn't due."""
        ...


class SampleStream:
    """The images of a source; where they are few, they can be asked for with Sample in one message.

    With `keep_best` or `include_scores` they can be asked for in no other way.

    Raises InvalidField and ExpressionError for what no request can carry.
    """

    def __init__(
        self,
        what: What,
        *,
        seed: int | None = None,
        first_index: int = 0,
        truncation: float | None = None,
        format: Format = "raw",  # noqa: A002  # what Pillow, the API and people call it
        include_latents: bool = False,
        keep_best: int = 0,
        include_scores: bool = False,
        version: str = "",
    ) -> None:
        self._source = source_of(what, seed, first_index, truncation)
        self._keep_best, self._scored = keep_best, include_scores or keep_best != 0
        most = min(self._source.count, MOST_IMAGES)
        if not 0 <= keep_best <= most:
            raise InvalidField("keep_best", keep_best, f"1 to the {most} images of one message, or 0 for all")
        self._common: _Common = {
            "version": version,
            "format": format_of(format),
            "include_latents": include_latents,
        }
        self._progress = _Progress(self._source.count)
        self._seed: int | None = None
        self._part_start = 0

    @property
    def curable(self) -> tuple[type[TooManyImages], ...]:
        """Errors of Sample after which StreamSamples gives the same."""
        return () if self._scored else (TooManyImages,)

    @property
    def done(self) -> bool:
        """Whether all images have come."""
        return self._progress.done

    def whole(self) -> pb.SampleRequest | None:
        """Asks for all images in one message; None where it will probably not carry them, or one request not ask it.

        Raises InvalidField where it won't and no other will do.
        """
        count = self._source.count
        request = pb.SampleRequest(**self._common, keep_best=self._keep_best, include_scores=self._scored)
        if count <= (MOST_IMAGES if self._scored else FEW_IMAGES) and self._source.fill(request, 0) == count:
            return request
        if self._scored:
            field = "keep_best" if self._keep_best else "include_scores"
            raise InvalidField(field, f"asked of {count} images", f"what one message carries: {MOST_IMAGES} images")
        return None

    def accept_whole(self, answer: pb.SampleResponse) -> Samples:
        """Takes the one message."""
        self._seed = answer.seed
        return self._samples(identity_of(answer.identity), answer, 0)

    def request(self) -> pb.StreamSamplesRequest:
        """Asks for the next part. Raises InvalidField where scores are asked for."""
        if self._scored:
            raise InvalidField("keep_best or include_scores", "set", "only for `sample`, not for a stream")
        request = pb.StreamSamplesRequest(**self._common)
        request.version = self._progress.version or request.version
        self._part_start = self._progress.received
        self._source.fill(request, self._part_start, self._seed)
        return request

    def accept(self, answer: pb.StreamSamplesResponse) -> Samples:
        """Takes the next chunk."""
        # under a seed images are numbered by their index, in lists by their place in this request
        of_seed = isinstance(self._source, SeedSource)
        position = answer.first_index - self._source.first_index + (0 if of_seed else self._part_start)
        identity = self._progress.take(answer.identity, position, answer.images.count)
        self._seed = answer.seed
        return self._samples(identity, answer, position)

    def _samples(
        self, identity: Identity, answer: pb.SampleResponse | pb.StreamSamplesResponse, position: int
    ) -> Samples:
        rows = answer.latents if answer.HasField("latents") else None
        seed = answer.seed if isinstance(self._source, SeedSource) else None
        drawn = samples(identity, answer.images, rows, seed, self._source.first_index + position)
        if isinstance(answer, pb.StreamSamplesResponse) or not self._scored:
            return drawn
        if len(answer.scores) != len(drawn) or len(answer.indices) != (len(drawn) if self._keep_best else 0):
            raise DcganError("the server's answer is damaged: not as many scores and indices as images")
        indices = np.array(answer.indices, np.uint64) if self._keep_best else None
        return replace(drawn, scores=scores(identity, answer.scores, seed), indices=indices)


class PathStream:
    """The frames of a path."""

    def __init__(self, request: pb.InterpolateRequest) -> None:
        self._base = request
        self._progress = _Progress(request.frame_count)

    @property
    def done(self) -> bool:
        """Whether all frames have come."""
        return self._progress.done

    def request(self) -> pb.InterpolateRequest:
        """Asks for the frames that are missing."""
        request = pb.InterpolateRequest()
        request.CopyFrom(self._base)
        request.version = self._progress.version or request.version
        request.first_frame = self._progress.received
        return request

    def accept(self, answer: pb.InterpolateResponse) -> Samples:
        """Takes the next chunk."""
        identity = self._progress.take(answer.identity, answer.first_frame, answer.images.count)
        rows = answer.latents if answer.HasField("latents") else None
        return samples(identity, answer.images, rows, first_index=answer.first_frame)


class _Common(TypedDict):
    """Fields of both requests for samples."""

    version: str
    format: pb.Format.ValueType
    include_latents: bool


class _Progress:
    """How much of a stream came, and of which bundle."""

    def __init__(self, count: int) -> None:
        self._count: Final = count
        self._identity: Identity | None = None
        self.received = 0

    @property
    def done(self) -> bool:
        return self.received >= self._count

    @property
    def version(self) -> str:
        """Version that the stream is pinned to; empty before its first message."""
        return "" if self._identity is None else self._identity.version

    def take(self, message: pb.Identity, position: int, count: int) -> Identity:
        """Counts a chunk of `count` images from `position` on; only a call's first chunk says what drew it."""
        if message.version or self._identity is None:
            self._pin(identity_of(message))
        if position != self.received or count < 1 or position + count > self._count:
            raise DcganError(
                f"the server sent images {position} to {position + count - 1} where image {self.received} was due"
            )
        self.received += count
        assert self._identity is not None
        return self._identity

    def _pin(self, identity: Identity) -> None:
        pinned = self._identity
        if pinned is not None and identity.manifest_digest != pinned.manifest_digest:
            raise BundleChanged.restored(
                f"the stream began with version {pinned.version!r} of {pinned.name!r} and can't go on with "
                f"{identity.version!r} of another content; {self.received} of {self._count} images came; start anew",
                {"received": str(self.received)},
            )
        self._identity = identity
