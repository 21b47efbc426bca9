import gzip
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from dcgan.errors import OutputError
from dcgan_training import known
from dcgan_training.cli import main
from dcgan_training.errors import FetchError
from dcgan_training.fetch import fetch
from dcgan_training.known import KnownDataset, KnownFile

CONTENTS = {name: bytes((i * i * step) % 251 for i in range(300_000)) for step, name in enumerate(("a.gz", "b.gz"), 1)}
PACKED = {name: gzip.compress(content, mtime=0, compresslevel=0) for name, content in CONTENTS.items()}
DATASET = KnownDataset(
    name="tiny",
    base_url="http://127.0.0.1:1/",
    files=tuple(KnownFile(name, hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()),
    digest="",
    licence="",
    attribution="",
)


class Handler(BaseHTTPRequestHandler):
    """Serves `files`, with ranges; tests change how."""

    files: ClassVar[dict[str, bytes]]
    requests: ClassVar[list[tuple[str, str | None]]]  # path and Range of each
    cut_after: ClassVar[int | None]  # bytes of an answer after which the connection breaks
    answers: ClassVar[list[int]]  # codes to answer with before it works
    ranges: ClassVar[bool]  # whether Range is obeyed

    def do_GET(self) -> None:
        """Answers one request."""
        name, wanted = self.path.rsplit("/", 1)[1], self.headers.get("Range")
        self.requests.append((name, wanted))
        if self.answers:
            self.send_error(self.answers.pop(0))
        elif name not in self.files:
            self.send_error(404)
        else:
            self._send(self.files[name], int(wanted[6:-1]) if wanted and self.ranges else None)

    def _send(self, content: bytes, start: int | None) -> None:
        if start is not None and start >= len(content):
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.cut_after is None else body[: self.cut_after])

    def log_message(self, *_: object) -> None:
        """Keeps the tests' output clean."""


@contextmanager
def serving(handler: type[Handler]) -> Iterator[str]:
    """Runs an HTTP server on a free port and gives its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/mirror"
        server.shutdown()
        thread.join()


@pytest.fixture
def handler() -> type[Handler]:
    """A well-behaved server's handler, to be spoilt by tests."""

    class Fresh(Handler):
        files: ClassVar = dict(PACKED)
        requests: ClassVar = []
        cut_after: ClassVar = None
        answers: ClassVar = []
        ranges: ClassVar = True

    return Fresh


@pytest.fixture
def url(handler: type[Handler]) -> Iterator[str]:
    """Where it serves."""
    with serving(handler) as at:
        yield at


