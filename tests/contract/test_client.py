"""Both clients against real servers: the same answers from every method, and streams that survive what servers do."""

import asyncio
import threading
import time
from contextlib import aclosing

import grpc
import numpy as np
import pytest

import dcgan
from bundles import write_bundle
from conftest import metrics_of, serving_here, serving_in_thread
from dcgan import errors, latents
from processes import serve

DIM = 8
SHAPE = 6, 5, 3
LONG = 60_000  # images: far more than fit into the buffers between server and client


@pytest.fixture(params=["blocking", "asyncio"])
def ask(request, server):
    """Calls a method of one of the two clients by its name and gives its answer, streams as lists."""

    def blocking(method, *args, target=server.target, **options):
        with dcgan.connect(target) as client:
            answer = getattr(client, method)(*args, **options)
            return list(answer) if method.startswith("stream") else answer

    async def awaited(method, *args, target=server.target, **options):
        async with dcgan.connect_async(target) as client:
            answer = getattr(client, method)(*args, **options)
            return [chunk async for chunk in answer] if method.startswith("stream") else await answer

    if request.param == "blocking":
        return blocking
    return lambda *args, **options: asyncio.run(awaited(*args, **options))


def test_the_model_is_described_in_python_values(ask):
    """No protocol buffers reach the caller."""
    model = ask("model")
    assert (model.identity.name, model.identity.version) == ("linear", "1")
    assert (model.height, model.width, model.channels) == SHAPE
    assert (model.latent_dim, model.prior, model.golden_exact) == (DIM, "normal", True)
    assert [direction.name for direction in model.directions] == ["less", "more"]
    assert model.directions[0].max_strength == 3.0
    assert model.created.isoformat() == "2026-01-01T00:00:00+00:00"
    assert model.limits.max_images == 256
    assert model.licence == "Apache-2.0"


def test_an_image_is_the_same_however_it_is_asked_for(ask):
    """As one of many, alone, as an expression, as a text, by its values, from a stream."""
    many = ask("sample", 16, seed=7, include_latents=True)
    assert many.images.shape == (16, *SHAPE)
    assert (many.seed, many.first_index) == (7, 0)
    np.testing.assert_array_equal(many.latents, latents.draw(7, np.arange(16), DIM, "normal"))
    for other in (
        ask("sample", 1, seed=7, first_index=3),
        ask("sample", dcgan.seed(7, 3)),
        ask("sample", "seed(7, 3)"),
        ask("sample", many.latents[3:4]),
        ask("stream_samples", [dcgan.seed(7, 3)])[0],
    ):
        np.testing.assert_array_equal(other.images, many.images[3:4])


def test_more_images_than_one_message_carries_are_streamed(ask):
    """The caller needs to know no limit, neither of images nor of nodes or bytes."""
    whole = ask("sample", 1_000, seed=7)
    assert whole.images.shape == (1_000, *SHAPE)
    listed = ask("sample", [dcgan.seed(7, index) for index in range(1_000)] + ["1 + 2"] * 500)
    np.testing.assert_array_equal(listed.images[:1_000], whole.images)
    rows = latents.draw(7, np.arange(60_000), DIM, "normal")
    given = ask("sample", rows)
    assert len(given) == 60_000
    np.testing.assert_array_equal(given.images[:1_000], whole.images)


def test_a_seed_that_the_server_drew_is_told(ask):
    """It gives the same images again."""
    first = ask("sample", 3)
    np.testing.assert_array_equal(ask("sample", 3, seed=first.seed).images, first.images)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_files_come_as_the_server_encoded_them(ask, file_format):
    """And are decoded where arrays are asked of them."""
    answer = ask("sample", 2, seed=7, format=file_format)
    assert len(answer.encoded) == 2
    assert answer.images.shape == (2, *SHAPE)
    assert [picture.size for picture in answer.pillow()] == [(5, 6)] * 2
    if file_format == "png":
        np.testing.assert_array_equal(answer.images, ask("sample", 2, seed=7).images)


