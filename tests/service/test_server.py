"""What surrounds the methods of a real server: ids, health, metrics, deadlines, memory, its end."""

import asyncio
import gc
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from conftest import metrics_of, serving_here
from dcgan import errors, metrics
from dcgan.generator import Generator
from dcgan.status import error_of
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from wire import DIM, S, refused, seeds


async def test_a_request_id_is_taken_or_made_and_returned(stub):
    """With answers and with refusals; one that a log line can't carry is replaced."""
    for given, kept in (("mine-1", True), ("x" * 65, False)):
        call = stub.Sample(S(), metadata=(("x-request-id", given),))
        await call
        returned = dict(await call.trailing_metadata())["x-request-id"]
        assert (returned == given) is kept
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.Sample(S(format=9), metadata=(("x-request-id", "mine-2"),))
    assert dict(refusal.value.trailing_metadata())["x-request-id"] == "mine-2"


async def test_health_and_reflection_answer(channel):
    """Per service and for the whole; reflection lists the service."""
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "dcgan.v1.GeneratorService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request])):
        assert "dcgan.v1.GeneratorService" in [service.name for service in answer.list_services_response.service]


async def test_every_watcher_hears_of_the_drain_and_none_delays_it(bundle):
    """Also where another watcher has left; the grace of a minute is not used up by streams that only watch."""
    async with serving_here(bundle, drain_grace_s=60) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(health_pb2.HealthCheckRequest(service=service)) for service in ("", "", "dcgan.v1.None")]
        states = [(await call.read()).status for call in calls]
        assert states == [health_pb2.HealthCheckResponse.SERVING] * 2 + [health_pb2.HealthCheckResponse.SERVICE_UNKNOWN]
        calls[0].cancel()
        async with asyncio.timeout(10):
            await running.drain(asyncio.Event())
            assert (await calls[1].read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await calls[1].read() is grpc.aio.EOF


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_lost_device_ends_the_server(bundle, monkeypatch):
    """Its calls are INTERNAL without internals, health says NOT_SERVING, and the process ends; draining too."""

    def lost(*_):
        raise RuntimeError("CUDA error 700: /opt/secret/path")

    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        monkeypatch.setattr(Generator, "lend", lost)
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        for _ in range(3):
            code, error = await refused(stub.Sample(S()))
            assert code == grpc.StatusCode.INTERNAL
            assert "secret" not in error.message
        with pytest.raises(errors.DeviceError, match="CUDA error 700"):
            await running.supervise(asyncio.get_running_loop().create_future())
        health = health_pb2_grpc.HealthStub(channel)
        status = (await health.Check(health_pb2.HealthCheckRequest())).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(errors.DeviceError):
            await running.drain(asyncio.Event())


async def test_refused_requests_are_let_go_of(bundle):
    """Without waiting for the collector of cycles: 50 refusals of 4 MB don't leave 200 MB behind."""
    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        request = pb.SampleRequest(latents=pb.LatentBatch(count=1, dim=DIM, values=bytes(4_000_000)))
        gc.disable()
        try:
            for _ in range(5):
                await refused(stub.Sample(request))
            before = resident_mib()
            for _ in range(50):
                await refused(stub.Sample(request))
            assert resident_mib() - before < 100
        finally:
            gc.enable()


def resident_mib():
    """Reads the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


async def test_metrics_count_calls_images_and_refusals(bundle):
    """On a server of its own, exactly."""
    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        for _ in range(3):
            await stub.Sample(seeds(seed=1, count=5))
        await refused(stub.Sample(S(format=9)))
        samples = await asyncio.to_thread(scrape, running)
    assert samples["dcgan_requests_total", "OK", "Sample"] == 3
    assert samples["dcgan_requests_total", "INVALID_ARGUMENT", "Sample"] == 1
    assert samples["dcgan_refused_total", "INVALID_FIELD"] == 1
    assert samples["dcgan_images_total",] == 15
    assert samples["dcgan_requests_in_progress", "Sample"] == 0
    assert samples["dcgan_queued_rows",] == 0


def scrape(running):
    """Reads /metrics: value by name and label values, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics_of(running))
        for sample in family.samples
    }


async def test_a_call_without_a_deadline_gets_the_default_one(bundle):
    """Nothing waits for ever; here a large batch against a deadline of a microsecond."""
    async with (
        serving_here(bundle, default_deadline_s=1e-6) as running,
        grpc.aio.insecure_channel(running.target) as channel,
    ):
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        code, error = await refused(stub.Sample(seeds(seed=1, count=256)))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "default deadline" in error.message
        assert (await stub.Sample(seeds(seed=1, count=256), timeout=30)).images.count == 256


async def test_a_draining_server_cuts_streams_and_says_where_to_continue(bundle):
    """At a chunk's edge, with the next index; the rest from another server is the rest of the same stream."""
    async with serving_here(bundle) as running, grpc.aio.insecure_channel(running.target) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        request = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=7, first_index=3, count=10**7), format=pb.FORMAT_RAW)
        call = stub.StreamSamples(request)
        got, drains = [], []

        async def read():
            async for chunk in call:
                got.append(chunk.images.count)
                if not drains:
                    drains.append(asyncio.create_task(running.drain(asyncio.Event())))

        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await read()
        await drains[0]
    error = error_of(cut.value.code(), cut.value.details(), cut.value.trailing_metadata())
    assert isinstance(error, errors.Draining)
    assert int(error.metadata["next_index"]) == 3 + sum(got)


def test_every_metric_is_documented():
    """The operators' table is what the code defines, `dcgan.metrics.table()`."""
    document = Path(__file__).parents[2] / "deploy" / "observability" / "METRICS.md"
    assert metrics.table() in document.read_text()
