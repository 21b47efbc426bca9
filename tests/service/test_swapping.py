"""Versions in a model directory, with real servers: what takes over, what is refused, what callers notice."""

import asyncio
import gc
import hashlib
import json
import shutil
import weakref
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from safetensors import numpy as safetensors

from bundles import write_bundle
from conftest import metrics_of, serving_here
from dcgan import bundle as bundles
from dcgan import connect_async, errors, swapping
from dcgan.bundle.versions import newest_first, roll_back
from dcgan.generator import Generator
from dcgan.latents import draw
from dcgan.server import Running
from dcgan.status import error_of
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import dcgan


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Looks a hundred times a second, so that no test waits for the next look."""
    monkeypatch.setattr(swapping, "_LOOK_EVERY_S", 0.01)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model directory with version 1."""
    write_bundle(tmp_path / "linear" / "1", version="1")
    return tmp_path / "linear"


def publish(directory: Path, version: str, **given) -> Path:
    """Makes a version beside the directory and renames it into it; by default its images are 7 pixels high."""
    ready = write_bundle(directory.parent / f"ready-{version}", version=version, **{"height": 7, **given})
    return ready.rename(directory / version)


@asynccontextmanager
async def client_of(running: Running):
    """A bare stub, which retries nothing."""
    async with grpc.aio.insecure_channel(running.target) as channel:
        yield dcgan_pb2_grpc.GeneratorServiceStub(channel)


async def until(stub, holds):
    """Asks for the model until something is true of the answer."""
    async with asyncio.timeout(30):
        while not holds(model := await stub.GetModel(pb.GetModelRequest())):
            pass
    return model


async def freed(running: Running):
    """Waits until one model is in memory."""
    async with asyncio.timeout(30):
        while len(running.registry.loaded) > 1:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)


async def rest_of(chunks) -> tuple[int, errors.DcganError]:
    """Reads a stream until it is cut: how many images came, and the error."""
    got = 0
    try:
        async for chunk in chunks:
            got += chunk.images.count
    except grpc.aio.AioRpcError as failure:
        return got, error_of(failure.code(), failure.details(), failure.trailing_metadata())
    raise AssertionError(f"all {got} images came")


def serves(version: str):
    """Whether a version serves."""
    return lambda model: model.identity.version == version


def refuses(version: str):
    """Whether a version is refused."""
    return lambda model: version in [one.version for one in model.refused_versions]


async def test_the_newest_version_serves_and_a_newer_one_takes_over(directory):
    """Compared as numbers; the old model, its sessions and threads are gone afterwards."""
    publish(directory, "9", height=9)
    publish(directory, "10", height=10)
    async with serving_here(directory) as running, client_of(running) as stub:
        assert (await stub.GetModel(pb.GetModelRequest())).identity.version == "10"
        old = weakref.ref(running.registry.current().batcher)
        publish(directory, "11", height=11)
        model = await until(stub, serves("11"))
        answer = await stub.Sample(pb.SampleRequest(format=pb.FORMAT_RAW))
        assert (model.height, answer.images.height, answer.identity.version) == (11, 11, "11")
        await freed(running)
        assert old() is None


async def test_calls_that_began_finish_on_the_model_that_they_took(directory):
    """However long they take; those that come later are answered by the new one meanwhile."""
    async with serving_here(directory, drain_grace_s=0.01) as running, client_of(running) as stub:
        old = running.registry.current()
        with old.calls:
            publish(directory, "2")
            await until(stub, serves("2"))
            assert not old.closed
            assert len(running.registry.loaded) == 2
        await freed(running)
        assert old.closed


async def test_a_stream_is_cut_at_a_chunks_edge_and_goes_on_only_with_its_version(directory, tmp_path):
    """On the same server never; beside a server of the same version all of it comes, and is what it would have been."""
    same = shutil.copytree(directory, tmp_path / "other")
    count = 10**6
    async with serving_here(directory) as first, serving_here(same) as second, client_of(first) as stub:
        request = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=7, first_index=3, count=count), format=pb.FORMAT_RAW)
        chunks = aiter(stub.StreamSamples(request))
        got = (await anext(chunks)).images.count
        publish(directory, "2")
        await until(stub, serves("2"))
        more, error = await rest_of(chunks)
        got += more
        assert isinstance(error, errors.BundleChanged)
        assert int(error.metadata["next_index"]) == 3 + got
        assert (error.metadata["version"], error.metadata["successor"]) == ("1", "2")
        request.version, request.seeds.first_index, request.seeds.count = "1", 3 + got, 5
        assert isinstance((await rest_of(stub.StreamSamples(request)))[1], errors.VersionNotServed)
        async with client_of(second) as other:
            rest = [chunk async for chunk in other.StreamSamples(request)]
    generator = Generator(bundles.load(same / "1"), "cpu")
    expected = generator.run(draw(7, np.arange(3 + got, 8 + got), 8, "normal"))
    assert b"".join(chunk.images.raw for chunk in rest) == expected.tobytes()


