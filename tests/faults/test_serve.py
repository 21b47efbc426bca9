"""What goes wrong when a server starts and stops: one line that helps, no traceback, nothing lost."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import grpc
import onnxruntime
import pytest

import dcgan as client_package
from bundles import write_bundle
from dcgan.generator import CUDA
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import dcgan, serve


def refusal(*flags, **environment):
    """Runs `dcgan serve`, which must refuse to start, and returns its one line."""
    ended = dcgan("serve", *flags, **environment)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return lines[0]


def flip_a_byte(path):
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lead_outside(path):
    """Replaces a file by a link to one outside of its bundle."""
    path.rename(path.parents[1] / "moved")
    path.symlink_to(path.parents[1] / "moved")


@pytest.mark.parametrize(
    ("file", "harm", "why"),
    [
        ("generator.onnx", flip_a_byte, "sha256 differs"),
        ("generator.onnx", lambda path: os.truncate(path, 50), "has 50 bytes"),
        ("golden.safetensors", lambda path: path.unlink(), "is missing"),
        ("manifest.json", lambda path: path.write_text("{"), "is not JSON"),
        ("generator.onnx", lead_outside, "leads out of the bundle"),
    ],
)
def test_a_damaged_bundle_ends_in_one_line(tmp_path, file, harm, why):
    """It names the file and the reason; test_bundle.py has the other damages."""
    path = write_bundle(tmp_path / "b")
    harm(path / file)
    line = refusal("--model", path)
    assert file in line
    assert why in line
    assert dcgan("verify", path).returncode == 1


def test_no_bundle_names_those_that_are_shipped(tmp_path):
    """A misspelt name or folder."""
    line = refusal("--model", tmp_path / "nothing")
    assert "is no directory" in line
    assert "fashion" in line


def test_a_taken_port_is_named(bundle):
    """Two servers on one port would share its calls at random."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refusal("--model", bundle, "--port", port, "--metrics-port", 0)
        assert f"127.0.0.1:{port}" in refusal("--model", bundle, "--port", 0, "--metrics-port", port)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_cuda_without_a_gpu_says_what_to_install(bundle):
    """And doesn't start."""
    assert "dcgan[gpu]" in refusal("--model", bundle, "--device", "cuda")


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (["--port", "70000"], {}, "port is '70000'"),
        (["--device", "tpu"], {}, "device is 'tpu'"),
        ([], {"DCGAN_MAX_QUEUED_ROWS": "none"}, "max_queued_rows is 'none'"),
        ([], {"DCGAN_MAX_QUEUE_ROWS": "5"}, "did you mean DCGAN_MAX_QUEUED_ROWS?"),
        (["--config", "/nowhere.toml"], {}, "no such file"),
    ],
)
def test_a_wrong_setting_stops_the_start(flags, environment, words):
    """A typing error must not fail at the first overload."""
    assert words in refusal(*flags, **environment)


def test_settings_come_from_flags_then_variables_then_the_file(bundle, tmp_path):
    """All three at once, seen in what is refused."""
    file = tmp_path / "settings.toml"
    file.write_text("port = -1\nmetrics_port = -2\ndrain_delay_s = -3\n")
    line = refusal("--config", file, "--port", "-4", "--model", bundle, DCGAN_METRICS_PORT="-5")
    assert "port is '-4'" in line
    assert "metrics_port is '-5'" in line
    assert "drain_delay_s is -3" in line
    file.write_text("prot = 1\n")
    assert "prot" in refusal("--config", file, "--model", bundle)
    file.write_text("port = \n")
    assert str(file) in refusal("--config", file, "--model", bundle)


