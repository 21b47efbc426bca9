"""What surrounds every method: parsing, errors to statuses, deadlines, one log line and the counts of each call.

Requests are parsed here and not by gRPC, so that garbage is INVALID_ARGUMENT with a reason and not UNKNOWN with a
Python message. An error of our tree is sent as it is; anything else is INTERNAL, a fixed text, and a traceback in
the log under the request id.
"""

import asyncio
import itertools
import logging
import math
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from prometheus_client import Counter

from dcgan.errors import (
    DcganError,
    DeadlineExceeded,
    InternalError,
    MalformedRequest,
    Overloaded,
    RequestTooLarge,
)
from dcgan.metrics import CallRecord, Metrics, current_call
from dcgan.registry import MAX_REQUEST_BYTES, Model, Registry
from dcgan.servicer import GeneratorServicer
from dcgan.status import code_of, message_of, trailers_of
from dcgan.tracing import exemplar
from dcgan.v1 import dcgan_pb2 as pb

if TYPE_CHECKING:
    from dcgan.tracing.spans import Tracer

REQUEST_ID_KEY: Final = "x-request-id"
_MAX_REQUEST_ID: Final = 64
_PROCESS_ID: Final = secrets.token_hex(4)  # ids that are made count up behind it: unique, and cheap
_MAX_HELD_BYTES: Final = 128 << 20
_SERVICE: Final = pb.DESCRIPTOR.services_by_name["GeneratorService"]
_LEVELS: Final = {  # of the codes that aren't the caller's doing; all others are in order
    grpc.StatusCode.RESOURCE_EXHAUSTED: logging.WARNING,
    grpc.StatusCode.UNAVAILABLE: logging.WARNING,
    grpc.StatusCode.DEADLINE_EXCEEDED: logging.WARNING,
    grpc.StatusCode.INTERNAL: logging.ERROR,
}

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Unary: TypeAlias = Callable[[Any, Model], Awaitable[bytes]]
_Stream: TypeAlias = Callable[[Any, Model], AsyncGenerator[bytes, None]]

_counter = itertools.count(1)


class Calls(grpc.GenericRpcHandler):
    """Finds the methods of a servicer for gRPC, each wrapped; other services pass by.

    An interceptor of gRPC's would do the same, with a coroutine of its own for each call.
    """

    def __init__(
        self,
        servicer: GeneratorServicer,
        registry: Registry,
        metrics: Metrics,
        default_deadline_s: float,
        tracer: "Tracer | None",
    ) -> None:
        self._registry = registry
        self._default_deadline_s = default_deadline_s
        self._held_bytes = 0
        self._handlers = {
            f"/{_SERVICE.full_name}/{name}": self._wrapped(getattr(servicer, name), description, metrics, tracer)
            for name, description in _SERVICE.methods_by_name.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "_Handler | None":
        """Gives the handler of a method; None where it isn't ours."""
        return self._handlers.get(handler_call_details.method)

    def _wrapped(
        self, behaviour: Any, description: MethodDescriptor, metrics: Metrics, tracer: "Tracer | None"
    ) -> _Handler:
        method = _Method(metrics, description.name, tracer)
        message_class: type[Message] = getattr(pb, description.input_type.name)
        if description.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(behaviour, method, message_class))
        return grpc.unary_unary_rpc_method_handler(self._answering(behaviour, method, message_class))

    def _answering(self, behaviour: _Unary, method: "_Method", message_class: type[Message]) -> Any:
        async def answer(data: bytes, context: Context) -> bytes:
            request: Any = None
            model: Model | None = None
            call = _Call(method, context, self._default_deadline_s)
            try:
                with call, self._held(len(data)):
                    request = _parsed(data, message_class)
                    data = b""  # what waits, waits once
                    model = self._registry.current(request.version)
                    with model.calls:
                        if call.has_deadline:  # gRPC cancels us when it passes
                            return await behaviour(request, model)
                        async with asyncio.timeout(self._default_deadline_s):
                            return await behaviour(request, model)
            except Exception:
                # gRPC keeps the frame of an aborted call until the collector runs
                data, request, model = b"", None, None
                await call.abort()
                raise  # not reached: abort raises

        return answer

    def _streaming(self, behaviour: _Stream, method: "_Method", message_class: type[Message]) -> Any:
        async def stream(data: bytes, context: Context) -> AsyncGenerator[bytes, None]:
            request: Any = None
            model: Model | None = None
            call = _Call(method, context, default_deadline_s=math.inf)
            try:
                with call, self._held(len(data)):
                    request = _parsed(data, message_class)
                    data = b""
                    model = self._registry.current(request.version)
                    with model.streams:
                        async with aclosing(behaviour(request, model)) as answers:
                            async for answer in answers:
                                yield answer
            except Exception:
                data, request, model = b"", None, None
                await call.abort()

        return stream

    @contextmanager
    def _held(self, size_bytes: int) -> Iterator[None]:
        """Bounds what all calls in progress asked for, in bytes."""
        if self._held_bytes + size_bytes > _MAX_HELD_BYTES:
            raise Overloaded(f"requests of {self._held_bytes >> 20} MiB are being served already", 0.1)
        self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._held_bytes -= size_bytes


