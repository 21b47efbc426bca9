"""Files that are there whole or not at all.

Everything is written beside its final place and renamed into it, so that neither a full disk nor an interruption
leaves half a file or damages the one that was there. What goes wrong is an OutputError that says what to do.
"""

import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from dcgan.errors import OutputError

_ADVICE: Final = {
    errno.ENOENT: "its folder does not exist; create it first",
    errno.ENOTDIR: "a part of its path is a file and not a folder",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it would be larger than files may be",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "its name is too long",
}
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def save(path: str | Path, data: bytes) -> None:
    """Writes a file whole, replacing what is there; raises OutputError and keeps nothing where it can't."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file beside `path` for writing, and renames it to `path` if the body ends without an error.

    Devices and pipes, such as /dev/stdout, are written to as they are. Raises OutputError for whatever the disk
    refuses; other errors of the body pass through, and nothing is left behind.
    """
    target = Path(path)
    with refusals_told(path, "nothing was kept of it"):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if target.exists() and not target.is_file():  # asked before resolving, since a pipe's own name leads nowhere
            with target.open("wb") as file:
                yield file
            return
        target = target.resolve()  # a link stays a link: the file that it points to is replaced
        yield from _written_beside(target)


@contextmanager
def refusals_told(path: str | Path, kept: str) -> Iterator[None]:
    """Makes an OutputError of what the disk refuses in the body; where there is no room, it says what was `kept`."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read from the pipe has enough; that is no error of ours
    except OSError as error:
        why = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        if error.errno in _FULL:
            why = f"{why}; {kept}"
        raise OutputError(f"can't write {path}: {why}", path=path) from error


def _written_beside(target: Path) -> Iterator[BinaryIO]:
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            yield file
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
