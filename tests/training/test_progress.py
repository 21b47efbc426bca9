import io
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dcgan_training import progress
from dcgan_training.history import Alarm, Check
from dcgan_training.progress import Budget, described, displaying, duration
from dcgan_training.trainer import Losses

LOSSES = Losses(1.0, 1.5, 0.75, 0.2, 2.5, 0.1, 0.3)
CHECK = Check(0.9, 0.0, 80.0, 0.7, 0.6, 1.0, 900.0)


def test_time_left_follows_from_images_and_speed() -> None:
    """7,000 images at 100 images/s are 70 s."""
    assert Budget(0, 10_000, None).left_s(3000, 100.0) == pytest.approx(70.0)
    assert Budget(0, 10_000, None).share(3000) == pytest.approx(0.3)


def test_time_left_is_what_the_hours_leave() -> None:
    """Where they are over before the images would be."""
    budget = Budget(0, 10**12, 0.5)
    assert budget.left_s(3000, 100.0) == pytest.approx(1800.0, abs=5)
    assert budget.words(3000) == "3,000 images"
    assert Budget(0, 10_000, 0.5).left_s(3000, 100.0) == pytest.approx(70.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(20, "0 min"), (720, "12 min"), (7500, "2 h 05 min"), (3599, "1 h 00 min")]
)
def test_durations_read_well(seconds: float, words: str) -> None:
    """To the minute."""
    assert duration(seconds) == words


def test_outputs_are_shown_only_where_a_half_is_equilibrium() -> None:
    """The others' logits mean nothing alone: their gap does."""
    assert described(LOSSES, "non-saturating") == "loss D 1.000 G 1.500, output real 0.75 fake 0.20"
    assert described(LOSSES, "relativistic") == "loss D 1.000 G 1.500, gap 2.50"


def test_lines_say_how_far_it_is_and_how_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside a terminal: the first reading at once, checks and alarms too."""
    with displaying(tmp_path, 0, 100_000) as display:
        display.read(10_112, LOSSES)
        display.alarmed(50_048, Alarm("collapse", "the samples collapse"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("10,112 of 100,000 images, ")
    assert lines[0].endswith("min left, loss D 1.000 G 1.500, output real 0.75 fake 0.20")
    assert lines[1] == "alarm after 50,048 images: the samples collapse"


def test_a_check_before_the_first_reading_knows_the_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As right after a run is continued."""
    with displaying(tmp_path, 51_584, 2_200_000) as display:
        display.checked(55_040, CHECK, None)
    assert ", 0 images/s, " not in capsys.readouterr().err


def test_a_terminal_shows_the_last_figures_below_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a hundred columns, nothing cut off."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "_Console", lambda **_: console)
    with displaying(tmp_path, 0, 8_000_000) as display:
        display.read(1_000_000, LOSSES)
        display.checked(1_000_000, CHECK, 1_000_000)
    shown = screen.getvalue()
    assert "1,000,000 of 8,000,000 images" in shown
    assert "12 %" in shown
    assert "diversity 0.90, Fréchet distance 80, coverage 0.60, best after 1,000,000 images" in shown


def test_tensorboard_gets_all_that_was_measured(tmp_path: Path) -> None:
    """Every loss, every figure, and the alarms as texts."""
    with displaying(tmp_path, 0, 100_000) as display:
        assert display.read(10_112, LOSSES) > 0
        display.checked(50_048, CHECK, None)
        display.alarmed(50_048, Alarm("collapse", "the samples collapse"))
    read = EventAccumulator(str(tmp_path / "events")).Reload()
    tags = read.Tags()
    assert {"loss/generator", "belief/real", "gap", "norm/generator", "images_per_second"} <= set(tags["scalars"])
    assert {"check/diversity", "check/frechet_distance", "check/coverage"} <= set(tags["scalars"])
    (alarm,) = read.Tensors("alarm/collapse/text_summary")
    assert alarm.tensor_proto.string_val == [b"the samples collapse"]
