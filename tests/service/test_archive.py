"""A zip that grows: cut off, damaged, gone on with; read by the standard library."""

import shutil
import struct
import subprocess
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcgan.errors import OutputError
from dcgan.images.archive import directory, first_entry, growing

ENTRIES = [("about.json", b"{}"), *((f"{at:02}-ü.png", bytes([at]) * (7 * at % 40)) for at in range(12))]
NAMES = [name for name, _ in ENTRIES]


def write(path, entries=ENTRIES):
    """Writes entries into a zip, or those of them that a partial one lacks; says how many it had."""
    with growing(path) as grown:
        found = grown.keep(name for name, _ in entries)
        grown.add(entries[found:])
        grown.finish()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a zip that nothing happened to."""
    path = tmp_path_factory.mktemp("whole") / "set.zip"
    assert write(path) == 0
    return path.read_bytes()


@given(at=st.integers(0, 10_000), flipped=st.none() | st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_zip_that_was_cut_and_damaged_anywhere_becomes_the_same(whole, tmp_path_factory, at, flipped, bit):
    """Also in the directory; a damaged entry is written anew, and so is all that follows."""
    folder = tmp_path_factory.mktemp("cut")
    begun = bytearray(whole[: at % (len(whole) + 1)])
    if flipped is not None and begun:
        begun[flipped % len(begun)] ^= 1 << bit
    (folder / "set.zip.partial").write_bytes(begun)
    write(folder / "set.zip")
    assert (folder / "set.zip").read_bytes() == whole
    assert [path.name for path in folder.iterdir()] == ["set.zip"]


def test_readers_of_zips_read_it(whole, tmp_path):
    """The standard library's, and `unzip` where there is one."""
    path = tmp_path / "set.zip"
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == ENTRIES
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", path], check=True, capture_output=True)
    assert first_entry(path) == ENTRIES[0]


def test_more_entries_than_16_bits_count(tmp_path):
    """70,000, by ZIP64."""
    path = tmp_path / "many.zip"
    write(path, [(str(at), b"") for at in range(70_000)])
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [str(at) for at in range(70_000)]


def test_offsets_beyond_32_bits(tmp_path):
    """An entry behind 6 GB of zeros, which take no room on the disk."""
    path, size = tmp_path / "far.zip", 3 << 30
    header = struct.Struct("<4s5H3L2H")
    with path.open("w+b") as file:
        for at in range(2):
            file.seek(at * (header.size + 1 + size))
            file.write(header.pack(b"PK\3\4", 20, 1 << 11, 0, 0, 33, 0, size, size, 1, 0) + b"%d" % at)
        file.seek(size, 1)
        file.write(header.pack(b"PK\3\4", 20, 1 << 11, 0, 0, 33, 0x3610A686, 5, 5, 3, 0) + b"farhello")
        end = file.tell()
        file.seek(0)
        last = list(directory(file, end))
        file.seek(end)
        file.writelines(last)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["0", "1", "far"]
        assert archive.read("far") == b"hello"


def test_two_cannot_write_one_zip(tmp_path):
    """The second is refused, and the first goes on."""
    with growing(tmp_path / "set.zip") as grown:
        with pytest.raises(OutputError, match=r"another process is writing it"), growing(tmp_path / "set.zip"):
            pass
        grown.add(ENTRIES)
        grown.finish()
    assert first_entry(tmp_path / "set.zip") == ENTRIES[0]


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\0" * 100, b"no zip at all, but longer than a header"])
def test_what_is_no_entry_is_none(tmp_path, content):
    """Whatever lies there."""
    (tmp_path / "x.zip").write_bytes(content)
    assert first_entry(tmp_path / "x.zip") is None
