"""Traces of a real `dcgan serve`, as a real receiver gets them."""

import os
import secrets
import socket
import urllib.request
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bundles import write_bundle
from dcgan import images
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import serve
from receiver import facts, receiving
from wire import S, seeds

SERVICE = "dcgan.v1.GeneratorService"
BLACK = pb.ScoreRequest(images=pb.UploadList(files=[images.encode(np.zeros((6, 5, 3), np.uint8), "png")]))


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A server that sends its traces, and how to call it. It fails at black images, and without a deadline is late."""
    bundle = write_bundle(tmp_path_factory.mktemp("traced") / "m", discriminator=True, defect=True)
    with (
        receiving() as receiver,
        serve(bundle, "--default-deadline-s", 1e-4, **receiver.variables) as serving,
        grpc.insecure_channel(serving.target) as channel,
    ):
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        yield SimpleNamespace(receiver=receiver, serving=serving, stub=stub)


class Caller:
    """A caller that has a span of its own, whose trace its call continues."""

    def __init__(self, sampled: bool = True) -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.metadata = (("traceparent", f"00-{self.trace_id}-{self.span_id}-{sampled:02x}"),)


def test_a_call_is_a_tree_of_spans(traced):
    """Of kind server at its root, which continues the caller's trace; the stages below, in order and inside of it."""
    caller = Caller()
    traced.stub.Sample(seeds(seed=1, count=3), timeout=30, metadata=(*caller.metadata, ("x-request-id", "tree-1")))
    root, *below = traced.receiver.trace(caller.trace_id, 4)
    assert (root.name, root.parent_span_id.hex()) == (f"{SERVICE}/Sample", caller.span_id)
    assert facts(root) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "Sample",
        "rpc.grpc.status_code": 0,
        "dcgan.request_id": "tree-1",
        "dcgan.image_count": 3,
    }
    assert root.status.code == Status.STATUS_CODE_UNSET
    below.sort(key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in below] == ["queue", "batch", "encode"]
    assert [span.parent_span_id for span in below] == [root.span_id] * 3
    assert facts(below[1]) == {"dcgan.batch.rows": 3}
    times = [time for span in below for time in (span.start_time_unix_nano, span.end_time_unix_nano)]
    assert times == sorted(times)
    assert root.start_time_unix_nano <= times[0] <= times[-1] <= root.end_time_unix_nano
    assert traced.receiver.resource["service.name"] == "dcgan"


@pytest.mark.parametrize("metadata", [(), (("traceparent", "00-nonsense-01"),)])
def test_a_call_without_a_traced_caller_is_a_trace_of_its_own(traced, metadata):
    """Also where the caller's words are none."""
    traced.stub.GetModel(pb.GetModelRequest(), metadata=(*metadata, ("x-request-id", "alone-1")))
    caller = Caller()
    traced.stub.GetModel(pb.GetModelRequest(), metadata=caller.metadata)
    traced.receiver.trace(caller.trace_id)  # what was before it is there too
    roots = [span for span in traced.receiver.spans if facts(span).get("dcgan.request_id") == "alone-1"]
    assert roots[-1].parent_span_id == b""


def test_a_caller_that_is_not_sampled_leaves_no_trace(traced):
    """The caller has decided for all below it."""
    quiet, loud = Caller(sampled=False), Caller()
    for caller in (quiet, loud):
        traced.stub.Sample(S(), timeout=30, metadata=caller.metadata)
    traced.receiver.trace(loud.trace_id, 4)
    assert quiet.trace_id not in {span.trace_id.hex() for span in traced.receiver.spans}


def test_a_batch_links_to_the_calls_in_it(traced):
    """To all of them; it is in the trace of one, and those of the others have one that links to it."""
    callers = [Caller() for _ in range(100)]
    request = seeds(seed=1, count=20)
    calls = [traced.stub.Sample.future(request, timeout=30, metadata=caller.metadata) for caller in callers]
    for call in calls:
        call.result()
    spans = [span for caller in callers for span in traced.receiver.trace(caller.trace_id, 4)]
    roots = {span.span_id for span in spans if span.kind == Span.SPAN_KIND_SERVER}
    batches = {
        span.span_id: {link.span_id for link in span.links} for span in spans if span.name == "batch" and span.links
    }
    assert max(map(len, batches.values())) > 2
    for linked in batches.values():
        assert linked <= roots
    shared = [span for span in spans if span.name == "shared batch"]
    assert len(shared) == sum(len(linked) - 1 for linked in batches.values())
    for span in shared:
        (link,) = span.links
        assert span.parent_span_id in batches[link.span_id]