def test_a_path_begins_and_ends_with_its_ends(ask):
    """Streamed or whole, the frames are the same."""
    points = ["1", dcgan.seed(2) + 0.5 * dcgan.direction("more"), "3"]
    path = ask("interpolate", points, frames=601, include_latents=True)
    assert path.images.shape == (601, *SHAPE)
    np.testing.assert_array_equal(path.latents[[0, -1]], ask("sample", ["1", "3"], include_latents=True).latents)
    chunks = ask("stream_frames", points, frames=601)
    assert [chunk.first_index for chunk in chunks] == [0, 256, 512]
    np.testing.assert_array_equal(np.concatenate([chunk.images for chunk in chunks]), path.images)


def test_a_sum_has_its_terms_its_result_and_neighbours(ask):
    """The result is the expression that was typed."""
    text = "mean(1,2,3) - mean(4,5,6) + 2*seed(7)"
    answer = ask("arithmetic", text)
    assert [len(part) for part in (answer.terms, answer.result, answer.neighbours)] == [3, 1, 8]
    np.testing.assert_array_equal(answer.terms.images[1:2], ask("sample", "mean(4,5,6)").images)
    np.testing.assert_allclose(answer.result.latents, ask("sample", text, include_latents=True).latents, rtol=1e-6)
    off = answer.neighbours.latents - answer.result.latents
    assert 0.1 < np.abs(off).max() <= 0.2500001
    assert ask("arithmetic", text, neighbours=0).neighbours.images.shape == (0, *SHAPE)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (("sample", "direction(smile)"), errors.UnknownDirection, "it has: less, more"),
        (("sample", np.zeros((1, 7))), errors.InvalidField, "latent_dim = 8"),
        (("interpolate", ["1"]), errors.InvalidField, "at least 2"),
        (("arithmetic", []), errors.InvalidField, "at least 1 term"),
    ],
)
def test_a_refusal_is_the_error_that_the_server_raised(ask, call, error, words):
    """With its words and its class."""
    with pytest.raises(error, match=words):
        ask(*call)


def test_another_version_is_refused(ask):
    """By every method."""
    for call in (("model",), ("sample", 1), ("stream_samples", 1), ("interpolate", ["1", "2"]), ("arithmetic", "1")):
        with pytest.raises(errors.VersionNotServed, match="'1' does"):
            ask(*call, version="2")


def test_without_a_server_the_error_says_how_to_start_one(ask):
    """Within seconds."""
    begun = time.monotonic()
    with pytest.raises(errors.Unavailable, match=r"no server answers at localhost:9; start one with `dcgan serve`"):
        ask("sample", 1, target="localhost:9")
    assert time.monotonic() - begun < 10


def test_images_too_large_for_a_full_message_are_streamed(ask, tmp_path):
    """Where one message carries fewer images than are few."""
    path = write_bundle(tmp_path / "large", height=256, width=256)
    with serving_in_thread(path) as running:
        assert ask("model", target=running.target).limits.max_images == 18
        answer = ask("sample", 20, seed=1, target=running.target)
    assert answer.images.shape == (20, 256, 256, 3)


def test_threads_share_a_client(server):
    """Each gets its own images."""
    with dcgan.connect(server.target) as client:
        expected = client.sample(32, seed=1).images
        wrong = []

        def work(number):
            for _ in range(20):
                if not np.array_equal(client.sample(1, seed=1, first_index=number).images[0], expected[number]):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_calls_are_shared_evenly_by_all_servers_of_a_list(bundle):
    """One after another, once there is a connection to each."""
    with (
        serving_in_thread(bundle) as first,
        serving_in_thread(bundle) as second,
        dcgan.connect(f"{first.target},{second.target}") as client,
    ):
        until = time.monotonic() + 30
        while min(answered(first), answered(second)) == 0 and time.monotonic() < until:
            client.sample()
        before = answered(first), answered(second)
        for _ in range(40):
            client.sample()
        assert (answered(first) - before[0], answered(second) - before[1]) == (20, 20)


def answered(running):
    """How many calls of Sample a server has answered."""
    lines = metrics_of(running).splitlines()
    counted = 'dcgan_requests_total{code="OK",method="Sample"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(counted))


