import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import runs
from dcgan import bundle
from dcgan.errors import SettingsError
from dcgan_training import evaluate as evaluation
from dcgan_training import label_classifier
from dcgan_training.cli import main, quality
from dcgan_training.data import load, split
from dcgan_training.export import Labels
from dcgan_training.history import Alarm
from dcgan_training.quality import Figure, Report
from dcgan_training.requirements import Requirement, parse, unmet


def command(output: Path, *more: str) -> list[str]:
    """The command line of a tiny run to publish at `output`."""
    tiny = runs.arguments(output, "--samples", "100", *more, images=256)
    return ["run", *tiny[1:]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that a run published."""
    output = tmp_path_factory.mktemp("published") / "model"
    assert main(command(output)) == 0
    return output


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


def test_a_directory_called_by_a_number_is_a_version_of_the_directory_around_it(tmp_path: Path) -> None:
    """As a server wants it, which takes up a version only where its directory is called like it."""
    output = tmp_path / "fashion/2"
    assert main(command(output, "--run", str(tmp_path / "run"))) == 0
    published = bundle.load(output).manifest
    assert (published.name, published.version) == ("fashion", "2")
    assert [path.name for path in output.parent.iterdir()] == ["2"]


@pytest.mark.parametrize(
    ("output", "name", "version"),
    [
        ("models/fashion/2", "fashion", "2"),
        ("models/fashion/2026-11-28", "fashion", "2026-11-28"),
        ("models/fashion/1.2_3", "fashion", "1.2_3"),
        ("runs/fashion", "fashion", None),
        ("runs/3d-shapes", "3d-shapes", None),
        ("models/fashion/v2", "v2", None),
    ],
)
def test_a_path_says_what_a_bundle_is_called(output: str, name: str, version: str | None) -> None:
    """Only what begins with a digit and has no letters is a version; flags win."""
    assert Labels().at(Path(output)) == Labels(name=name, version=version)
    assert Labels(name="a", version="b").at(Path(output)) == Labels(name="a", version="b")


def test_a_run_that_was_killed_after_it_published_ends_well_when_it_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Job would else try again in vain; another bundle in its place is refused as ever."""
    output = tmp_path / "model"
    assert main(command(output)) == 0
    capsys.readouterr()
    assert main(command(output)) == 0
    assert capsys.readouterr().err == f"{output} is published already, by {output}.run\n"
    assert main(["export", "--random", "--size", "8", "--width", "2", "--output", str(tmp_path / "other")]) == 0
    output.rename(tmp_path / "moved")
    (tmp_path / "other").rename(output)
    assert main(command(output)) == 1


@pytest.mark.parametrize(
    "other",
    [
        ["--require", "fd<1e9"],
        ["--width", "3"],
        ["--seed", "2"],
        ["--flip"],
        ["--samples", "301"],
        ["--checkpoint", "newest"],
        ["--version", "7"],
    ],
    ids=" ".join,
)
def test_another_command_does_not_pass_for_the_one_that_published(
    published: Path, other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline that raises its bar would else stay green; but a bundle that was added to is still the same model."""
    assert main(command(published)) == 0
    assert main(["variants", str(published)]) == 0
    assert main(command(published)) == 0
    assert main(command(published, *other)) == 1
    assert f"{published} exists; name a directory that doesn't" in capsys.readouterr().err


def test_a_run_whose_table_nobody_reads_publishes_all_the_same(tmp_path: Path) -> None:
    """The table comes last; the exit code is the shell's for a broken pipe."""
    with runs.started(command(tmp_path / "model")) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 141
    assert "is published; next" in said
    assert "Traceback" not in said
    bundle.load(tmp_path / "model")


def test_a_run_within_its_bundle_is_a_wrong_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle could not be put into its place in the end."""
    for run in ("model", "model/run"):
        with pytest.raises(SystemExit):
            main(command(tmp_path / "model", "--run", str(tmp_path / run)))
        assert "is the bundle's own place or below it" in capsys.readouterr().err


def test_too_few_images_to_measure_are_refused_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No nearest neighbours could be found among them."""
    np.save(tmp_path / "few.npy", load(runs.SUBSET).images[:11])
    assert main(command(tmp_path / "model", "--data", str(tmp_path / "few.npy"))) == 1
    assert "few.npy: has 11 images; to measure needs 12 or more" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["few.npy"]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """In a container every process may have the same number, and with it the same names for what it writes."""
    left = tmp_path / f".model.candidate/.model.{os.getpid()}.partial/generator.onnx"
    left.parent.mkdir(parents=True)
    left.touch()
    assert main(command(tmp_path / "model")) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.run"]


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
    monkeypatch.setattr(quality.training, "train", lambda *_: stopped)
    assert main(command(tmp_path / "model")) == code
    assert list(tmp_path.iterdir()) == []


def test_the_watch_and_the_figures_of_a_run_are_by_one_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is taught once; an evaluation without the run teaches the same one, also beside a test set."""
    monkeypatch.setattr(label_classifier, "_SHOWN", 2_000)
    output, held_out = tmp_path / "model", tmp_path / "held-out.npy"
    np.save(held_out, 255 - load(runs.SUBSET).images[:200])
    measure = ["--data", str(runs.SUBSET), "--held-out", str(held_out), "--labels", str(runs.LABELS)]
    published, again = tmp_path / "published.json", tmp_path / "again.json"
    assert main(command(output, *measure, "--json", str(published))) == 0
    assert capsys.readouterr().err.count("training a classifier of the labels") == 1
    assert main(["evaluate", str(output), *measure, "--samples", "100", "--json", str(again)]) == 0
    assert json.loads(published.read_text()) == json.loads(again.read_text())


def test_labels_with_odd_values_and_gaps_are_measured_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What looks like markup is shown as it is; what is labelled only where the run trained leaves the probe out."""
    monkeypatch.setattr(label_classifier, "_SHOWN", 2_000)
    cells = ["[/b]", "a|b"] * 200
    for row in split(load(runs.SUBSET).images).held_out:
        cells[row] = ""
    labels, output = tmp_path / "labels.csv", tmp_path / "model"
    labels.write_text("\n".join(["kind", *cells]) + "\n")
    assert main(command(output, "--labels", str(labels))) == 0
    told = capsys.readouterr()
    assert "class_share/kind/[/b]" in told.out
    assert "not measured: the linear probe: kind labels too few of the images" in told.err
    assert "| class_share/kind/a\\|b |" in (output / "MODEL_CARD.md").read_text()


def test_a_run_whose_last_step_raised_an_alarm_is_not_published(tmp_path: Path) -> None:
    """All images were shown to networks that never moved; nor is it when asked again, unless alarms are to be told."""
    unmoved = "--recipe", "mlp-digits", "--width", "8", "--set", "learning_rate=1e-8", "--on-alarm", "stop"
    publish = command(tmp_path / "model", *unmoved, "--images", "50000")
    assert main(publish) == main(publish) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model.run"]
    assert main([*publish, "--on-alarm", "warn"]) == 0
    assert bundle.load(tmp_path / "model").manifest.training.images_seen == 50_048


def test_a_bundle_that_exists_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is trained."""
    (tmp_path / "model").mkdir()
    assert main(command(tmp_path / "model")) == 1
    assert "exists; name a directory that doesn't" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (["--name", "my model"], "--name 'my model' can't be used"),
        (["--version", "1/2"], "--version '1/2' can't be used"),
        (["--labels", "PLACE/nowhere"], "nowhere: does not exist"),
        (["--labels", "PLACE"], ": is no file"),
        (["--labels", "PLACE/few.csv"], "few.csv: has 1 rows for 400 images"),
        (["--labels", "PLACE/same.csv"], "same.csv: has no column that a classifier can learn"),
        (["--features", "PLACE/nowhere.onnx"], "nowhere.onnx: does not exist"),
        (["--features", "PLACE/text.onnx"], "text.onnx: is no ONNX model"),
        (["--stacked-digits", "PLACE"], "can't be stacked digits' judge: the model draws grey images"),
        (["--json", "PLACE/nowhere/figures.json"], "No such file or directory"),
        (["--json", "PLACE"], "is a directory; name a file"),
        (["--run", "PLACE/run", "--output", "PLACE/text.onnx/model"], "text.onnx"),
    ],
)
def test_what_would_fail_after_the_training_is_refused_before_it(
    more: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what is wrong; no run is begun."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "few.csv").write_text("kind\na\n")
    (place / "same.csv").write_text("kind\n" + "a\n" * 400)
    (place / "text.onnx").write_text("hello")
    before = sorted(tmp_path.rglob("*"))
    assert main(command(tmp_path / "model", *(word.replace("PLACE", str(place)) for word in more))) == 1
    said = capsys.readouterr().err
    assert fault in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_whose_name_no_model_may_have_needs_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be the model's where none is given."""
    assert main(command(tmp_path / "my model")) == 1
    assert capsys.readouterr().err.startswith("error: --name 'my model' can't be used: ")
    assert list(tmp_path.iterdir()) == []


def test_figures_that_cannot_be_written_leave_the_bundle_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their folder may go while a run trains; the bundle has them too."""
    folder = tmp_path / "figures"
    folder.mkdir()
    evaluate = evaluation.evaluate

    def removing(*arguments: Any) -> Report:
        folder.rmdir()
        return evaluate(*arguments)

    monkeypatch.setattr(evaluation, "evaluate", removing)
    assert main(command(tmp_path / "model", "--json", str(folder / "figures.json"))) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'model'} is published" in said
    assert said.splitlines()[-1].startswith("error: ")
    assert bundle.load(tmp_path / "model").manifest.figures


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
