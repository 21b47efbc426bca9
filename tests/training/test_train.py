import fcntl
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dcgan_training import checkpoint, history, label_classifier
from dcgan_training.cli import main
from dcgan_training.config import Settings
from dcgan_training.data import load
from runs import LABELS, SUBSET, arguments, deterministic, kill, newest, same_weights, started, trained, wait_for

LONG = 64_000  # images: some ten seconds, which no test waits for
UNMOVED = "--recipe", "mlp-digits", "--width", "8", "--set", "learning_rate=1e-8", "--on-alarm", "stop"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of 1,280 images that nothing interrupted."""
    return trained(tmp_path_factory.mktemp("runs") / "whole")


def error(output: Path, capsys: pytest.CaptureFixture[str], *more: str, data: Path = SUBSET, code: int = 1) -> str:
    """Gives the one line with which a training is refused, or ends."""
    assert main(arguments(output, *more, data=data)) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_a_run_directory_holds_config_checkpoint_samples_and_events(whole: Path) -> None:
    """What a person or a program looks for after training."""
    parts = {"checkpoints", "config.json", "events", "held_out.npy", "report.html", "samples"}
    assert {path.name for path in whole.iterdir()} == parts
    assert Settings.load(whole / "config.json").data_digest == load(SUBSET).digest
    assert newest(whole)["images"] == 1280


def test_the_grid_shows_100_samples(whole: Path) -> None:
    """Ten by ten images of 28 pixels with two between them, drawn from latents that never change."""
    with Image.open(whole / "samples" / "000000001280.png") as grid:
        assert grid.mode == "L"
        assert np.asarray(grid).std() > 0
        assert min(grid.size) >= 10 * 28 + 9 * 2


def test_the_report_of_a_complete_run_says_so(whole: Path) -> None:
    """Though its last reading was long before."""
    page = (whole / "report.html").read_text()
    assert "1,280 of 1,280 images" in page
    assert "Complete: no check of the samples yet" in page


def test_tensorboard_can_read_the_events(whole: Path) -> None:
    """The grid of the last checkpoint is among them."""
    events = EventAccumulator(str(whole / "events")).Reload()
    assert [event.step for event in events.Images("samples")] == [1280]


def test_a_run_that_nobody_listens_to_any_more_goes_on(tmp_path: Path) -> None:
    """A logger that died is no reason to lose a training."""
    with started(arguments(tmp_path / "run")) as process:
        wait_for(process, "training ")
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait() == 0
    assert newest(tmp_path / "run")["images"] == 1280


def test_losses_are_read_on_the_way(tmp_path: Path) -> None:
    """A reading every 10,000 images gives losses, beliefs and speed."""
    events = EventAccumulator(str(trained(tmp_path / "run", images=20_480) / "events")).Reload()
    for name in ("loss/discriminator", "loss/generator", "belief/real", "belief/fake", "images_per_second"):
        assert [event.step for event in events.Scalars(name)] == [10_112, 20_096]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_in_two_halves_ends_with_the_same_bits(tmp_path: Path, precision: str) -> None:
    """Nothing random is kept: order and latents follow from seed and images seen."""
    one = trained(tmp_path / "one", "--precision", precision)
    two = trained(tmp_path / "two", "--precision", precision, images=640)
    assert newest(two)["images"] == 640
    trained(two, "--precision", precision)
    assert same_weights(one, two)


def test_when_to_save_changes_no_weight(tmp_path: Path, whole: Path) -> None:
    """Calibrating, sampling and saving leave the state alone."""
    assert same_weights(whole, trained(tmp_path / "run", "--save-every", "300"))


def test_another_seed_gives_other_weights(tmp_path: Path, whole: Path) -> None:
    """Or the tests above would prove nothing."""
    assert not same_weights(whole, trained(tmp_path / "run", "--seed", "2"))


@pytest.mark.parametrize(
    ("more", "images"), [((), 12_800), (("--recipe", "mlp-digits", "--width", "8"), 60_800)], ids=["saves", "checks"]
)
def test_a_run_killed_three_times_ends_with_the_same_bits(tmp_path: Path, more: tuple[str, ...], images: int) -> None:
    """SIGKILL at whatever instant, in a step or a save, and of the fastest recipe in a check: the same command again
    continues.

    `tests/faults/killed_training.py` does it ten times, to the default recipe with checks.
    """
    whole = tmp_path / "whole"
    assert kill(arguments(whole, *more, images=images), times=0) == 0
    assert kill(arguments(tmp_path / "killed", *more, "--save-every", "2000", images=images), times=3) > 0
    assert same_weights(whole, tmp_path / "killed")
    assert deterministic(whole) == deterministic(tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_continue(tmp_path: Path, number: signal.Signals) -> None:
    """The step is finished, the state saved, the exit code the shell's for that signal."""
    command = arguments(tmp_path / "run", images=LONG)
    with started(command) as process:
        wait_for(process, "10,112 of 64,000 images")
        process.send_signal(number)
        last = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 128 + number
    images = newest(tmp_path / "run")["images"]
    assert 10_112 <= images < LONG
    assert last == f"stopped after {images:,} images; the same command continues from there"


