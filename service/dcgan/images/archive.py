"""A zip that grows: written in order, cut off anywhere, gone on with, and the same bytes as if nothing had happened.

While it grows it is PATH.partial, which is its own journal: whoever goes on reads its entries from the start, keeps
those that are whole, and cuts off the rest. At the end the directory is made from what lies in the file, and the file
is renamed to PATH. Memory stays flat, where `zipfile` keeps an object for every entry. Entries are stored as they are,
since images are compressed already, and have no date, so that equal contents are equal bytes.
Source of the format: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from dcgan.errors import OutputError
from dcgan.images.files import refusals_told

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_OFFSET_64: Final = struct.Struct("<2HQ")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF  # where these stand, the value is in the record of ZIP64
_PLAIN, _ZIP64 = 20, 45  # versions of the format that a reader must know
_MADE_BY: Final = 3 << 8 | _ZIP64  # Unix, so that the mode counts
_MODE: Final = 0o100644 << 16
_UTF8: Final = 1 << 11
_NO_DATE: Final = 1 << 5 | 1  # 1980-01-01, the first that there is
_BUFFER_BYTES: Final = 1 << 20
_KEPT: Final = "all that was written whole is kept"


class Growing:
    """A zip to which entries are added; `growing` makes one.

    Attributes:
        partial: where it lies until it is finished.
        is_new: whether nothing was there.
        count: entries that it has.
    """

    def __init__(self, path: Path, partial: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self.partial = partial
        self.is_new = not os.fstat(file.fileno()).st_size
        self.count = 0

    def keep(self, names: Iterable[str]) -> int:
        """Keeps the entries that are whole and called so, in this order, and cuts off what follows; counts them."""
        self.count = end = 0
        with refusals_told(self.partial, _KEPT), self.partial.open("rb", _BUFFER_BYTES) as reader:
            for name in names:
                size = _whole(reader, name)
                if size is None:
                    break
                end += size
                self.count += 1
            self._file.truncate(end)
            self._file.seek(end)
        return self.count

    def add(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Adds files, each a name and its content. Raises OutputError; what it wrote of them is cut off later."""
        parts: list[bytes] = []
        for name, data in entries:
            parts += (_local(name.encode(), zlib.crc32(data), len(data)), data)
        with refusals_told(self.partial, _KEPT):
            self._write(b"".join(parts))
        self.count += len(parts) // 2

    def finish(self) -> None:
        """Writes the directory, waits until all of it is on the disk, and gives the file its name."""
        with refusals_told(self._path, _KEPT):
            end = self._file.tell()
            with self.partial.open("rb", _BUFFER_BYTES) as reader:
                for part in directory(reader, end):
                    self._write(part)
            os.fsync(self._file.fileno())
            self.partial.rename(self._path)
            _sync_folder(self._path)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]


@contextmanager
def growing(path: Path) -> Iterator[Growing]:
    """Opens PATH.partial, or goes on with it once `keep` was called. What gets no second entry is not left behind.

    Raises:
        OutputError: another process writes it, or the disk refuses.
    """
    partial = path.with_name(f"{path.name}.partial")
    with refusals_told(partial, "nothing was kept of it"):
        file = _locked(partial)
    with file:
        grown = Growing(path, partial, file)
        try:
            yield grown
        except BaseException:
            if grown.is_new and grown.count <= 1:
                partial.unlink(missing_ok=True)
            raise


def first_entry(path: Path) -> tuple[str, bytes] | None:
    """Reads the name and the content of the first entry of a zip of ours; None where there is none that is whole.

    Raises:
        OutputError: the file can't be read.
    """
    with refusals_told(path, ""), path.open("rb") as file:
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size:
            return None
        *_, size, name_size, _ = _LOCAL.unpack(header)
        name = file.read(name_size).decode(errors="replace")
        file.seek(0)
        if _whole(file, name) is None:
            return None
        file.seek(-size, os.SEEK_CUR)
        return name, file.read(size)


def directory(reader: BinaryIO, end: int) -> Iterator[bytes]:
    """Makes what stands at the end of a zip from its entries, which end at `end`; reads no more than their headers."""
    offset = count = size = 0
    parts: list[bytes] = []
    while offset < end:
        *_, crc, length, _, name_size, _ = _LOCAL.unpack(reader.read(_LOCAL.size))
        name = reader.read(name_size)
        reader.seek(length, os.SEEK_CUR)
        parts.append(_central(name, crc, length, offset))
        size += len(parts[-1])
        offset += _LOCAL.size + name_size + length
        count += 1
        if len(parts) == 4096:
            yield b"".join(parts)
            parts.clear()
    yield b"".join([*parts, *_ends(count, size, end)])


def _local(name: bytes, crc: int, size: int) -> bytes:
    return _LOCAL.pack(b"PK\3\4", _PLAIN, _UTF8, 0, 0, _NO_DATE, crc, size, size, len(name), 0) + name


def _central(name: bytes, crc: int, size: int, offset: int) -> bytes:
    far = offset >= _MAX32
    extra = _OFFSET_64.pack(1, 8, offset) if far else b""
    needed, near = (_ZIP64, _MAX32) if far else (_PLAIN, offset)
    stored = _UTF8, 0, 0, _NO_DATE, crc, size, size
    header = _CENTRAL.pack(b"PK\1\2", _MADE_BY, needed, *stored, len(name), len(extra), 0, 0, 0, _MODE, near)
    return header + name + extra


def _ends(count: int, size: int, start: int) -> Iterator[bytes]:
    """Makes the records after a directory of so many entries and bytes that begins at `start`."""
    if count >= _MAX16 or size >= _MAX32 or start >= _MAX32:
        counts = count, count, size, start
        yield _END_64.pack(b"PK\6\6", _END_64.size - 12, _MADE_BY, _ZIP64, 0, 0, *counts)
        yield _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
    few = min(count, _MAX16)
    yield _END.pack(b"PK\5\6", 0, 0, few, few, min(size, _MAX32), min(start, _MAX32), 0)


def _whole(reader: BinaryIO, name: str) -> int | None:
    """Reads an entry; gives its bytes, header included, or None where it isn't called so or isn't as it was written."""
    header = reader.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        return None
    *_, crc, size, _, _, _ = _LOCAL.unpack(header)
    expected = _local(name.encode(), crc, size)
    # compared before the content is read: of a damaged size its twin tells, so that no damage asks for much memory
    if header + reader.read(len(expected) - len(header)) != expected:
        return None
    data = reader.read(size)
    return len(expected) + size if len(data) == size and zlib.crc32(data) == crc else None


def _locked(partial: Path) -> BinaryIO:
    """Opens a file, made if need be, for nobody but this process."""
    while True:
        file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if partial.exists() and os.path.samestat(partial.stat(), os.fstat(file.fileno())):
                return file
        except BlockingIOError:
            file.close()
            raise OutputError(f"can't write {partial}: another process is writing it; wait for its end") from None
        file.close()  # whoever had it before finished it and gave it its name


def _sync_folder(path: Path) -> None:
    """Makes a rename last, as far as the file system can."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
