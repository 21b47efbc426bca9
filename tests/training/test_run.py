from pathlib import Path
from types import SimpleNamespace

import pytest

import runs
from dcgan import bundle
from dcgan.errors import SettingsError
from dcgan_training import evaluate as evaluation
from dcgan_training.cli import main, quality
from dcgan_training.history import Alarm
from dcgan_training.quality import Figure, Report
from dcgan_training.requirements import Requirement, parse, unmet


def command(output: Path, *more: str) -> list[str]:
    """The command line of a tiny run to publish at `output`."""
    tiny = runs.arguments(output, "--samples", "100", *more, images=256)
    return ["run", *tiny[1:]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fd<30", Requirement("fd", "<", 30.0)),
        (" coverage >= 0.6 ", Requirement("coverage", ">=", 0.6)),
        ("memorisation<=2", Requirement("memorisation", "<=", 2.0)),
        ("kl>1e-2", Requirement("kl", ">", 0.01)),
    ],
)
def test_requirements_are_read(text: str, expected: Requirement) -> None:
    """A figure, a relation and a number, with or without blanks."""
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["fd", "fd=30", "fd<<30", "fd<", "<30", "fd<nan", "fd<30%", "fd<1,000", "fd==30", ""])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    """With an example of what is one."""
    with pytest.raises(SettingsError, match="as fd<30"):
        parse(text)


def test_unknown_figures_are_refused_by_name() -> None:
    """All that there are are listed."""
    with pytest.raises(SettingsError, match=r"no figure 'fid'; allowed: fd, fd_percent, precision, .*kl"):
        parse("fid<30")


def test_requirements_are_judged_in_the_first_features() -> None:
    """At the bar < fails and <= passes; what is no number or wasn't measured never passes."""
    figures = (Figure("coverage/one", 0.6), Figure("coverage/two", 0.9), Figure("frechet_distance/one", float("nan")))
    report = Report(figures, ("one", "two"))
    assert unmet([parse("coverage<=0.6"), parse("coverage>0.5")], report) == []
    assert unmet([parse("coverage>0.6"), parse("fd<30"), parse("fd>=0"), parse("kl<1")], report) == [
        "coverage>0.6 isn't met: coverage is 0.6",
        "fd<30 isn't met: frechet_distance is nan",
        "fd>=0 isn't met: frechet_distance is nan",
        "kl<1 can't be judged: stacked_digits/kl wasn't measured",
    ]


def test_a_model_below_the_bar_is_not_published_until_the_bar_is_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4 names figure, value and bar; the run stays, and the same command with another bar publishes it."""
    output, report = tmp_path / "model", tmp_path / "figures.json"
    assert main(command(output, "--require", "fd<0", "--require", "coverage>=0", "--json", str(report))) == 4
    told = capsys.readouterr().err
    assert "below the bar: fd<0 isn't met: frechet_distance is " in told
    assert "coverage>=0" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "model.run"]

    assert main(command(output, "--require", "fd>0", "--require", "coverage>=0")) == 0
    published = bundle.load(output).manifest
    assert published.name == "model"
    assert published.figures["frechet_distance/random-conv-1"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "model", "model.run"]
    assert "\n## Quality\n" in (output / "MODEL_CARD.md").read_text()


def test_an_error_while_measuring_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither under its name nor under the hidden one."""

    def fail(*_: object) -> Report:
        raise SettingsError("no")

    monkeypatch.setattr(evaluation, "evaluate", fail)
    assert main(command(tmp_path / "model", "--run", str(tmp_path / "run"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("stopped_by", "code"), [(Alarm("collapse", "the samples collapse"), 3), (15, 143)], ids=["watch", "signal"]
)
def test_a_stopped_training_publishes_nothing(
    stopped_by: Alarm | int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 for the watch, 128 + n for signal n."""
    stopped = SimpleNamespace(images=100, stopped_by=stopped_by)
    monkeypatch.setattr(quality.training, "train", lambda _: stopped)
    assert main(command(tmp_path / "model")) == code
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_exists_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is trained."""
    (tmp_path / "model").mkdir()
    assert main(command(tmp_path / "model")) == 1
    assert "exists; name a directory that doesn't" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("requirement", "fault"),
    [("fid<30", "no figure 'fid'"), ("kl<0.1", "needs --stacked-digits"), ("least_class_share>0.05", "needs --labels")],
)
def test_a_bar_that_cannot_be_judged_is_a_wrong_command_line(
    requirement: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is trained."""
    with pytest.raises(SystemExit) as stopped:
        main(command(tmp_path / "model", "--require", requirement))
    assert stopped.value.code == 2
    assert fault in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
