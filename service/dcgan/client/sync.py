"""The blocking client. What is asked, answered, repeated and resumed is decided in the modules beside; this one calls.

Its twin is `aio`: the same methods, awaited.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
from numpy.typing import NDArray

from dcgan.client import messages
from dcgan.client.channels import DEFAULT_TARGET, DEFAULT_TIMEOUT_S, address_of, options
from dcgan.client.encoding import EncodeParts
from dcgan.client.models import model_answer
from dcgan.client.options import (
    ArithmeticOptions,
    EncodeOptions,
    PathOptions,
    SampleOptions,
    ScoreOptions,
    StreamOptions,
)
from dcgan.client.results import Arithmetic, Encoded, Model, Samples, Scores
from dcgan.client.retries import Tries
from dcgan.client.scores import ScoreParts
from dcgan.client.sources import Formula, What
from dcgan.client.streams import PathStream, Resumable, SampleStream
from dcgan.client.uploads import Pictures
from dcgan.latents import Term
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class Client:
    """Asks a server for images. Threads may share one.

    Example:
        with dcgan.connect("localhost:50051") as client:
            client.sample(16, seed=7).images  # uint8 (16, height, width, channels)
            client.sample("seed(7) + 1.5*direction(sneaker)").pillow()[0].show()

    Args:
        target: host:port, or several separated by commas, which are balanced.
        timeout_s: seconds for each call, repetitions included; for a stream, seconds without a new image.

    Every method raises the errors of `dcgan.errors`: InvalidRequest for what can't be served as it is, Unavailable
    where no server answers, Overloaded, DeadlineExceeded, and so on. What may be repeated has been repeated by then.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._target, self._timeout_s = target, timeout_s
        self._channel = grpc.insecure_channel(address_of(target), options=options())
        self._stub = dcgan_pb2_grpc.GeneratorServiceStub(self._channel)
        self._answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; calls that still run are cancelled."""
        self._channel.close()

    def model(self, *, version: str = "") -> Model:
        """Describes the model that serves: identity, shapes, limits, directions, training, licence."""
        return model_answer(self._call(self._stub.GetModel, pb.GetModelRequest(version=version)))

    def sample(self, what: What = 1, /, **options: Unpack[SampleOptions]) -> Samples:
        """Draws images.

        Args:
            what: a number of images of a seed; or an expression, a text such as "mean(1, 2) - 3", a list of them, or
                latents, (n, latent_dim), for an image each. It may be large: many images are streamed.
            options: seed, first_index, truncation, format, include_latents, keep_best, include_scores, version; see
                SampleOptions.
        """
        stream = SampleStream(what, **options)
        request = stream.whole()
        if request is not None:
            with suppress(*stream.curable):  # where images are so large that fewer fit into a message
                return stream.accept_whole(self._call(self._stub.Sample, request))
        return messages.joined(list(self._chunks(self._stub.StreamSamples, stream)))

    def stream_samples(self, what: What = 1, /, **options: Unpack[StreamOptions]) -> Iterator[Samples]:
        """Draws any number of images in flat memory: yields chunks of about 200 KB, in order. Arguments as `sample`.

        A stream that is cut goes on where it was, but never with another bundle: that raises BundleChanged.
        """
        return self._chunks(self._stub.StreamSamples, SampleStream(what, **options))

    def interpolate(self, points: Sequence[Formula] | NDArray[Any], **options: Unpack[PathOptions]) -> Samples:
        """Draws the frames of a path.

        Args:
            points: what it goes through: two or more expressions or texts such as "7", or latents, (n, latent_dim).
            options: frames, curve, closed, easing, format, include_latents, version; see PathOptions.
        """
        return messages.joined(list(self.stream_frames(points, **options)))

    def stream_frames(
        self, points: Sequence[Formula] | NDArray[Any], **options: Unpack[PathOptions]
    ) -> Iterator[Samples]:
        """Draws the frames of a path in flat memory: yields chunks, in order. Arguments as `interpolate`."""
        return self._chunks(self._stub.Interpolate, PathStream(messages.path_request(points, **options)))

    def arithmetic(self, terms: str | Sequence[Term | Formula], **options: Unpack[ArithmeticOptions]) -> Arithmetic:
        """Adds and subtracts pictures, as Radford et al. 2016 (arXiv:1511.06434, 6.3.2) do.

        Args:
            terms: a text such as "mean(1,2,3) - mean(4,5,6) + mean(7,8,9)", or terms with weights and exemplars.
            options: neighbours, neighbour_seed, normalization, format, version; see ArithmeticOptions.
        """
        request = messages.arithmetic_request(terms, **options)
        return messages.arithmetic_answer(self._call(self._all_of(self._stub.Arithmetic), request))

    def encode(self, images: Pictures, **options: Unpack[EncodeOptions]) -> Encoded:
        """Finds the latents that images come from. Raises NotInBundle where the model has no encoder.

        Args:
            images: a path, the bytes of a file, uint8 (h, w, c) or (n, h, w, c), or a list of these. Any size and
                proportions: the central part is taken and brought to the model's. Many are sent in several requests.
            options: refine_steps, format, version; see EncodeOptions.
        """
        parts = EncodeParts(images, **options)
        while not parts.done:
            parts.accept(self._call(self._stub.Encode, parts.request()))
        return parts.whole()

    def score(self, what: What | None = None, /, **options: Unpack[ScoreOptions]) -> Scores:
        """Asks the discriminator about images. Raises NotInBundle where the model has none.

        Args:
            what: as for `sample`, by default one image of a seed; or `images=` for others, given as for `encode`.
                Many are asked about in several requests.
            options: images, seed, first_index, truncation, version; see ScoreOptions.
        """
        parts = ScoreParts(what, **options)
        while not parts.done:
            parts.accept(self._call(self._stub.Score, parts.request()))
        return parts.whole()

    @staticmethod
    def _all_of(method: Callable[..., Iterator[_Answer]]) -> Callable[..., list[_Answer]]:
        return lambda request, timeout: list(method(request, timeout=timeout))

    def _call(self, method: Callable[..., _Answer], request: object) -> _Answer:
        """Makes a call with one answer, again where that may help."""
        tries = Tries(self._target, self._timeout_s, self._answered)
        while True:
            try:
                answer = method(request, timeout=tries.timeout_s())
            except grpc.RpcError as failure:
                time.sleep(tries.delay_after(failure))
            else:
                self._answered = True
                return answer

    def _chunks(
        self, method: "grpc.UnaryStreamMultiCallable[_Request, _Answer]", stream: Resumable[_Request, _Answer]
    ) -> Iterator[Samples]:
        """Takes a stream to its end, over as many calls as it needs."""
        tries = Tries(self._target, self._timeout_s, self._answered)
        while not stream.done:
            call = method(stream.request(), timeout=tries.timeout_s())
            try:
                for answer in call:
                    chunk = stream.accept(answer)
                    self._answered = True
                    tries.progressed()
                    yield chunk
                tries.part_ended()
            except grpc.RpcError as failure:
                time.sleep(tries.delay_after(failure))
            finally:
                call.cancel()  # where the caller took no more