def test_a_complete_run_stays_as_it_is(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command once more neither trains nor writes a checkpoint."""
    before = sorted((whole / "checkpoints").iterdir())
    assert main(arguments(whole)) == 0
    assert "complete after 1,280 images" in capsys.readouterr().err
    assert sorted((whole / "checkpoints").iterdir()) == before


def test_other_settings_are_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run isn't continued with another width or other data by mistake."""
    assert "holds a run with width 2, but this command says 3" in error(whole, capsys, "--width", "3")
    assert "holds a run with size 28, but this command says 32" in error(whole, capsys, "--size", "32")


def test_another_machine_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Continuing with another number format works, but not bit for bit."""
    run = trained(tmp_path / "run", images=640)
    trained(run, "--precision", "bfloat16")
    assert "warning: not the same machine" in capsys.readouterr().err
    assert newest(run)["machine"]["precision"] == "bfloat16"


def test_a_checkpoint_that_does_not_say_how_many_processes_made_it_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those from before this was recorded; there is nothing to warn about."""
    run = trained(tmp_path / "run", images=640)
    old = newest(run)
    assert old["machine"].pop("processes") == 1
    next((run / "checkpoints").iterdir()).unlink()
    checkpoint.save(run / "checkpoints", 640, old)
    trained(run)
    assert "warning" not in capsys.readouterr().err


def test_a_folder_with_other_things_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody's files are mixed with a run's."""
    (tmp_path / "thesis.txt").write_text("x")
    assert "holds other files" in error(tmp_path, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_start_that_was_killed_at_once_is_no_hindrance(tmp_path: Path) -> None:
    """Its half-written config is nobody's file."""
    (tmp_path / ".config.json.partial").write_text("{")
    trained(tmp_path, images=128)


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where a directory must go."""
    (tmp_path / "file").write_text("x")
    assert f"{tmp_path / 'file'}" in error(tmp_path / "file" / "run", capsys)


def test_two_processes_cannot_train_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would overwrite each other's checkpoints."""
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert "another process trains there" in error(tmp_path, capsys)
    os.close(lock)
    trained(tmp_path, images=128)


@pytest.mark.parametrize(("network", "images"), [("generator", 1280), ("discriminator", 10112)])
def test_numbers_that_are_none_stop_the_run(
    network: str, images: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An absurd step diverges; the last good checkpoint is named, nothing is written over it, and it ends as by alarm.

    The generator's weights are seen when they are to be saved, losses when they are read: then the report says so too.
    """
    run = trained(tmp_path / "run", images=640)
    wild = newest(run)
    for moments in wild[f"{network}_optimizer"]["state"].values():
        moments["exp_avg"].fill_(1e34)
    next((run / "checkpoints").iterdir()).unlink()
    good = checkpoint.save(run / "checkpoints", 640, wild)
    line = error(run, capsys, "--on-alarm", "warn", "--images", str(images), code=3)
    assert f"no longer finite after {images} images" in line
    assert line.endswith(f"the last good checkpoint is {good}")
    assert list((run / "checkpoints").iterdir()) == [good]
    read = network == "discriminator"
    alarms = [record.what.kind for record in history.read(run) if isinstance(record.what, history.Alarm)]
    assert alarms == ["diverged"] * read
    assert ("The run has diverged" in (run / "report.html").read_text()) == read


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, whole: Path) -> None:
    """The file that didn't fit is removed; one line names what stays, and with room again the run continues."""
    run = trained(tmp_path / "run", images=640)
    (good,) = (run / "checkpoints").iterdir()
    with started(arguments(run), file_limit_blocks=400) as process:
        lines = process.communicate()[1].splitlines()
    assert process.returncode == 1
    assert lines[-1].startswith("error: ")
    assert lines[-1].endswith(f"the last good checkpoint is {good}")
    assert not any("Traceback" in line for line in lines)
    assert list((run / "checkpoints").iterdir()) == [good]
    assert same_weights(trained(run), whole)


def test_few_images_bring_the_advice_to_vary_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever didn't inspect the data hears it here, unless they are varied already."""
    assert main(arguments(tmp_path / "plain", images=128)) == 0
    assert "note: 200 images are few; --recipe scarce" in capsys.readouterr().err
    assert main(arguments(tmp_path / "varied", "--recipe", "scarce", images=128)) == 0
    assert "are few" not in capsys.readouterr().err


def test_hours_end_a_run_as_images_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seconds of training are complete; the same command again finds them spent, and with more of them goes on."""
    command = arguments(tmp_path / "run", images=LONG * 100)
    assert main([*command, "--hours", str(1 / 1800)]) == 0
    images = newest(tmp_path / "run")["images"]
    assert f"complete after {images:,} images" in capsys.readouterr().err
    assert "Complete" in (tmp_path / "run" / "report.html").read_text()
    assert 0 < images < LONG * 100
    assert main([*command, "--hours", str(1 / 1800)]) == 0
    assert newest(tmp_path / "run")["images"] == images
    assert main([*command, "--hours", str(1 / 1200)]) == 0
    assert newest(tmp_path / "run")["images"] > images


def test_an_alarm_stops_a_run_until_its_owner_says_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that never move: exit code 3, the state saved; the same command trains no further, only another does."""
    command = arguments(tmp_path / "run", *UNMOVED, images=100_000)
    assert main(command) == 3
    said = capsys.readouterr().err
    assert "alarm after 50,048 images: the run never moved" in said
    assert said.splitlines()[-1].startswith("stopped by the watch after 50,048 images: never-moved; ")
    assert main(command) == 3
    again = capsys.readouterr().err
    assert "an alarm is on: the run never moved" in again
    assert again.splitlines()[-1] == said.splitlines()[-1]
    assert "--on-alarm warn" in again.splitlines()[-1]
    assert newest(tmp_path / "run")["images"] == 50_048
    assert main([*command, "--on-alarm", "warn"]) == 0
    assert newest(tmp_path / "run")["images"] >= 100_000
    assert main(command) == 3


def test_an_alarm_in_the_last_step_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All images were shown, and yet the run didn't end well."""
    command = arguments(tmp_path / "run", *UNMOVED, images=50_000)
    assert main(command) == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped by the watch after 50,048 images")
    assert main([*command, "--on-alarm", "warn"]) == 0


def test_the_best_checkpoint_stays(tmp_path: Path) -> None:
    """Apart from the newest ones, and the history says which it was."""
    run = trained(tmp_path / "run", "--recipe", "mlp-digits", "--width", "8", "--save-every", "20000", images=120_000)
    checks = [line for line in deterministic(run) if "check" in line]
    best = min(checks, key=lambda line: line["check"]["frechet_distance"])  # type: ignore[index]
    (kept,) = (run / "best").iterdir()
    assert kept.name.startswith(f"{best['images']:012d}-")


def test_labels_let_the_watch_measure_by_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other distances, but the same weights and diversity; the report says which, and half a run goes on with it."""
    monkeypatch.setattr(label_classifier, "_SHOWN", 2_000)
    small, labels = ["--recipe", "mlp-digits", "--width", "8"], ["--labels", str(LABELS)]
    plain = trained(tmp_path / "plain", *small, images=100_000)
    labelled = trained(tmp_path / "labelled", *small, *labels, images=100_000)
    halved = trained(tmp_path / "halved", *small, *labels, images=60_000)
    monkeypatch.setattr(label_classifier, "_SHOWN", 1)  # what was learned is kept
    trained(halved, *small, *labels, images=100_000)
    assert deterministic(halved) == deterministic(labelled)
    assert same_weights(labelled, plain)
    random, classified = (
        [line["check"] for line in deterministic(run) if "check" in line] for run in (plain, labelled)
    )
    for one, other in zip(random, classified, strict=True):
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        assert one["diversity"] == other["diversity"]
        assert one["frechet_distance"] != other["frechet_distance"]
        assert one["real_variance"] != other["real_variance"]
    reports = [(run / "report.html").read_text() for run in (plain, labelled)]
    assert [("a classifier of the data" in page, "random network" in page) for page in reports] == [
        (False, True),
        (True, False),
    ]


def test_a_checkpoint_of_other_networks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one from before the layers of a recipe changed; neither does an export take it."""
    run = trained(tmp_path / "run", images=128)
    state, _ = checkpoint.load_newest(run / "checkpoints")
    assert state is not None
    del state["discriminator"]["convolutions.1.weight"]
    checkpoint.save(run / "checkpoints", 256, state)
    told = "the checkpoint's discriminator has other layers than these settings have in this version"
    assert told in error(run, capsys)
    assert main(["export", str(run), "--output", str(tmp_path / "bundle")]) == 1
    assert told in capsys.readouterr().err


def test_labels_that_are_not_there_are_missed_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of images would be decoded into the run first."""
    assert error(tmp_path / "run", capsys, "--labels", str(tmp_path / "no.csv")).endswith("no.csv: does not exist")
    assert list(tmp_path.iterdir()) == []


def test_lost_checkpoints_are_told_instead_of_beginning_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The history and the best checkpoint of what is gone would else be taken for the new run's."""
    run = trained(tmp_path / "run", images=128)
    (file,) = (run / "checkpoints").iterdir()
    file.rename(tmp_path / file.name)
    (run / "checkpoints" / "2026-copy.pt").write_bytes(b"somebody's")
    assert "its checkpoints are gone from checkpoints/; put them back" in error(run, capsys)
    (tmp_path / file.name).rename(file)
    trained(run, images=256)


def test_a_run_within_its_folder_of_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own grids would be taken for data as soon as it is continued; beside an idx file it may be."""
    data = tmp_path / "data"
    data.mkdir()
    for number, image in enumerate(load(SUBSET).images[:30, :, :, 0]):
        Image.fromarray(image).save(data / f"{number}.png")
    assert "is in the folder of --data; choose a directory outside" in error(data / "run", capsys, data=data)
    assert not (data / "run").exists()
    shutil.copytree(SUBSET, tmp_path / "idx")
    assert main(arguments(tmp_path / "idx/run", data=tmp_path / "idx", images=128)) == 0


def test_a_folder_whose_name_is_no_utf8_can_be_trained_on_and_exported(tmp_path: Path) -> None:
    """The report and the card have a sign for what they can't write."""
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(SUBSET, data)
    assert main(arguments(tmp_path / "run", data=data, images=128)) == 0
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "bundle"), "--note", "\udce9"]) == 0
    assert main(["inspect", str(data), "--no-speed"]) == 0


def test_a_run_with_labels_is_continued_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of one run are in the same features; labels of other images and a damaged classifier are refused."""
    other = tmp_path / "other.csv"
    other.write_text("class\n" + "a\nb\n" * 200)
    few = tmp_path / "few.csv"
    few.write_text("class\na\n")
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_classifier, "_SHOWN", 128)
        trained(run, "--labels", str(other), images=128)
    assert "has 1 rows for 400 images" in error(run, capsys, "--labels", str(few))
    assert "holds a run with --labels of sha256 " in error(run, capsys, "--labels", str(LABELS))
    assert "but this command says none; choose" in error(run, capsys)
    (run / "classifier.pt").write_bytes(b"none")
    assert "classifier.pt: holds no classifier of these labels; delete it" in error(run, capsys, "--labels", str(other))


def test_a_refused_command_leaves_what_the_run_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other data under the same --output: the run can still be exported with its own images."""
    run = trained(tmp_path / "run", images=128)
    before = (run / "held_out.npy").read_bytes()
    other = tmp_path / "other.npy"
    np.save(other, load(SUBSET).images[:300])
    assert "holds a run with" in error(run, capsys, data=other)
    assert (run / "held_out.npy").read_bytes() == before
