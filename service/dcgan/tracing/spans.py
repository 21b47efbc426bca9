"""The spans of a call, as OpenTelemetry's SDK makes and exports them.

    dcgan.v1.GeneratorService/Sample     the call, below its caller's span if that came in `traceparent`
    ├── queue                            its rows wait
    ├── batch, or shared batch           the device run that they are in
    └── encode                           its images are encoded, and its answer written

A device run is one `batch`, in the trace of the first call that has rows in it and is traced. Where there are several
it links to the spans of all, and the traces of the others have a `shared batch` at the same time, which links back to
it. Rows of one call may be in several batches, and a stream has these spans for each chunk.

Spans are made with the times that were measured anyway, on the monotonic clock, when nobody waits for them any more.
What is exported are names, numbers and identifiers: no latents, no images, no metadata of the caller's.
Sources: OpenTelemetry semantic conventions 1.37, "gRPC"; W3C, "Trace Context".
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import grpc
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as SdkTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

_FLUSH_S: Final = 2.0  # what the last spans may take when the server ends
_MAX_SPANS: Final = 1000  # below that of a call; a stream of a million images would have 60,000
_SERVER_FAULTS: Final = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_W3C: Final = TraceContextTextMapPropagator()

_log = structlog.get_logger()


class Tracer:
    """Makes the traces of a server and exports them from a thread; what the receiver doesn't take in time is dropped.

    Endpoint, headers, certificates, sampler, limits and name of the service are the SDK's variables.

    Raises:
        Exception: the SDK refuses the value of a variable.
    """

    def __init__(self, version: str) -> None:
        self._messages = _Messages()
        self._exporter = OTLPSpanExporter()
        self._provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("dcgan", version)

    def begin(
        self,
        service: str,
        method: str,
        request_id: str,
        metadata: Iterable[tuple[str, str | bytes]],
        started: float,
    ) -> "Trace | None":
        """Begins the trace of a call, or continues its caller's; gives None where it isn't sampled."""
        since_epoch_ns = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            f"{service}/{method}",
            _W3C.extract({key: value for key, value in metadata if isinstance(value, str)}, Context()),
            SpanKind.SERVER,
            {
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "dcgan.request_id": request_id,
            },
            start_time=since_epoch_ns + round(1e9 * started),
        )
        return Trace(self._tracer, span, since_epoch_ns) if span.is_recording() else None

    def close(self) -> None:
        """Exports what is left, for a bounded time: a receiver that hangs must not keep the process."""
        flush = threading.Thread(target=self._provider.force_flush, daemon=True)
        flush.start()
        flush.join(_FLUSH_S)
        if flush.is_alive():
            self._exporter.shutdown()  # ends the export that hangs
        self._provider.shutdown()
        self._messages.close()


class Trace:
    """The trace of one call that is sampled. Times are in seconds on the monotonic clock.

    Attributes:
        id: 32 hexadecimal digits.
        exemplar: of the histograms that count the call.
    """

    def __init__(self, tracer: SdkTracer, span: Span, since_epoch_ns: int) -> None:
        self._tracer, self._span, self._since_epoch_ns = tracer, span, since_epoch_ns
        self._context = set_span_in_context(span, Context())
        self._left = _MAX_SPANS
        self.id = format_trace_id(span.get_span_context().trace_id)
        self.exemplar = {"trace_id": self.id}

    def stage(self, name: str, started: float, ended: float) -> None:
        """Tells of a stage that has ended."""
        self._add(name, started, ended)

    def batch(
        self, others: Sequence["Trace"], rows: int, started: float, ended: float, error: Exception | None
    ) -> None:
        """Tells of a device run with rows of this call and of `others`, and with which error it ended."""
        facts: dict[str, AttributeValue] = {"dcgan.batch.rows": rows}
        if error is not None:
            facts["error.type"] = type(error).__name__
        calls = [Link(trace._span.get_span_context()) for trace in (self, *others)] if others else []
        here = self._add("batch", started, ended, facts, calls)
        for trace in others:
            trace._add("shared batch", started, ended, facts, [Link(here)])

    def end(self, code: grpc.StatusCode, reason: str | None, image_count: int, ended: float) -> None:
        """Ends the trace; a run of the device may still tell of itself."""
        number: int = code.value[0]  # the published type is that of all its values
        self._span.set_attributes({"rpc.grpc.status_code": number, "dcgan.image_count": image_count})
        if reason is not None:
            self._span.set_attribute("dcgan.reason", reason)
        if self._left < 0:
            self._span.set_attribute("dcgan.spans_left_out", -self._left)
        if code in _SERVER_FAULTS:
            self._span.set_status(StatusCode.ERROR)
        self._span.end(self._epoch_ns(ended))

    def _add(
        self,
        name: str,
        started: float,
        ended: float,
        facts: Mapping[str, AttributeValue] | None = None,
        links: Sequence[Link] = (),
    ) -> SpanContext:
        """Adds a span below that of the call; gives what links to it."""
        self._left -= 1  # two threads may do so at once, and one more or less is no harm
        if self._left < 0:
            return self._span.get_span_context()
        span = self._tracer.start_span(
            name, self._context, attributes=facts, links=links, start_time=self._epoch_ns(started)
        )
        if facts is not None and "error.type" in facts:
            span.set_status(StatusCode.ERROR)
        span.end(self._epoch_ns(ended))
        return span.get_span_context()

    def _epoch_ns(self, monotonic_s: float) -> int:
        return self._since_epoch_ns + round(1e9 * monotonic_s)


class _Messages(logging.Handler):
    """Writes what the SDK has to say into our log, as lines of its form."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one message; of a header that it can't parse not the header, which may be a secret."""
        headers = record.name == "opentelemetry.util.re"
        _log.warning("traces", problem=record.msg if headers else record.getMessage())

    def close(self) -> None:
        """Takes no more."""
        self._logger.removeHandler(self)
        super().close()


def _resource(version: str) -> Resource:
    """Describes this server; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win over our own words."""
    told = OTELResourceDetector().detect().attributes
    return Resource.create({"service.name": "dcgan", "service.version": version, **told})