async def test_a_cut_stream_holds_nothing_of_its_model(directory):
    """Without waiting for the collector of cycles, or a server that swaps often would grow."""
    async with serving_here(directory) as running, client_of(running) as stub:
        old = weakref.ref(running.registry.current().batcher)
        gc.disable()
        try:
            request = pb.StreamSamplesRequest(seeds=pb.SeedRange(count=10**6), format=pb.FORMAT_RAW)
            chunks = aiter(stub.StreamSamples(request))
            await anext(chunks)
            publish(directory, "2")
            assert isinstance((await rest_of(chunks))[1], errors.BundleChanged)
            await freed(running)
            assert old() is None
        finally:
            gc.enable()


async def test_our_client_resumes_a_stream_on_a_server_of_the_same_version(directory, tmp_path):
    """Of two servers one changes; the stream comes whole from the other, and fails where none is left."""
    same = shutil.copytree(directory, tmp_path / "other")
    async with serving_here(directory) as first, serving_here(same) as second, client_of(first) as stub:
        for targets, whole in ((f"{first.target},{second.target}", True), (first.target, False)):
            async with connect_async(targets) as client:
                seen = 0

                async def drawn(client=client):
                    nonlocal seen
                    async for chunk in client.stream_samples(300_000, seed=5, version="1"):
                        if not seen:
                            publish(directory, "2")
                            await until(stub, serves("2"))
                        seen += len(chunk)

                if whole:
                    await drawn()
                    assert seen == 300_000
                else:
                    with pytest.raises(errors.BundleChanged):
                        await drawn()
                    assert 0 < seen < 300_000
            roll_back(directory)
            await until(stub, serves("1"))


async def test_a_reader_that_stopped_reading_does_not_keep_the_old_model(directory):
    """Its stream ends when it reads again."""
    async with serving_here(directory, drain_grace_s=0.1) as running, client_of(running) as stub:
        request = pb.StreamSamplesRequest(seeds=pb.SeedRange(count=10**6), format=pb.FORMAT_RAW)
        chunks = aiter(stub.StreamSamples(request))
        await anext(chunks)
        publish(directory, "2")
        await until(stub, serves("2"))
        await freed(running)
        assert isinstance((await rest_of(chunks))[1], errors.BundleChanged)


