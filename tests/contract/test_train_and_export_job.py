"""The Job of deploy/kubernetes, by its very command: it trains, publishes, and a running server takes the version up.

Only scale and places are changed: what the command says again, later, wins.
"""

import time
from pathlib import Path
from typing import Any

import yaml

import dcgan
from bundles import write_bundle
from dcgan import bundle
from dcgan_training import checkpoint
from processes import serve
from runs import SUBSET, started, wait_for

JOBS = Path(__file__).parents[2] / "deploy/kubernetes/jobs"
JOB = yaml.safe_load((JOBS / "single/job.yaml").read_text())
SCALE = "--width=2", "--images=2560", "--threads=1", "--samples=100", "--save-every=256"
BELOW_THE_BAR = 4


def container(job: dict[str, Any]) -> dict[str, Any]:
    """The one container of a Job."""
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def command(volumes: Path, version: int, *more: str) -> list[str]:
    """The Job's arguments for `dcgan-train`, on volumes that lie in a folder, with the shipped subset as its data."""
    program, *arguments = (word.replace("$(VERSION)", str(version)) for word in container(JOB)["command"])
    assert program == "dcgan-train"
    for mount in ("/training/data/fashion-mnist", "/training", "/models"):
        place = SUBSET if mount.endswith("fashion-mnist") else volumes / mount[1:]
        arguments = [word.replace(f"={mount}", f"={place}") for word in arguments]
    return [*arguments, *SCALE, *more]


def without_bar(arguments: list[str]) -> list[str]:
    """Leaves out what a model has to be worth, which no training of a second is."""
    return [word for word in arguments if not word.startswith("--require")]


def ended(arguments: list[str]) -> tuple[int, str]:
    """Runs `dcgan-train` to its end; gives its exit code and what it said."""
    with started(arguments) as process:
        said = process.communicate(timeout=120)[1]
        return process.returncode, said


def test_the_job_publishes_what_a_running_server_takes_up(tmp_path: Path) -> None:
    """Killed in the middle and started again, it goes on; a server that serves version 1 goes over to version 2."""
    models, arguments = tmp_path / "models/fashion", without_bar(command(tmp_path, 2))
    write_bundle(models / "1", changes={"name": "fashion"})
    with serve(models) as serving, dcgan.connect(serving.target) as client:
        assert client.model().identity.version == "1"
        with started(arguments) as process:
            wait_for(process, "training ")
            while not checkpoint.images_shown(tmp_path / "training/runs/fashion-2/checkpoints"):
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        assert process.returncode == -9
        assert [path.name for path in models.iterdir()] == ["1"]
        code, said = ended(arguments)
        assert code == 0, said
        assert "continuing after " in said
        assert bundle.load(models / "2").manifest.figures
        until = time.monotonic() + 30
        while client.model().identity.version == "1" and time.monotonic() < until:
            time.sleep(0.1)
        model = client.model()
        assert (model.identity.name, model.identity.version, model.training.images_seen) == ("fashion", "2", 2560)
        assert client.sample(3, seed=7).images.shape == (3, 28, 28, 1)


def test_a_model_below_the_job_s_bar_is_not_published(tmp_path: Path) -> None:
    """By the very bar that the Job has; the exit code is one that the Job doesn't try again."""
    code, said = ended(command(tmp_path, 1))
    assert code == BELOW_THE_BAR, said
    assert "below the bar: fd<100 isn't met" in said
    assert list((tmp_path / "models/fashion").iterdir()) == []
    rules = JOB["spec"]["podFailurePolicy"]["rules"]
    final = {code for rule in rules if rule["action"] == "FailJob" for code in rule["onExitCodes"]["values"]}
    assert final == {
        2,
        3,
        BELOW_THE_BAR,
    }  # wrong command line, watch, bar; the rest is tried again