@pytest.mark.parametrize(
    ("method", "request_", "timeout_s", "code", "status"),
    [
        ("Sample", S(format=9), 30, "INVALID_ARGUMENT", Status.STATUS_CODE_UNSET),
        ("Sample", S(version="0"), 30, "FAILED_PRECONDITION", Status.STATUS_CODE_UNSET),
        ("Score", BLACK, 30, "INTERNAL", Status.STATUS_CODE_ERROR),
        ("Sample", seeds(count=256), None, "DEADLINE_EXCEEDED", Status.STATUS_CODE_ERROR),
    ],
)
def test_a_span_is_an_error_where_the_server_is_to_blame(traced, method, request_, timeout_s, code, status):
    """As OpenTelemetry's conventions have it; what the caller did is none."""
    caller = Caller()
    with pytest.raises(grpc.RpcError) as refusal:
        getattr(traced.stub, method)(request_, timeout=timeout_s, metadata=caller.metadata)
    assert refusal.value.code().name == code
    root, *_ = traced.receiver.trace(caller.trace_id)
    assert facts(root)["rpc.grpc.status_code"] == grpc.StatusCode[code].value[0]
    assert root.status.code == status


def test_the_spans_of_a_long_stream_are_bounded(traced):
    """What is left out is counted."""
    caller = Caller()
    request = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=1, count=110_000), format=pb.FORMAT_RAW)
    for _ in traced.stub.StreamSamples(request, metadata=caller.metadata):
        pass
    root, *below = traced.receiver.trace(caller.trace_id)
    assert len(below) <= 1000
    assert facts(root)["dcgan.spans_left_out"] > 100


def test_histograms_lead_to_traces(traced):
    """By exemplars, in OpenMetrics; the other format has none."""
    caller = Caller()
    traced.stub.Sample(S(), timeout=30, metadata=caller.metadata)
    text = asked(traced.serving.metrics, "application/openmetrics-text; version=1.0.0")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    led = {
        (sample.name, sample.labels.get("stage") or sample.labels["method"])
        for sample in samples
        if sample.exemplar is not None and sample.exemplar.labels == {"trace_id": caller.trace_id}
    }
    stages = {("dcgan_stage_seconds_bucket", stage) for stage in ("queue", "device", "encode")}
    assert led == {("dcgan_request_seconds_bucket", "Sample"), *stages}
    assert "trace_id" not in asked(traced.serving.metrics, "text/plain")


def asked(url: str, form: str) -> str:
    """Reads metrics in one of their formats."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": form})) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("receiver", ["down", "mute", "hanging"])
def test_calls_and_the_end_do_not_wait_for_a_receiver(bundle, receiver):
    """One that isn't there, one that accepts and says nothing, one that never finishes an export."""
    with socket.create_server(("127.0.0.1", 0)) as mute, receiving() as hanging:
        hanging.go.clear()
        port = {"down": free_port(), "mute": mute.getsockname()[1]}.get(receiver)
        variables = hanging.variables | ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"} if port else {})
        with (
            serve(bundle, "--drain-delay-s", 0, OTEL_BSP_MAX_QUEUE_SIZE="512", **variables) as serving,
            grpc.insecure_channel(serving.target) as channel,
        ):
            stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
            for _ in range(300):
                assert stub.Sample(S(), timeout=5).images.count == 1
            serving.terminate()
            assert serving.process.wait(timeout=10) == 0


def free_port() -> int:
    """Finds a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, "install dcgan[otel]"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, None),
        ({}, None),
    ],
)
def test_a_server_without_opentelemetry_serves(bundle, tmp_path, variables, words):
    """It warns where traces are asked for, and where they aren't it doesn't even look."""
    (tmp_path / "opentelemetry.py").write_text("open(__file__ + '.seen', 'w')\n")  # found first, and not what it says
    log = tmp_path / "log"
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with (
        serve(bundle, log=log, PYTHONPATH=path, **variables) as serving,
        grpc.insecure_channel(serving.target) as channel,
    ):
        assert dcgan_pb2_grpc.GeneratorServiceStub(channel).Sample(S(), timeout=30).images.count == 1
    assert ("no traces" in log.read_text()) is (words is not None)
    assert (words or "") in log.read_text()
    assert (tmp_path / "opentelemetry.py.seen").exists() is (words == "install dcgan[otel]")
