import json
from pathlib import Path

import pytest

from dcgan_training import history
from dcgan_training.errors import RunError
from dcgan_training.history import Alarm, Check, History, Reading
from dcgan_training.trainer import Losses

LOSSES = Losses(1.0, 1.5, 0.7, 0.2, 2.0, 0.1, 0.3)
CHECK = Check(0.9, 0.0, 80.0, 0.7, 0.6, 1.0, 900.0)
ALARM = Alarm("collapse", "the samples collapse")


def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    """Readings, checks and alarms, in their order."""
    written = History.open(tmp_path, 0)
    for images, what in ((10_000, Reading(LOSSES, 4800.0)), (50_000, CHECK), (50_000, ALARM)):
        written.add(images, what)
    assert history.read(tmp_path) == written.records
    assert [record.what for record in written.records] == [Reading(LOSSES, 4800.0), CHECK, ALARM]


def test_a_line_says_what_it_is(tmp_path: Path) -> None:
    """Other programs read it: images, then losses with the speed beside them, a check or an alarm."""
    written = History.open(tmp_path, 0)
    for what in (Reading(LOSSES, 4800.0), CHECK, ALARM):
        written.add(10, what)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [sorted(line) for line in lines] == [
        ["images", "images_per_second", "losses"],
        ["check", "images"],
        ["alarm", "images"],
    ]
    assert lines[0]["losses"]["belief_real"] == 0.7


def test_what_lies_beyond_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    """The run makes it again; what was measured at the checkpoint itself stays."""
    written = History.open(tmp_path, 0)
    for images in (100, 200, 300):
        written.add(images, Reading(LOSSES, 1.0))
    assert [record.images for record in History.open(tmp_path, 200).records] == [100, 200]
    assert [record.images for record in history.read(tmp_path)] == [100, 200]


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    """And what comes next begins a line of its own."""
    History.open(tmp_path, 0).add(100, CHECK)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"images": 150, "che')
    assert [record.images for record in history.read(tmp_path)] == [100]
    History.open(tmp_path, 200).add(200, CHECK)
    assert [record.images for record in history.read(tmp_path)] == [100, 200]


def test_another_file_is_refused(tmp_path: Path) -> None:
    """The message names the line."""
    (tmp_path / "history.jsonl").write_text('{"images": 1, "check": {"beauty": 1}}\n')
    with pytest.raises(RunError, match=r"history\.jsonl line 1: this is no record of a run"):
        History.open(tmp_path, 0)


LINES = "".join(f'{{"images": {images}, "alarm": {{"kind": "collapse", "message": "m"}}}}\n' for images in (1, 2, 3))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (b"\xff\xfe\n", "can't decode byte 0xff"),
        (b'{"images": 2, "che\n', "Unterminated string"),
        (b"\n", "Expecting value"),
        (b"[2]\n", "list indices must be integers"),
        (b"2\n", "not subscriptable"),
        (b"[" * 100_000 + b"\n", "recursion"),
        (b'{"check": {}}\n', "images"),
        (b'{"images": "2", "check": {}}\n', "images is '2'"),
        (b'{"images": -2, "check": {}}\n', "images is -2"),
        (b'{"images": Infinity, "check": {}}\n', "images is inf"),
        (b'{"images": 2}\n', "alarm"),
        (b'{"images": 2, "check": 5}\n', "not iterable"),
        (b'{"images": 2, "check": {"diversity": "x"}}\n', "diversity is 'x'"),
        (b'{"images": 2, "check": {"diversity": 0.5}}\n', "missing 6 required"),
        (b'{"images": 2, "check": {"diversity": 1' + b"0" * 400 + b"}}\n", "too large"),
        (b'{"images": 2, "losses": {}, "images_per_second": 1.0}\n', "missing 7 required"),
        (b'{"images": 2, "alarm": {"kind": "fire", "message": "m"}}\n', "its alarm is"),
        (b'{"images": 2, "alarm": {"kind": "collapse", "message": 5}}\n', "its alarm is"),
    ],
)
def test_a_damaged_line_is_named_with_what_to_do(tmp_path: Path, damage: bytes, why: str) -> None:
    """By all that read a history; it lies between sound lines."""
    first, *others = LINES.splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_bytes(first.encode() + damage + "".join(others).encode())
    for reading in (lambda: history.read(tmp_path), lambda: History.open(tmp_path, 9)):
        with pytest.raises(RunError) as caught:
            reading()
        message = caught.value.message
        assert message.startswith(f"{tmp_path / 'history.jsonl'} line 2: this is no record of a run (")
        assert message.endswith("; no weight depends on it: delete the line to go on without it")
        assert why in message
        assert len(message) < 500


def test_without_the_damaged_line_a_history_is_whole_again(tmp_path: Path) -> None:
    """So the advice holds."""
    (tmp_path / "history.jsonl").write_text(LINES)
    assert [record.images for record in History.open(tmp_path, 9).records] == [1, 2, 3]


@pytest.mark.parametrize("torn", [b'{"images": 9', b"\xff\xfe", b"\0\0\0"])
def test_whatever_a_torn_last_line_holds_is_dropped(tmp_path: Path, torn: bytes) -> None:
    """A power failure may leave anything there."""
    (tmp_path / "history.jsonl").write_bytes(LINES.encode() + torn)
    assert [record.images for record in history.read(tmp_path)] == [1, 2, 3]
    History.open(tmp_path, 9)
    assert (tmp_path / "history.jsonl").read_text() == LINES