def test_variables_that_kubernetes_injects_are_no_settings(bundle):
    """It does so beside a Service called dcgan; here the start fails later, at a port that isn't one."""
    injected = {
        "DCGAN_SERVICE_HOST": "10.0.0.1",
        "DCGAN_SERVICE_PORT": "50051",
        "DCGAN_SERVICE_PORT_GRPC": "50051",
        "DCGAN_PORT": "tcp://10.0.0.1:50051",
        "DCGAN_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "DCGAN_PORT_50051_TCP_ADDR": "10.0.0.1",
    }
    assert "metrics_port is '-5'" in refusal("--model", bundle, DCGAN_METRICS_PORT="-5", **injected)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_serves(bundle, host):
    """With and without brackets, gRPC and metrics alike."""
    with serve(bundle, "--host", host) as serving:
        assert serving.target.startswith("[::1]:")
        assert serving.metrics.startswith("http://[::1]:")
        assert dcgan("health", "--target", serving.target).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_0(bundle, number):
    """At once where the delay is zero."""
    with serve(bundle, "--drain-delay-s", 0) as serving:
        serving.process.send_signal(number)
        assert serving.process.wait(timeout=30) == 0


def test_a_second_signal_skips_the_delay(bundle):
    """For a person who waits at a terminal."""
    with serve(bundle, "--drain-delay-s", 600) as serving:
        serving.terminate()
        with grpc.insecure_channel(serving.target) as channel:  # still served while it drains
            stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
            while dcgan("health", "--target", serving.target).returncode == 0:
                assert stub.Sample(pb.SampleRequest(), timeout=10).images.count == 1
            assert stub.Sample(pb.SampleRequest(), timeout=10).images.count == 1
        serving.terminate()
        assert serving.process.wait(timeout=30) == 0


async def test_every_call_that_began_is_answered(bundle):
    """SIGTERM in the middle of 200 calls on one connection: none that the server took is lost."""
    with serve(bundle, "--drain-delay-s", 0.2, "--max-queued-rows", 100_000) as serving:
        async with grpc.aio.insecure_channel(serving.target) as channel:
            stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
            request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=256), format=pb.FORMAT_PNG)
            calls = [asyncio.ensure_future(_answer(stub.Sample(request, timeout=60))) for _ in range(200)]
            while await asyncio.to_thread(begun_calls, serving.metrics) < 200:
                pass
            serving.terminate()
            answers = await asyncio.gather(*calls)
    assert [answer.images.count for answer in answers] == [256] * 200


def begun_calls(metrics):
    """Counts the calls whose handler has begun."""
    with urllib.request.urlopen(metrics) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    counted = "dcgan_requests_in_progress{", "dcgan_requests_total{"
    return sum(float(line[-1]) for line in lines if line[0].startswith(counted))


async def _answer(call):
    return await call


async def test_no_call_through_our_client_fails_while_another_server_runs(bundle):
    """One of two servers is stopped in the middle of the load; calls and streams go on at the other."""
    with serve(bundle, "--drain-delay-s", 0.2) as stopping, serve(bundle) as staying:
        targets = f"{stopping.target},{staying.target}"
        async with client_package.connect_async(targets) as client:
            begun = asyncio.Event()

            async def ask(number):
                for at in range(25):
                    if number % 4:
                        samples = await client.sample(1 + at % 7, seed=number, format="raw")
                        assert len(samples.images) == 1 + at % 7
                    else:
                        got = [c.first_index async for c in client.stream_samples(2000, seed=number, format="raw")]
                        assert got == sorted(got)
                    begun.set()

            async def stop():
                await begun.wait()
                stopping.terminate()
                assert await asyncio.to_thread(stopping.process.wait, 60) == 0

            async with asyncio.TaskGroup() as group:
                group.create_task(stop())
                for number in range(16):
                    group.create_task(ask(number))


def test_importing_the_client_loads_neither_server_nor_training():
    """`import dcgan` is for clients: no onnxruntime, no torch, no gRPC, no Pillow until they are needed."""
    code = "import dcgan, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"onnxruntime", "torch", "grpc", "PIL", "pydantic", "numpy", "onnx"}
    assert not heavy & set(loaded)
