"""`dcgan sample --output set.zip` against real servers: killed, damaged, shared, refused; always the same bytes."""

import json
import random
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from bundles import write_bundle
from commands import commands
from conftest import serving_in_thread
from dcgan.images.archive import growing
from dcgan_training.data import pictures
from processes import serve

COUNT = 12_000  # a dozen ranges
RECORD_BYTES = 1_000  # of the first entry, at most


@pytest.fixture
def run(server, capsys):
    """Runs a command against the shared server: exit code, standard output, standard error."""
    return commands(server.target, capsys)


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """The bytes of a data set that nothing happened to."""
    path = tmp_path_factory.mktemp("undisturbed") / "set.zip"
    with started(path, server.target) as process:
        assert process.wait() == 0
    return path.read_bytes()


def started(path, target, *flags, count=COUNT, wrapped=()):
    """Starts the command in a process of its own."""
    command = [*wrapped, sys.executable, "-m", "dcgan", "sample", "--seed", "7", "--count", str(count)]
    given = ["--output", str(path), "--target", target, *map(str, flags)]
    return subprocess.Popen([*command, *given], stderr=subprocess.PIPE, text=True)


def partial(path):
    """Where a data set lies until it is finished."""
    return path.with_name(f"{path.name}.partial")


def wait_for(path, size):
    """Waits until the partial file has so many bytes, or is finished."""
    while not path.exists() and not (partial(path).exists() and partial(path).stat().st_size >= size):
        time.sleep(0.002)


def test_images_are_those_that_a_folder_gets(run, tmp_path):
    """In names that sort, behind what was asked for and what drew it."""
    assert run("sample", "--seed", 7, "--index", 95, "--count", 10, "--output", tmp_path / "set.zip") == (
        0,
        "",
        "10 images (seed 7, by linear 1)\n",
    )
    assert run("sample", "--seed", 7, "--index", 95, "--count", 10, "--output", tmp_path / "folder")[0] == 0
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert archive.testzip() is None
        record, *names = archive.namelist()
        assert names == sorted(names) == [f"seed-7-index-{index:03}.png" for index in range(95, 105)]
        for index, name in zip(range(95, 105), names, strict=True):
            assert archive.read(name) == (tmp_path / "folder" / f"seed-7-index-{index}.png").read_bytes()
        about = json.loads(archive.read(record))
    assert record == "dataset.json"
    assert about["request"]["seed"] == 7
    assert about["identity"]["name"] == "linear"
    assert about["rights"]["licence"] == "Apache-2.0"


def test_directions_formats_and_truncation(run, tmp_path):
    """As in a folder."""
    flags = ["--seed", 7, "--count", 3, "--direction", "more=2", "--truncation", 0.5, "--format", "webp"]
    assert run("sample", *flags, "--output", tmp_path / "set.zip")[0] == 0
    assert run("sample", *flags, "--output", tmp_path / "folder")[0] == 0
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        found = {name: archive.read(name) for name in archive.namelist()[1:]}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}


def test_training_reads_it(run, tmp_path):
    """Its images, without what else is in it."""
    assert run("sample", "--count", 5, "--output", tmp_path / "set.zip")[0] == 0
    with pictures.opened(tmp_path / "set.zip") as found:
        assert len(found.names) == 5
        assert [image.shape for _, image in pictures.decoded(found, 8)] == [(8, 8, 3)] * 5