def _swapped(version: Path, name: str) -> None:
    """Changes one byte of a file."""
    data = bytearray((version / name).read_bytes())
    data[len(data) // 2] ^= 1
    (version / name).write_bytes(data)


def _edited(**changes):
    """Makes a change of the manifest's own fields."""

    def edit(version: Path) -> None:
        file = version / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


def _wrong_golden(version: Path) -> None:
    """Writes golden images that the generator doesn't give, with the right hashes."""
    tensors = safetensors.load_file(version / "golden.safetensors")
    _rewritten(version, "golden.safetensors", safetensors.save(tensors | {"images": 255 - tensors["images"]}))


def _rewritten(version: Path, name: str, data: bytes) -> None:
    (version / name).write_bytes(data)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (version / "manifest.json").write_text(json.dumps(manifest))


BROKEN = {
    "a changed byte": (lambda version: _swapped(version, "generator.onnx"), "sha256 differs"),
    "a missing file": (lambda version: (version / "golden.safetensors").unlink(), "is missing"),
    "a short file": (lambda version: (version / "generator.onnx").write_bytes(b"short"), "bytes"),
    "no JSON": (lambda version: (version / "manifest.json").write_text("{"), "is not JSON"),
    "another format": (_edited(format=2), "reads format 1"),
    "another version's name": (_edited(version="3"), "called like its version"),
    "another model": (_edited(name="faces"), "'faces'"),
    "wrong golden images": (_wrong_golden, "doesn't give the golden images"),
    "no graph": (lambda version: _rewritten(version, "generator.onnx", b"no graph"), "generator.onnx"),
    "a wrong shape": (_edited(image={"height": 3, "width": 3, "channels": 3}), "images has shape"),
    "a link out": (
        lambda version: ((version / "MODEL_CARD.md").unlink(), (version / "MODEL_CARD.md").symlink_to("/etc/hostname")),
        "leads out of the bundle",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_version_is_refused_with_its_reason_and_the_old_one_serves_on(directory, kind):
    """Said by GetModel and a metric; taken when it is mended, and forgotten when it goes."""
    damage, reason = BROKEN[kind]
    async with serving_here(directory) as running, client_of(running) as stub:
        ready = write_bundle(directory.parent / "ready", version="2", height=7)
        good = shutil.copytree(ready, directory.parent / "good")
        damage(ready)
        ready.rename(directory / "2")
        model = await until(stub, refuses("2"))
        assert model.identity.version == "1"
        assert reason in model.refused_versions[0].reason
        assert (await stub.Sample(pb.SampleRequest())).identity.version == "1"
        assert str(directory) not in model.refused_versions[0].reason  # where it lies is no caller's business
        assert "dcgan_refused_versions 1.0" in await asyncio.to_thread(metrics_of, running)
        shutil.rmtree(directory / "2")
        assert not (await until(stub, lambda model: not model.refused_versions)).refused_versions
        good.rename(directory / "2")
        await until(stub, serves("2"))


async def test_a_version_that_is_still_being_copied_is_not_taken_up(directory):
    """Neither without a manifest, nor while its files change; when it is whole it serves, without a refusal."""
    async with serving_here(directory) as running, client_of(running) as stub:
        ready = write_bundle(directory.parent / "ready", version="2", height=7)
        (directory / "2").mkdir()
        for name in ("generator.onnx", "golden.safetensors", "MODEL_CARD.md"):
            data = (ready / name).read_bytes()
            with (directory / "2" / name).open("wb") as file:
                for start in range(0, len(data), 256):
                    file.write(data[start : start + 256])
                    file.flush()
                    await asyncio.sleep(0)
            model = await stub.GetModel(pb.GetModelRequest())
            assert (model.identity.version, len(model.refused_versions)) == ("1", 0)
        shutil.copy(ready / "manifest.json", directory / "2")
        await until(stub, serves("2"))
        assert not running.registry.refusals


async def test_without_room_for_a_second_model_the_first_serves_on(directory, monkeypatch):
    """And the version takes over as soon as there is room."""
    monkeypatch.setattr(swapping, "free_memory_bytes", lambda: 1 << 20)
    async with serving_here(directory) as running, client_of(running) as stub:
        publish(directory, "2")
        model = await until(stub, refuses("2"))
        assert "raise the memory limit" in model.refused_versions[0].reason
        monkeypatch.setattr(swapping, "free_memory_bytes", lambda: 1 << 40)
        assert not (await until(stub, serves("2"))).refused_versions
        assert running.registry.current().identity.version == "2"


async def test_a_server_starts_on_an_older_version_where_the_newest_is_broken(directory):
    """And says what is wrong with it."""
    _swapped(publish(directory, "2"), "generator.onnx")
    async with serving_here(directory) as running, client_of(running) as stub:
        model = await stub.GetModel(pb.GetModelRequest())
        assert (model.identity.version, model.refused_versions[0].version) == ("1", "2")
    shutil.rmtree(directory / "1")
    with pytest.raises(errors.BundleError, match="sha256 differs"):
        async with serving_here(directory):
            pass
    shutil.rmtree(directory / "2")
    with pytest.raises(errors.BundleError, match="publish one"):
        async with serving_here(directory):
            pass


async def test_a_directory_that_goes_away_changes_nothing(directory):
    """It is read again when it is back."""
    async with serving_here(directory) as running, client_of(running) as stub:
        away = directory.rename(directory.with_name("away"))
        assert (await stub.Sample(pb.SampleRequest())).identity.version == "1"
        publish(away, "2")
        away.rename(directory)
        await until(stub, serves("2"))
        assert running.registry.current().identity.version == "2"


def test_the_command_rolls_back_what_was_published(directory):
    """One version at a time, keeping it under a hidden name; the last one and a bundle are not touched."""
    for version in ("2", "10"):
        publish(directory, version)
    for newest in ("2", "1"):
        done = dcgan("rollback", directory)
        assert (done.returncode, f"{newest} is the newest" in done.stdout) == (0, True), done.stderr
        assert newest_first(directory)[0].name == newest
    assert sorted(path.name for path in directory.iterdir()) == [".10.withdrawn-1", ".2.withdrawn-1", "1"]
    for place, why in ((directory, "no older version"), (directory / "1", "no directory of versions")):
        done = dcgan("rollback", place)
        assert (done.returncode, why in done.stderr) == (1, True)
    assert (directory / "1" / "manifest.json").exists()
