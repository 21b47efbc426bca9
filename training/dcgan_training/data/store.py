"""Decoded images in one .npy file of the run: decoded once, mapped ever after, by every process of the run.

Images stream from their decoder into the file and are mapped from it, so that a data set of any size takes no memory
of the process's own: the kernel reads what is needed and lets go of it where memory is short. Beside the file lies a
record of what it was made from. Where that is still so, a run that is resumed uses the file again, and the pixels are
checked by their digest; else it is made again. It gets its name when it is complete. While one process makes it, others
that want the same wait, and then use it.
"""

import errno
import fcntl
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from dcgan_training.data.dataset import digest_of
from dcgan_training.data.gathering import Collector
from dcgan_training.data.pictures import Pixels
from dcgan_training.files import output_error, write_atomically

_HEADER_BYTES: Final = 128  # numpy's, for every shape that images have
_BLOCK_BYTES: Final = 1 << 22

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds, and what it was made from."""

    facts: str  # of the files it was made from, and of how
    digest: str  # of the images
    names: Names
    skipped: Names


def stored(
    store: Path, facts: str, count: int, size: int, make: Callable[[Collector], tuple[Names, Names]]
) -> tuple[NDArray[np.uint8], Stored]:
    """Gives the images of a store, which is made where it isn't there or was made from something else.

    Args:
        store: path of the .npy file; its record lies beside it as .json. Its folder is made if it isn't there.
        facts: what the images are made from and how.
        count: of the images, at most.
        size: height and width of every image, px.
        make: puts the images into a collector, and gives the names of the images and of the files left out.

    Returns:
        uint8 of shape (n, size, size, 1 or 3), a read-only map; and its record.

    Raises:
        OutputError: the disk refuses; nothing is left of what was written.
    """
    found = _found(store, facts)
    if found is not None:
        return found
    with _alone(store) as file:
        found = _found(store, facts)  # another process may have made it meanwhile
        return found or _made(store, facts, Growing(file, store, count, size), make)


class Growing:
    """Collects images in an .npy file: grey at first, and widened in place when the first one has colour."""

    def __init__(self, file: BinaryIO, store: Path, count: int, size: int) -> None:
        self._file, self._store, self._count = file, store, count
        self._shape = (size, size, 1)
        self._filled = 0
        with writing(store):
            self._check_space()
            file.seek(_HEADER_BYTES)

    def append(self, pixels: Pixels) -> None:
        """Takes one image, (size, size, 1 or 3); raises OutputError where the disk refuses."""
        with writing(self._store):
            if pixels.shape[2] > self._shape[2]:
                self._widen()
            self._file.write(np.ascontiguousarray(np.broadcast_to(pixels, self._shape)).data)
            self._filled += 1

    def finish(self) -> None:
        """Writes the header, now that the shape is known, and sees to it that all is on the disk."""
        with writing(self._store):
            self._file.seek(0)
            self._file.write(header((self._filled, *self._shape)))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _widen(self) -> None:
        """Gives every image so far three channels, from the last to the first, so that none is overwritten unread."""
        self._file.flush()
        place, pixels = self._file.fileno(), self._filled * self._shape[0] * self._shape[1]
        self._shape = (*self._shape[:2], 3)
        self._check_space()
        for first in reversed(range(0, pixels, _BLOCK_BYTES)):
            grey = os.pread(place, min(_BLOCK_BYTES, pixels - first), _HEADER_BYTES + first)
            self._file.seek(_HEADER_BYTES + 3 * first)
            self._file.write(np.repeat(np.frombuffer(grey, np.uint8), 3).data)
            self._file.flush()
        self._file.seek(_HEADER_BYTES + 3 * pixels)

    def _check_space(self) -> None:
        """Says at once what the disk would refuse after minutes of decoding."""
        needed, free = self._count * math.prod(self._shape), shutil.disk_usage(self._store.parent).free
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"{os.strerror(errno.ENOSPC)}: the decoded images take {needed:,} bytes and {free:,} are free",
            )


def header(shape: tuple[int, ...]) -> bytes:
    """Gives the header of an .npy file of uint8 in C order; its length is the same for every shape of images."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
    assert out.tell() == _HEADER_BYTES
    return out.getvalue()


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turns what the disk refuses into an OutputError that names the file."""
    try:
        yield
    except OSError as error:
        raise output_error(error, file) from error


def _made(
    store: Path, facts: str, growing: Growing, make: Callable[[Collector], tuple[Names, Names]]
) -> tuple[NDArray[np.uint8], Stored]:
    names, skipped = make(growing)
    growing.finish()
    with writing(store):
        images = _mapped(_partial(store))
        record = Stored(facts, digest_of(images), names, skipped)
        write_atomically(_record(store), json.dumps(asdict(record)).encode())
        # Last: with the name goes the lock, and who comes next must find all of it. A record whose images don't come,
        # since the process was killed here, is told by their digest.
        _partial(store).replace(store)
    return images, record


def _found(store: Path, facts: str) -> tuple[NDArray[np.uint8], Stored] | None:
    """Gives the images that a store holds already; None where there are none, or they are of something else."""
    try:
        fields = json.loads(_record(store).read_bytes())
        record = Stored(fields["facts"], fields["digest"], tuple(fields["names"]), tuple(fields["skipped"]))
        images = _mapped(store) if record.facts == facts else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return None if images is None or digest_of(images) != record.digest else (images, record)


def _record(store: Path) -> Path:
    return store.with_suffix(".json")


def _partial(store: Path) -> Path:
    return store.with_name(f".{store.name}.partial")


def _mapped(store: Path) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.load(store, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return images


@contextmanager
def _alone(store: Path) -> Iterator[BinaryIO]:
    """Opens the store's partial file when no other process has it; removes it, and a folder made for it, if left."""
    partial = _partial(store)
    with writing(store):
        begun = not store.parent.exists()
        store.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(partial)
    try:
        yield file
    except BaseException:
        with suppress(OSError):
            if begun:
                _remove(partial, file)
                store.parent.rmdir()
        raise
    finally:
        with suppress(OSError):
            _remove(partial, file)
        with suppress(OSError):  # what a full disk didn't take is written again, in vain
            file.close()


def _locked(partial: Path) -> BinaryIO:
    """Opens and locks the partial file, empty; waits for a process that has it, and then for no other one."""
    while True:
        place = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        file = os.fdopen(place, "r+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        if _is(partial, file):
            file.truncate(0)
            return file
        file.close()  # it got its final name, or was removed, while we waited


def _remove(partial: Path, file: BinaryIO) -> None:
    if _is(partial, file):
        partial.unlink()


def _is(partial: Path, file: BinaryIO) -> bool:
    """Says whether a name is still, or already, that of an open file."""
    try:
        return os.path.samestat(partial.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
