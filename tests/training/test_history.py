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
