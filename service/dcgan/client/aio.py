"""The asyncio client. What is asked, answered, repeated and resumed is decided in the modules beside; this one calls.

Its twin is `sync`, where the methods' arguments are explained.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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


class AsyncClient:
    """Asks a server for images without blocking. Made and used in one running event loop; tasks may share one.

    Example:
        async with dcgan.connect_async("localhost:50051") as client:
            (await client.sample(16, seed=7)).images  # uint8 (16, height, width, channels)

    Arguments, methods and errors are those of `Client`. A task that is cancelled cancels its call.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._target, self._timeout_s = target, timeout_s
        self._channel = grpc.aio.insecure_channel(address_of(target), options=options())
        self._stub: dcgan_pb2_grpc.GeneratorServiceAsyncStub = dcgan_pb2_grpc.GeneratorServiceStub(self._channel)
        self._answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; calls that still run are cancelled."""
        await self._channel.close()

    async def model(self, *, version: str = "") -> Model:
        """As Client.model."""
        return model_answer(await self._call(self._stub.GetModel, pb.GetModelRequest(version=version)))

    async def sample(self, what: What = 1, /, **options: Unpack[SampleOptions]) -> Samples:
        """As Client.sample."""
        stream = SampleStream(what, **options)
        request = stream.whole()
        if request is not None:
            with suppress(*stream.curable):  # where images are so large that fewer fit into a message
                return stream.accept_whole(await self._call(self._stub.Sample, request))
        return messages.joined([chunk async for chunk in self._chunks(self._stub.StreamSamples, stream)])

    def stream_samples(self, what: What = 1, /, **options: Unpack[StreamOptions]) -> AsyncIterator[Samples]:
        """As Client.stream_samples."""
        return self._chunks(self._stub.StreamSamples, SampleStream(what, **options))

    async def interpolate(self, points: Sequence[Formula] | NDArray[Any], **options: Unpack[PathOptions]) -> Samples:
        """As Client.interpolate."""
        return messages.joined([chunk async for chunk in self.stream_frames(points, **options)])

    def stream_frames(
        self, points: Sequence[Formula] | NDArray[Any], **options: Unpack[PathOptions]
    ) -> AsyncIterator[Samples]:
        """As Client.stream_frames."""
        return self._chunks(self._stub.Interpolate, PathStream(messages.path_request(points, **options)))

    async def arithmetic(
        self, terms: str | Sequence[Term | Formula], **options: Unpack[ArithmeticOptions]
    ) -> Arithmetic:
        """As Client.arithmetic."""
        request = messages.arithmetic_request(terms, **options)
        return messages.arithmetic_answer(await self._call(self._all_of(self._stub.Arithmetic), request))

    async def encode(self, images: Pictures, **options: Unpack[EncodeOptions]) -> Encoded:
        """As Client.encode."""
        parts = EncodeParts(images, **options)
        while not parts.done:
            parts.accept(await self._call(self._stub.Encode, parts.request()))
        return parts.whole()

    async def score(self, what: What | None = None, /, **options: Unpack[ScoreOptions]) -> Scores:
        """As Client.score."""
        parts = ScoreParts(what, **options)
        while not parts.done:
            parts.accept(await self._call(self._stub.Score, parts.request()))
        return parts.whole()

    @staticmethod
    def _all_of(
        method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Answer]",
    ) -> Callable[..., Awaitable[list[_Answer]]]:
        async def collect(request: _Request, timeout: float) -> list[_Answer]:  # noqa: ASYNC109  # gRPC's own
            return [answer async for answer in method(request, timeout=timeout)]

        return collect

    async def _call(self, method: Callable[..., Awaitable[_Answer]], request: object) -> _Answer:
        """Makes a call with one answer, again where that may help."""
        tries = Tries(self._target, self._timeout_s, self._answered)
        while True:
            try:
                answer = await method(request, timeout=tries.timeout_s())
            except grpc.RpcError as failure:
                await asyncio.sleep(tries.delay_after(failure))
            else:
                self._answered = True
                return answer

    async def _chunks(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Answer]",
        stream: Resumable[_Request, _Answer],
    ) -> AsyncIterator[Samples]:
        """Takes a stream to its end, over as many calls as it needs."""
        tries = Tries(self._target, self._timeout_s, self._answered)
        while not stream.done:
            call = method(stream.request(), timeout=tries.timeout_s())
            try:
                async for answer in call:
                    chunk = stream.accept(answer)
                    self._answered = True
                    tries.progressed()
                    yield chunk
                tries.part_ended()
            except grpc.RpcError as failure:
                await asyncio.sleep(tries.delay_after(failure))
            finally:
                call.cancel()  # where the caller took no more