def test_killed_at_any_moment_it_becomes_the_same(server, tmp_path, undisturbed):
    """Three times, by SIGKILL."""
    path = tmp_path / "set.zip"
    for share in sorted(random.uniform(0.0, 0.9) for _ in range(3)):
        with started(path, server.target) as process:
            wait_for(path, share * len(undisturbed))
            process.kill()
    with started(path, server.target) as process:
        assert process.wait() == 0
    assert path.read_bytes() == undisturbed
    assert [one.name for one in tmp_path.iterdir()] == ["set.zip"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_came_and_says_how_to_go_on(server, tmp_path, number, code):
    """Ctrl-C, and what `timeout` and Kubernetes send."""
    path = tmp_path / "set.zip"
    with started(path, server.target, count=1_000_000) as process:
        wait_for(path, 1_000_000)  # the first range is there
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"of 1,000,000 images are in {partial(path)}; the same command goes on with them" in err
    assert partial(path).stat().st_size >= 100_000


def test_a_torn_or_damaged_file_becomes_the_same(run, tmp_path, undisturbed):
    """What is whole is kept; from the first entry that isn't on, all is drawn anew."""
    path = tmp_path / "set.zip"
    for damage in (len(undisturbed) // 2, len(undisturbed) - 1, RECORD_BYTES):
        begun = bytearray(undisturbed[:-100])
        begun[damage : damage + 1] = b"?" if begun[damage : damage + 1] != b"?" else b"!"
        partial(path).write_bytes(begun)
        code, _, err = run("sample", "--seed", 7, "--count", COUNT, "--output", path)
        assert code == 0
        assert "goes on after" in err
        assert path.read_bytes() == undisturbed
        path.unlink()


def test_a_seed_that_was_drawn_is_kept(run, tmp_path):
    """By the file that was begun, and by the one that is finished."""
    path = tmp_path / "set.zip"
    assert run("sample", "--count", 2000, "--output", path)[0] == 0
    data = path.read_bytes()
    partial(path).write_bytes(data[: len(data) // 2])
    path.unlink()
    assert run("sample", "--count", 2000, "--output", path)[0] == 0
    assert path.read_bytes() == data
    code, _, err = run("sample", "--count", 2000, "--output", path)
    assert code == 0
    assert err.startswith(f"{path} is complete already\n2000 images (seed ")


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("flags", "differs"),
    [
        (["--seed", 8, "--count", 20], "seed 7, not 8"),
        (["--seed", 7, "--count", 30], "count 20, not 30"),
        (["--seed", 7, "--count", 20, "--format", "jpeg"], "format png, not jpeg"),
        (["--seed", 7, "--count", 20, "--direction", "more=1"], "direction [], not [['more', 1.0]]"),
    ],
)
def test_another_request_is_refused(run, tmp_path, finished, flags, differs):
    """Whether the data set is finished or not; it stays as it is."""
    path = tmp_path / "set.zip"
    run("sample", "--seed", 7, "--count", 20, "--output", path)
    there = path if finished else path.rename(partial(path))
    before = there.read_bytes()
    code, _, err = run("sample", *flags, "--output", path)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{there} holds another data set, with {differs}; name another --output, or delete it" in err
    assert there.read_bytes() == before


def test_another_model_is_refused(run, tmp_path):
    """To go on with what one began, and beside one."""
    path = tmp_path / "set.zip"
    run("sample", "--seed", 7, "--count", 20, "--output", path)
    flags = ["--seed", 7, "--count", 20, "--output", path]
    with serving_in_thread(write_bundle(tmp_path / "other", version="2")) as other:
        code, _, err = run("sample", *flags, target=other.target)
        assert code == 1
        assert "version 1, not 2" in err
        path.unlink()
        with serving_in_thread(write_bundle(tmp_path / "same")) as one:
            code, _, err = run("sample", *flags, target=f"{one.target},{other.target}")
        assert (code, err.count("\n")) == (1, 1)
        assert f"{other.target} does not serve what {one.target} does: version 2, not 1" in err
        assert not path.exists()
        assert not partial(path).exists()


def test_what_is_no_data_set_of_ours_is_left_alone(run, tmp_path):
    """Under either name."""
    path = tmp_path / "set.zip"
    for there in (path, partial(path)):
        there.write_bytes(b"precious")
        code, _, err = run("sample", "--output", path)
        assert code == 1
        assert f"{there} is no data set of this command" in err
        assert there.read_bytes() == b"precious"
        there.unlink()


def test_servers_side_by_side_give_the_same_and_one_may_die(server, bundle, tmp_path, undisturbed):
    """What it had begun is drawn by the other."""
    path = tmp_path / "set.zip"
    with serve(bundle) as other:
        both = f"{other.target},{server.target}"
        with started(path, both) as process:
            wait_for(path, len(undisturbed) // 4)
            other.process.kill()
            assert process.wait(60) == 0
    assert path.read_bytes() == undisturbed
    path.unlink()
    with started(path, both) as process:  # also where it doesn't answer from the start
        assert process.wait(60) == 0
    assert path.read_bytes() == undisturbed


def test_where_no_server_is_left_it_says_why_and_how_to_go_on(server, bundle, tmp_path, undisturbed):
    """And then goes on."""
    path = tmp_path / "set.zip"
    with serving_in_thread(bundle) as only:
        process = started(path, only.target)
        wait_for(path, 2 * RECORD_BYTES)
    with process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command goes on with them\ndcgan: no server answers at" in err
    with started(path, server.target) as process:
        assert process.wait() == 0
    assert path.read_bytes() == undisturbed


def test_a_full_disk_loses_nothing(server, tmp_path, undisturbed):
    """A limit on the size of files stands for the disk, since both refuse the same write."""
    path = tmp_path / "set.zip"
    with started(path, server.target, wrapped=["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh"]) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "larger than files may be; all that was written whole is kept" in err
    with started(path, server.target) as process:
        _, err = process.communicate(timeout=30)
    assert "goes on after" in err
    assert path.read_bytes() == undisturbed


def test_a_second_run_is_refused(run, tmp_path):
    """While the first one writes."""
    path = tmp_path / "set.zip"
    with growing(path):
        code, _, err = run("sample", "--output", path)
    assert code == 1
    assert "another process is writing it" in err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["7"], 2, "an EXPRESSION can't go with a .zip"),
        (["--grid", "g.png"], 2, "--grid can't go with a .zip"),
        (["--latents", "z.npy"], 2, "--latents can't go with a .zip"),
        (["--scores"], 2, "--scores can't go with a .zip"),
        (["--keep-best", "1"], 2, "--keep-best can't go with a .zip"),
        (["--index", 2**64 - 1, "--count", 2], 2, "beyond the last index"),
        (["--direction", "smile=1"], 1, "it has: less, more"),
        (["--truncation", "9"], 1, "seeds.truncation is 9.0"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(run, tmp_path, monkeypatch, flags, code, words):
    """Before any work, where it is wrong usage."""
    monkeypatch.chdir(tmp_path)
    said = run("sample", *flags, "--output", "set.zip")
    assert said[0] == code
    assert words in said[2]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_in_the_way_is_said(run, tmp_path):
    """As for other files."""
    assert "its folder does not exist" in run("sample", "--output", tmp_path / "missing/set.zip")[2]
    (tmp_path / "set.zip").mkdir()
    assert "it is a folder; name a file" in run("sample", "--output", tmp_path / "set.zip")[2]
