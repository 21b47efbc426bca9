import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from dcgan.errors import OutputError
from dcgan_training.data import digest_of, load
from dcgan_training.data.gathering import Collector
from dcgan_training.data.store import stored
from pictures import COLOUR, GREY, RANDOM, folder, png, refusal, zipped


def test_a_resumed_run_takes_its_stored_images_again(tmp_path: Path) -> None:
    """Nothing is decoded again while names, sizes and times are the same; the file stays the same one."""
    directory, store = folder(tmp_path / "pictures", COLOUR), tmp_path / "run" / "data.npy"
    first = load(directory, store=store)
    before = store.stat()
    again = load(directory, store=store)
    assert (store.stat().st_ino, store.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (again.digest, again.names) == (first.digest, first.names)
    np.testing.assert_array_equal(again.images, first.images)
    assert not again.images.flags.writeable
    assert sorted(path.name for path in store.parent.iterdir()) == ["data.json", "data.npy"]


def test_images_are_stored_again_after_a_change(tmp_path: Path) -> None:
    """Of a file, of its absence, of the size asked for, or of the store itself."""
    directory, store = folder(tmp_path / "pictures", COLOUR), tmp_path / "data.npy"
    load(directory, store=store)
    changed = COLOUR.copy()
    changed[1, 3, 3, 0] ^= 1
    (directory / "0" / "001.PNG").write_bytes(png(changed[1]) + b"longer")
    np.testing.assert_array_equal(load(directory, store=store).images, changed)
    (directory / "0" / "002.PNG").unlink()
    assert len(load(directory, store=store)) == 5
    assert load(directory, size=8, store=store).images.shape == (5, 8, 8, 3)
    content = bytearray(store.read_bytes())
    content[-1] ^= 1
    store.write_bytes(content)
    assert load(directory, size=8, store=store).digest == load(directory, size=8).digest


def test_colour_found_late_widens_the_store(tmp_path: Path) -> None:
    """In place, and over more than one block."""
    grey = RANDOM.integers(0, 256, (2_000, 64, 64, 1), dtype=np.uint8)
    into = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (2_001, 64, 66, 3))
    into[:2_000, :, 1:65] = grey
    into[2_000] = 9, 8, 7
    data = load(tmp_path / "a.npy", size=64, store=tmp_path / "data.npy")
    np.testing.assert_array_equal(data.images[:2_000], np.repeat(grey, 3, axis=3))
    assert (data.images[2_000] == [9, 8, 7]).all()


def test_two_processes_that_start_together_make_one_store(tmp_path: Path) -> None:
    """The second one waits for the first, as the ranks of torchrun must."""
    directory, store = folder(tmp_path / "pictures", COLOUR), tmp_path / "run" / "data.npy"
    with ThreadPoolExecutor(6) as pool:  # flock is between open files, so threads contend as processes do
        digests = {data.digest for data in pool.map(lambda _: load(directory, store=store), range(12))}
    assert len(digests) == 1
    assert sorted(path.name for path in store.parent.iterdir()) == ["data.json", "data.npy"]


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    """A part of a store is begun anew."""
    directory, store = folder(tmp_path / "pictures", COLOUR), tmp_path / "data.npy"
    (tmp_path / ".data.npy.partial").write_bytes(b"x" * 99_999)
    np.testing.assert_array_equal(load(directory, store=store).images, COLOUR)
    assert not (tmp_path / ".data.npy.partial").exists()


def test_a_refused_data_set_leaves_no_store(tmp_path: Path) -> None:
    """Nor the folder that was made for it."""
    directory = folder(tmp_path / "pictures", GREY)
    (directory / "z.png").write_bytes(b"404")
    refusal(directory, store=tmp_path / "run" / "data.npy")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("limit_blocks", [1, 500])
def test_a_full_disk_leaves_no_part_of_a_store(tmp_path: Path, limit_blocks: int) -> None:
    """The error is one line that names the file; 500 blocks are a third of what the images take."""
    images = np.zeros((1_000, 28, 28, 1), np.uint8)
    archive = zipped(tmp_path / "images.zip", {f"{n}.png": png(image) for n, image in enumerate(images)})
    store = tmp_path / "run" / "data.npy"
    code = "import sys; from pathlib import Path; from dcgan_training.data import load"
    code += "; load(Path(sys.argv[1]), store=Path(sys.argv[2]))"
    command = [
        "sh",
        "-c",
        f'ulimit -f {limit_blocks}; exec "$0" -c "$@"',
        sys.executable,
        code,
        str(archive),
        str(store),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"dcgan.errors.OutputError: {store}: File too large"
    assert not store.parent.exists()


def test_too_little_space_is_said_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than after minutes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
    with pytest.raises(
        OutputError, match=r"No space left on device: the decoded images take 1,176 bytes and 1,000 are"
    ):
        load(folder(tmp_path / "pictures", GREY), store=tmp_path / "run" / "data.npy")
    assert not (tmp_path / "run").exists()


def test_a_stored_data_set_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """Four times the images, 37 MB more of pixels, the same anonymous memory but for their names."""
    noise = [png(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(20)]
    taken_kb = []
    for count in (1_000, 4_000):
        contents = {f"{number:05d}.png": noise[number % len(noise)] for number in range(count)}
        archive = zipped(tmp_path / f"{count}.zip", contents)
        code = _MEASURE.format(archive=str(archive), store=str(tmp_path / f"run-{count}" / "data.npy"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        taken_kb.append(int(done.stdout))
    assert taken_kb[1] - taken_kb[0] < 9_000


_MEASURE = """
import threading, time
from pathlib import Path
import numpy as np
from dcgan_training.data import load, positions, split

def anonymous_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])

most, done = 0, threading.Event()
def watch():
    global most
    while not done.wait(0.01):
        most = max(most, anonymous_kb())
watcher = threading.Thread(target=watch)
watcher.start()
data = load(Path({archive!r}), store=Path({store!r}))
parts = split(data.images)
for first in range(0, len(data), 128):
    data.images[parts.train[positions(1, first, 128, len(parts.train))]].sum()
done.set()
watcher.join()
print(most)
"""


def test_who_comes_while_a_store_is_finished_finds_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its images and its record too: nobody makes it a second time."""
    store, made, again = tmp_path / "run" / "data.npy", list[int](), Event()
    late: list[Future[object]] = []

    def make(into: Collector) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if made:
            again.set()
        made.append(1)
        into.append(GREY[0])
        return ("a",), ()

    with ThreadPoolExecutor(1) as pool:

        def digest_when_another_comes(images: NDArray[np.uint8]) -> str:
            if not late:
                late.append(pool.submit(stored, store, "facts", 1, 14, make))
                again.wait(timeout=0.3)  # as long as it takes to make it, if it could
            return digest_of(images)

        monkeypatch.setattr("dcgan_training.data.store.digest_of", digest_when_another_comes)
        first = stored(store, "facts", 1, 14, make)
        assert late[0].result()[1] == first[1]  # type: ignore[index]
    assert made == [1]
