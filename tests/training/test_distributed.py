import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dcgan import bundle
from dcgan_training.cli import main
from runs import arguments, newest, same_weights, wait_for

STEPS = Path(__file__).with_name("steps.py")
LONG = 64_000_000  # images, which no test waits for


def torchrun(processes: int, *command: str) -> str:
    """Runs a Python program in so many processes, sees that all end well, and gives what they said."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return python(*launch, *command)


def python(*command: str) -> str:
    """Runs a Python program, sees that it ends well, and gives what it said."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@contextmanager
def pair(*command: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts `dcgan-train` in two processes as torchrun does, but so that what becomes of one is nobody's business."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dcgan_training", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Waits for processes; gives the exit code of each and what it said since it was last listened to."""
    said = [process.communicate(timeout=100) for process in processes]
    return [(process.returncode, err) for process, (_, err) in zip(processes, said, strict=True)]


@pytest.mark.parametrize(
    ("dtype", "settings", "of_gradients", "of_losses"),
    [
        ("float64", (), 1e-12, 1e-6),
        ("float64", ("minibatch_kernels=4", "augment=all"), 1e-5, 1e-2),
        ("float32", (), 1e-2, 1e-3),
    ],
    ids=["plain", "minibatch", "float32"],
)
def test_two_processes_take_the_steps_of_one(
    tmp_path: Path, dtype: str, settings: tuple[str, ...], of_gradients: float, of_losses: float
) -> None:
    """The first gradients, beside the largest one of their layer, and the losses of 20 steps; the gap, a difference
    of logits, beside its size where that is above 1.

    Losses, and the distances of minibatch discrimination, are float32 all the same, and what their rounding does
    grows with each step. Where the networks are float32 too, one ReLU in a million tips over its kink by rounding.
    """
    python(str(STEPS), str(tmp_path / "one.pt"), dtype, *settings)
    torchrun(2, str(STEPS), str(tmp_path / "two.pt"), dtype, *settings)
    one, two = (torch.load(tmp_path / f"{count}.pt") for count in ("one", "two"))
    for ours, theirs in zip(one["gradients"], two["gradients"], strict=True):
        assert (ours - theirs).abs().max() <= of_gradients * ours.abs().max()
    apart = (one["losses"] - two["losses"]).abs()
    assert apart[:, :2].max() < of_losses
    assert (apart[:, 2] / one["losses"][:, 2].abs().clamp(min=1)).max() < of_losses
    assert one["losses"].std(0).min() > 0.01  # or they would agree by standing still


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Half of it in one process, the rest in two, and the other way round: the same data, nearly the same weights.

    Nearly is warned about, as another number of threads is.
    """
    runs = tmp_path / "one", tmp_path / "widened", tmp_path / "narrowed"
    for output, first, second in zip(runs, (1, 1, 2), (1, 2, 1), strict=True):
        for processes, images in ((first, 640), (second, 1280)):
            command = arguments(output, images=images)
            if processes > 1:
                sys.stderr.write(torchrun(processes, "-m", "dcgan_training", *command))
            else:
                assert main(command) == 0
        said = capfd.readouterr().err
        assert ("not bit for bit the same run" in said) == (first != second)
        assert first == second or f"processes {first} before, {second} now" in said
    whole = newest(runs[0])
    for other in runs[1:]:
        state = newest(other)
        assert state["images"] == whole["images"] == 1280
        for name, weights in whole["average"].items():
            assert torch.allclose(weights.float(), state["average"][name].float(), atol=2e-3), name
        assert not same_weights(runs[0], other)  # sums in another order: the comparison sees it


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path: Path) -> None:
    """Before anything is trained; the message says which numbers don't go together."""
    with pytest.raises(AssertionError, match="batch_size 127 is no multiple of the 2 processes"):
        torchrun(2, str(STEPS), str(tmp_path / "x.pt"), "float32", "batch_size=127")


def test_images_that_are_judged_together_stay_in_one_process(tmp_path: Path) -> None:
    """Of 126 images each of two processes would get 63, in packs of 2; refused before there is anything of a run."""
    command = arguments(tmp_path / "run", "--recipe", "packed", "--set", "batch_size=126")
    with pair(*command) as processes:
        ended = ends(processes)
    for code, said in ended:
        assert code == 1
        assert said.splitlines()[-1] == (
            "error: batch_size 126 is no multiple of the 2 processes times packing 2; say --set batch_size=128, or "
            "start another number of processes"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_notices_at_once_that_another_one_is_dead(killed: int, tmp_path: Path) -> None:
    """Long before it would give up waiting for one that is only silent; torchrun isn't there to end it."""
    with pair(*arguments(tmp_path / "run", images=LONG)) as processes:
        wait_for(processes[0], "training ")
        processes[killed].kill()
        code, said = ends([processes[1 - killed]])[0]
    assert code == 1
    assert said.splitlines()[-1].startswith("error: another process of this run has ended")


def test_a_signal_to_one_process_stops_all_with_one_answer(tmp_path: Path) -> None:
    """The first one says so, once, though it was another one that got it."""
    with pair(*arguments(tmp_path / "run", images=LONG)) as processes:
        wait_for(processes[0], "training ")
        processes[1].terminate()
        (code, said), (other_code, nothing) = ends(processes)
    assert code == other_code == 128 + signal.SIGTERM
    assert said.splitlines()[-1].startswith("stopped after ")
    assert nothing == ""


def test_an_alarm_stops_all_processes_with_one_answer(tmp_path: Path) -> None:
    """Only the first one watches, and none takes the run for complete, though it was the last step."""
    unmoved = "--recipe", "mlp-digits", "--width", "8", "--set", "learning_rate=1e-8", "--set", "batch_size=2500"
    with pair(*arguments(tmp_path / "run", *unmoved, "--on-alarm", "stop", images=50_000)) as processes:
        (code, said), (other_code, nothing) = ends(processes)
    assert code == other_code == 3
    assert said.splitlines()[-1].startswith("stopped by the watch after 50,000 images: never-moved")
    assert nothing == ""


def test_several_processes_publish_one_bundle(tmp_path: Path) -> None:
    """The first one measures and publishes while the others wait; all end with its exit code, above the bar or not."""
    tiny = arguments(tmp_path / "model", "--samples", "100", images=256)[1:]
    with pair("run", *tiny, "--require", "fd<0") as processes:
        (code, said), (other_code, nothing) = ends(processes)
    assert code == other_code == 4
    assert "below the bar: fd<0 isn't met" in said
    assert nothing == ""
    with pair("run", *tiny, "--require", "fd>0") as processes:
        (code, said), (other_code, nothing) = ends(processes)
    assert code == other_code == 0
    assert nothing == ""
    assert bundle.load(tmp_path / "model").manifest.figures["frechet_distance/random-conv-1"] > 0


def test_an_error_while_publishing_ends_all_processes(tmp_path: Path) -> None:
    """The first one says what it is; the others don't wait for ever, nor end well. Here a file is in the way."""
    (tmp_path / ".model.candidate").touch()
    with pair("run", *arguments(tmp_path / "model", "--samples", "100", images=256)[1:]) as processes:
        (code, said), (other_code, nothing) = ends(processes)
    assert code == other_code == 1
    hidden = tmp_path / ".model.candidate"
    why = f"{hidden} is no directory that this user may write to"
    assert said.splitlines()[-1] == f"error: {hidden / 'model'} can't be written: {why}"
    assert nothing == ""