class _Method:
    """The counts and the log of one method, each looked up once: a look-up costs as much as a count."""

    def __init__(self, metrics: Metrics, name: str, tracer: "Tracer | None") -> None:
        self.name, self.tracer = name, tracer
        self._metrics = metrics
        self._in_progress = metrics.requests_in_progress.labels(name)
        self._seconds = metrics.request_seconds.labels(name)
        self._ended: dict[grpc.StatusCode, Counter] = {}
        for code in (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL):  # so that a rate sees their first count too
            self._ended[code] = metrics.requests.labels(name, code.name)
        self.log = structlog.get_logger().bind(method=name)

    def begin(self) -> None:
        """Counts a call that begins."""
        self._in_progress.inc()

    def end(self, code: grpc.StatusCode, reason: str | None, seconds: float, exemplar: dict[str, str] | None) -> None:
        """Counts a call that ends."""
        self._in_progress.dec()
        self._seconds.observe(seconds, exemplar)
        if code not in self._ended:
            self._ended[code] = self._metrics.requests.labels(self.name, code.name)
        self._ended[code].inc()
        if reason is not None:
            self._metrics.refused.labels(reason).inc()


class _Call:
    """One call from its arrival to its end, counted and logged once, however it ends, before its caller hears of it."""

    def __init__(self, method: _Method, context: Context, default_deadline_s: float) -> None:
        self._method, self._context = method, context
        self._started = time.monotonic()
        left_s: float | None = context.time_remaining()  # the published type leaves None out
        self.has_deadline = left_s is not None
        metadata = context.invocation_metadata() or ()
        self._record = CallRecord(
            _request_id(metadata), self._started + (default_deadline_s if left_s is None else left_s)
        )
        if method.tracer is not None:
            self._record.trace = method.tracer.begin(
                _SERVICE.full_name, method.name, self._record.request_id, metadata, self._started
            )
        self._error: DcganError | None = None

    def __enter__(self) -> None:
        self._method.begin()
        current_call.set(self._record)
        self._context.set_trailing_metadata(((REQUEST_ID_KEY, self._record.request_id),))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            code = grpc.StatusCode.OK
        elif isinstance(error, Exception):
            self._error = self._known(error)
            code = code_of(self._error)
        else:
            code = self._given_up()
        self._count(code, error if isinstance(self._error, InternalError) else None)

    async def abort(self) -> None:
        """Ends the call with the status of its error; always raises."""
        error, self._error = self._error, None
        assert error is not None
        error.__traceback__ = None  # else it would hold the request until the collector of cycles runs
        trailers = (*trailers_of(error), (REQUEST_ID_KEY, self._record.request_id))
        await self._context.abort(code_of(error), message_of(error), trailing_metadata=trailers)

    def _count(self, code: grpc.StatusCode, defect: BaseException | None) -> None:
        ended = time.monotonic()
        seconds = ended - self._started
        reason = None if self._error is None else self._error.reason
        record = self._record
        trace = record.trace
        self._method.end(code, reason, seconds, exemplar(trace))
        self._method.log.log(
            _LEVELS.get(code, logging.INFO),
            "call",
            code=code.name,
            reason=reason,
            request_id=record.request_id,
            image_count=record.image_count,
            queue_ms=_milliseconds(record.queue_s),
            device_ms=_milliseconds(record.device_s),
            encode_ms=_milliseconds(record.encode_s),
            total_ms=_milliseconds(seconds),
            **({} if trace is None else {"trace_id": trace.id}),
            **({} if defect is None else {"exc_info": defect}),
        )
        if trace is not None:
            trace.end(code, reason, record.image_count, ended)

    def _given_up(self) -> grpc.StatusCode:
        """Says why a call ended without an answer: gRPC cancels the handler when its caller's deadline passes too."""
        late = self.has_deadline and self._context.time_remaining() <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED

    def _known(self, error: Exception) -> DcganError:
        if isinstance(error, DcganError) and error.code not in ("UNKNOWN", "INTERNAL"):
            return error
        if isinstance(error, TimeoutError):
            return DeadlineExceeded("the server's default deadline passed; set a longer one on the call")
        return InternalError(self._record.request_id)


def _parsed(data: bytes, message_class: type[Message]) -> Any:
    if len(data) > MAX_REQUEST_BYTES:
        raise RequestTooLarge(len(data), MAX_REQUEST_BYTES)
    try:
        return message_class.FromString(data)
    except DecodeError:
        raise MalformedRequest(message_class.DESCRIPTOR.full_name, len(data)) from None


def _request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Takes the caller's request id if it is one that a log line can carry, else makes one."""
    for key, value in metadata:
        if (
            key == REQUEST_ID_KEY
            and isinstance(value, str)
            and 0 < len(value) <= _MAX_REQUEST_ID
            and value.isascii()
            and value.isprintable()
        ):
            return value
    return f"{_PROCESS_ID}-{next(_counter):x}"


def _milliseconds(seconds: float) -> float:
    return round(1000.0 * seconds, 2)
