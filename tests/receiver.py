"""A real receiver of traces: the OTLP service over gRPC, as an OpenTelemetry collector has it, on a free port."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent.

    Attributes:
        variables: what makes a server send it there, at once.
        spans: all that came, in order.
        resource: the attributes of the last sender.
        go: cleared, exports hang.
    """

    def __init__(self, port: int) -> None:
        self.variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "20"}
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.go = threading.Event()
        self.go.set()
        self._came = threading.Condition()

    def Export(self, request: otlp.ExportTraceServiceRequest, context: Any) -> otlp.ExportTraceServiceResponse:  # noqa: ARG002
        """Takes spans."""
        self.go.wait()
        with self._came:
            for sender in request.resource_spans:
                self.resource = facts(sender.resource)
                self.spans += [span for scope in sender.scope_spans for span in scope.spans]
            self._came.notify_all()
        return otlp.ExportTraceServiceResponse()

    def trace(self, trace_id: str, count: int = 1) -> list[Span]:
        """Waits for the call's own span and for so many of its trace in all; the call's own comes first."""

        def there() -> list[Span]:
            spans = [span for span in self.spans if span.trace_id.hex() == trace_id]
            spans.sort(key=lambda span: span.kind != Span.SPAN_KIND_SERVER)
            return spans if len(spans) >= count and spans[0].kind == Span.SPAN_KIND_SERVER else []

        with self._came:
            assert self._came.wait_for(there, timeout=30), self.spans[-10:]
            return there()


def facts(described: Any) -> dict[str, Any]:
    """Reads the attributes of a span or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in described.attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Runs a receiver for as long as the context lasts."""
    server = grpc.server(ThreadPoolExecutor(2))
    receiver = Receiver(server.add_insecure_port("127.0.0.1:0"))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    server.start()
    try:
        yield receiver
    finally:
        receiver.go.set()
        server.stop(None).wait()