def test_a_stream_that_is_cut_by_draining_goes_on(bundle):
    """Nothing is missing and nothing comes twice; the server has counted the cut."""
    with serving_in_thread(bundle) as running, dcgan.connect(running.target) as client:
        chunks = client.stream_samples(LONG, seed=7)
        count = len(next(chunks))
        running.servicer.draining = True
        back = threading.Timer(0.5, setattr, (running.servicer, "draining", False))
        back.start()
        last = None
        for last in chunks:
            assert last.first_index == count
            count += len(last)
        back.join()
        assert count == LONG
        np.testing.assert_array_equal(last.images[-1:], client.sample(1, seed=7, first_index=LONG - 1).images)
        assert 'dcgan_requests_total{code="UNAVAILABLE",method="StreamSamples"}' in metrics_of(running)


def test_a_stream_survives_a_server_that_is_killed(bundle):
    """SIGKILL says no good-bye; the other server goes on with the next image, of the same seed."""
    with serve(bundle) as first, serve(bundle) as second, dcgan.connect(f"{first.target},{second.target}") as client:
        streams = [client.stream_samples(LONG) for _ in range(4)]  # round robin: some at each server
        counts = [len(next(stream)) for stream in streams]
        first.process.kill()
        for number, stream in enumerate(streams):
            seeds = set()
            for chunk in stream:
                assert chunk.first_index == counts[number]
                counts[number] += len(chunk)
                seeds.add(chunk.seed)
            assert len(seeds) == 1
    assert counts == [LONG] * 4


def test_a_stream_never_goes_on_with_another_version(bundle, tmp_path):
    """It ends with an error that says so, once no server has its version any more."""
    other = write_bundle(tmp_path / "two", version="2")
    with (
        serving_in_thread(bundle) as old,
        serving_in_thread(other) as new,
        dcgan.connect(f"{old.target},{new.target}") as client,
    ):
        streams = {}
        while len(streams) < 2:  # one at each server
            stream = client.stream_samples(LONG, seed=7)
            streams[next(stream).identity.version] = stream
        old.servicer.draining = True
        with pytest.raises(errors.BundleChanged, match="'2' does"):
            list(streams["1"])


def test_a_stream_outlives_its_timeout_as_long_as_images_come(server):
    """The timeout is for standing still; here the reader takes longer than it over a whole stream."""
    with dcgan.connect(server.target, timeout_s=1.0) as client:
        count = 0
        for number, chunk in enumerate(client.stream_samples(LONG, seed=7)):
            assert chunk.first_index == count
            count += len(chunk)
            if number in (1, 100):
                time.sleep(1.2)
    assert count == LONG


def test_a_call_that_takes_too_long_says_how_long_it_waited(server):
    """The deadline is the caller's; a call may still be quicker than a millisecond, but not a thousand in a row."""
    words = r"within 0\.001 s"

    def ask_often(client):
        for _ in range(1000):
            client.sample(64)

    with dcgan.connect(server.target, timeout_s=0.001) as client, pytest.raises(errors.DeadlineExceeded, match=words):
        ask_often(client)


def test_a_stream_that_is_left_early_is_cancelled(bundle):
    """The server draws no more for it."""
    with serving_in_thread(bundle) as running, dcgan.connect(running.target) as client:
        for _ in client.stream_samples(LONG, seed=7):
            break
        in_progress = 'dcgan_requests_in_progress{method="StreamSamples"} 0.0'
        for _ in range(100):
            if in_progress in metrics_of(running):
                return
            time.sleep(0.05)
        pytest.fail("the stream still runs")


async def test_a_cancelled_task_cancels_its_call(bundle):
    """And is not repeated, as a CANCELLED that nobody asked for would be."""
    async with serving_here(bundle) as running, dcgan.connect_async(running.target) as client:
        async with aclosing(client.stream_samples(LONG, seed=7)) as chunks:
            await anext(chunks)
        task = asyncio.create_task(client.sample(1_000_000))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await client.sample(1)) == 1


def test_another_kind_of_server_is_an_error_and_no_traceback_of_grpc():
    """A port where something else speaks gRPC."""
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with dcgan.connect(f"127.0.0.1:{port}") as client, pytest.raises(dcgan.DcganError, match="UNIMPLEMENTED"):
            client.model()
    finally:
        server.stop(0).wait()