def files(directory: Path) -> dict[str, bytes]:
    """Gives every file of a directory with its content."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_every_file_is_fetched(tmp_path: Path, url: str) -> None:
    """Into a directory that is made, and nothing else beside them."""
    fetch(DATASET, tmp_path / "data" / "tiny", url)
    assert files(tmp_path / "data" / "tiny") == PACKED


def test_what_is_there_is_kept(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """The same command again asks the server for nothing."""
    fetch(DATASET, tmp_path, url)
    handler.requests.clear()
    fetch(DATASET, tmp_path, url)
    assert handler.requests == []


def test_what_is_there_but_wrong_is_fetched_again(tmp_path: Path, url: str) -> None:
    """A file that somebody else left under that name."""
    (tmp_path / "a.gz").write_bytes(b"something else")
    fetch(DATASET, tmp_path, url)
    assert files(tmp_path) == PACKED


def test_a_broken_connection_is_continued(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """Each request asks only for what is missing, so a line that breaks every 100 kB still brings the file."""
    handler.cut_after = 100_000
    fetch(DATASET, tmp_path, url, first_wait_s=0)
    assert files(tmp_path) == PACKED
    asked = [wanted for name, wanted in handler.requests if name == "a.gz"]
    assert asked == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_an_interrupted_download_is_continued_by_the_next(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """The part on the disk counts, whoever wrote it."""
    (tmp_path / "a.gz.part").write_bytes(PACKED["a.gz"][:123])
    fetch(DATASET, tmp_path, url)
    assert files(tmp_path) == PACKED
    assert handler.requests[0] == ("a.gz", "bytes=123-")


def test_a_part_that_is_whole_gets_its_name(tmp_path: Path, url: str) -> None:
    """Killed after the last byte: the server has nothing more, and the hash is right."""
    (tmp_path / "a.gz.part").write_bytes(PACKED["a.gz"])
    fetch(DATASET, tmp_path, url)
    assert files(tmp_path) == PACKED


def test_a_server_without_ranges_starts_over(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """It sends everything, and everything is taken: nothing is appended to the wrong place."""
    handler.ranges = False
    (tmp_path / "a.gz.part").write_bytes(PACKED["a.gz"][:123])
    fetch(DATASET, tmp_path, url)
    assert files(tmp_path) == PACKED


@pytest.mark.parametrize(
    "wrong", [gzip.compress(b"other", mtime=0), b"<html>log in first</html>", PACKED["a.gz"][:-9], b""]
)
def test_wrong_bytes_are_refused_and_removed(tmp_path: Path, url: str, handler: type[Handler], wrong: bytes) -> None:
    """Another file, a login page, half a file, nothing: none of it gets the name."""
    handler.files["a.gz"] = wrong
    with pytest.raises(FetchError, match=r"a.gz: what came is not a.gz"):
        fetch(DATASET, tmp_path, url, first_wait_s=0)
    assert files(tmp_path) == {}


def test_the_same_content_packed_otherwise_is_right(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """Mirrors use other gzips; what counts is what unpacks."""
    handler.files["a.gz"] = gzip.compress(CONTENTS["a.gz"], 9)
    fetch(DATASET, tmp_path, url)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == CONTENTS["a.gz"]


def test_a_busy_server_is_asked_again(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """503 and 429 pass."""
    handler.answers += [503, 429, 500]
    fetch(DATASET, tmp_path, url, first_wait_s=0)
    assert files(tmp_path) == PACKED


def test_patience_is_bounded(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """Five tries without a new byte end it, with what the server said."""
    handler.answers += [503] * 9
    with pytest.raises(FetchError, match="503 Service Unavailable; gave up after 5 tries"):
        fetch(DATASET, tmp_path, url, first_wait_s=0)
    assert len(handler.requests) == 5


def test_a_missing_file_is_not_asked_for_again(tmp_path: Path, url: str, handler: type[Handler]) -> None:
    """404 won't change by waiting."""
    del handler.files["a.gz"]
    with pytest.raises(FetchError, match="404 Not Found"):
        fetch(DATASET, tmp_path, url, first_wait_s=0)
    assert len(handler.requests) == 1


def test_no_server_is_one_line(tmp_path: Path) -> None:
    """Nobody listens on port 1."""
    with pytest.raises(FetchError, match=r"refused.*gave up after 5 tries") as caught:
        fetch(DATASET, tmp_path, first_wait_s=0)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1/"])
def test_a_url_that_is_none_is_one_line(tmp_path: Path, address: str) -> None:
    """A typing error in --base-url is no reason to wait."""
    with pytest.raises(FetchError) as caught:
        fetch(DATASET, tmp_path, address)
    assert address.rstrip("/") in caught.value.message
    assert "\n" not in caught.value.message


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, url: str) -> None:
    """A file where a directory must go."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=str(tmp_path / "file")):
        fetch(DATASET, tmp_path / "file", url)


def test_the_command_fetches_a_known_data_set(
    tmp_path: Path, url: str, handler: type[Handler], capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line; what this server has isn't Fashion-MNIST, and that is noticed."""
    handler.files["train-images-idx3-ubyte.gz"] = PACKED["a.gz"]
    assert main(["fetch", "fashion-mnist", "--output", str(tmp_path), "--base-url", url]) == 1
    assert "what came is not train-images-idx3-ubyte.gz" in capsys.readouterr().err
    assert [name for name, _ in handler.requests] == ["train-images-idx3-ubyte.gz"]


def test_fashion_mnist_is_four_files() -> None:
    """Training and test images with their labels, each with the hash of its content."""
    assert [file.name for file in known.FASHION_MNIST.files] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
