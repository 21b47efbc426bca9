"""Streams that outlive the connections they arrive on: what came, what is still to be asked for.

Every call is pure and every image has an index, so a stream that was cut goes on with the next image, wherever it is
asked for. The first message pins the bundle: version and manifest digest. A seed that the server drew is kept.
These are state machines without input or output; `sync` and `aio` make the calls.
"""

from typing import Final, Protocol, TypedDict, TypeVar

from dcgan.client.messages import format_of, identity_of, samples
from dcgan.client.results import Format, Identity, Samples
from dcgan.client.sources import SeedSource, What, source_of
from dcgan.errors import BundleChanged, DcganError
from dcgan.v1 import dcgan_pb2 as pb

FEW_IMAGES: Final = 64  # under the 4 MiB of a message up to 128 pixels in colour

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
        version: str = "",
    ) -> None:
        self._source = source_of(what, seed, first_index, truncation)
        self._common: _Common = {
            "version": version,
            "format": format_of(format),
            "include_latents": include_latents,
        }
        self._progress = _Progress(self._source.count)
        self._seed: int | None = None
        self._part_start = 0

    @property
    def few(self) -> bool:
        """Whether one message will probably carry all images."""
        return self._source.count <= FEW_IMAGES

    @property
    def done(self) -> bool:
        """Whether all images have come."""
        return self._progress.done

    def whole(self) -> pb.SampleRequest:
        """Asks for all images in one message."""
        request = pb.SampleRequest(**self._common)
        self._source.fill(request, 0)
        return request

    def accept_whole(self, answer: pb.SampleResponse) -> Samples:
        """Takes the one message."""
        self._seed = answer.seed
        return self._samples(identity_of(answer.identity), answer, 0)

    def request(self) -> pb.StreamSamplesRequest:
        """Asks for the next part."""
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
        return samples(identity, answer.images, rows, seed, self._source.first_index + position)


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
