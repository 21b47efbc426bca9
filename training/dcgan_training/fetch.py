"""Downloads of the known data sets: streamed, continued where they broke off, checked before they get their name.

What is checked is the sha256 of the decompressed content: a mirror that packed the same bytes with another gzip is
as good, and a file that doesn't unpack to them is refused.
"""

import gzip
import hashlib
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from dcgan_training.errors import FetchError
from dcgan_training.files import output_error
from dcgan_training.known import KnownDataset, KnownFile

_TRIES: Final = 5  # in a row without a new byte
_LONGEST_WAIT_S: Final = 8.0
_TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 1 << 16
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})


def fetch(dataset: KnownDataset, directory: Path, base_url: str | None = None, first_wait_s: float = 0.5) -> None:
    """Downloads the files of a data set that `directory` doesn't hold yet.

    Args:
        dataset: which.
        directory: where to; made if it isn't there.
        base_url: of a mirror; None takes the data set's own.
        first_wait_s: before the first retry; it doubles up to 8 s.

    Raises:
        FetchError: a file can't be had after several tries, or isn't what it must be.
        OutputError: the disk refuses.
    """
    base = (base_url or dataset.base_url).rstrip("/") + "/"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client, _bar() as bar:
            for file in dataset.files:
                _Download(client, base + file.name, directory / file.name, file, bar).run(first_wait_s)
    except OSError as error:
        raise output_error(error, directory) from error


class _Download:
    """One file: its part so far lies beside its place as NAME.part and is continued."""

    def __init__(self, client: httpx.Client, url: str, target: Path, file: KnownFile, bar: Progress) -> None:
        self._client, self._url, self._target, self._file, self._bar = client, url, target, file, bar
        self._part = target.with_name(f"{target.name}.part")
        self._task = bar.add_task(target.name, total=None)

    def run(self, first_wait_s: float) -> None:
        """Brings the file, unless it is there already."""
        if self._target.exists() and self._is_right(self._target):
            self._done()
            return
        self._transfer(first_wait_s)
        if not self._is_right(self._part):
            self._part.unlink()
            raise FetchError(
                f"{self._url}: what came is not {self._file.name} (the sha256 of its content differs); "
                "it was removed; try again, or another --base-url"
            )
        self._part.replace(self._target)
        self._done()

    def _transfer(self, first_wait_s: float) -> None:
        """Asks again while bytes come, and a bounded number of times while none do."""
        failures, wait_s = 0, first_wait_s
        while True:
            before = self._size()
            try:
                self._request()
                return
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise FetchError(f"{self._url}: {error}") from error
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            except _TryAgain as error:
                reason = str(error)
            if self._size() > before:
                failures, wait_s = 0, first_wait_s
            failures += 1
            if failures >= _TRIES:
                kept = f"; {self._part} keeps what came, and the same command continues it" if self._size() else ""
                raise FetchError(f"{self._url}: {reason}; gave up after {failures} tries without a new byte{kept}")
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _request(self) -> None:
        """Asks for what is missing and appends it; starts over where the server sends everything."""
        have = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing, or the part is none of this file: its hash will tell
            if response.status_code in _RETRIED:
                raise _TryAgain(f"the server says {response.status_code} {response.reason_phrase}")
            if not response.is_success:
                raise FetchError(f"{self._url}: the server says {response.status_code} {response.reason_phrase}")
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                have = 0
            self._append(response, have)

    def _append(self, response: httpx.Response, have: int) -> None:
        length = response.headers.get("Content-Length")
        self._bar.update(self._task, completed=have, total=have + int(length) if length else None)
        with self._part.open("ab" if have else "wb") as out:
            for chunk in response.iter_raw():
                out.write(chunk)
                self._bar.advance(self._task, len(chunk))

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _is_right(self, file: Path) -> bool:
        """Compares the sha256 of what the file unpacks to."""
        digest = hashlib.sha256()
        try:
            with gzip.open(file) as content:
                while chunk := content.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return False
        return digest.hexdigest() == self._file.sha256

    def _done(self) -> None:
        size = self._target.stat().st_size
        self._bar.update(self._task, completed=size, total=size)


class _TryAgain(Exception):
    """The server can't answer now; says why."""


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        yield bar
