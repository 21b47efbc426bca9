import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dcgan_training.cli import main
from pictures import RANDOM, folder, png
from runs import SUBSET, arguments


def usage(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Gives what a wrong command line is answered with; its exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        main(list(command))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("recipe", "lines", "counts"),
    [
        ("mlp-digits", ["linear, LeakyReLU 0.01 (n, width)", "linear, tanh "], ["114,064", "100,609"]),
        ("keras-digits", ["convolution 5x5, sigmoid ", "Images in [0, 1] to a logit"], ["792,289", "36,513"]),
        ("dcgan", ["transposed convolution 4x4 stride 2, tanh ", "LeakyReLU 0.2 "], ["3,576,707"]),
        ("strong", ["bilinear upsampling", "residual block: x + convolution 3x3"], ["1,631,811"]),
    ],
)
def test_a_recipe_is_shown_with_its_layers(
    recipe: str, lines: list[str], counts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Activations and strides from the networks' own words, then every tensor and the totals."""
    assert main(["recipes", recipe]) == 0
    said = capsys.readouterr().out
    for fact in [*lines, *counts]:
        assert fact in said
    assert "Args:" not in said


def test_a_misspelt_recipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It suggests the nearest, lists them all, and nothing was written."""
    assert main(arguments(tmp_path / "run", "--recipe", "dgcan")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: no recipe is called 'dgcan'; did you mean 'dcgan'? recipes: dcgan, keras-digits")
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "more", "said"),
    [
        ((28, 28, 3), [], "these are 28x28x3; give it grey images, or"),
        ((28, 28, 3), ["--size", "28"], "these are 28x28x3; give it grey images, or"),
        ((14, 14, 1), [], "these are 14x14x1; say --size 28, or"),
        ((28, 28, 1), ["--size", "32"], "these are 32x32x1; say --size 28, or"),
        ((30, 40, 1), [], "its images are 40x30; say --size with one of"),
    ],
)
def test_images_of_a_shape_that_the_recipe_is_not_for_are_refused_by_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, int, int], more: list[str], said: str
) -> None:
    """Before all others are decoded, among which a broken one would be found."""
    data = folder(tmp_path / "data", RANDOM.integers(0, 256, (2, *shape), dtype=np.uint8))
    (data / "z.png").write_text("404")
    assert main(arguments(tmp_path / "run", "--recipe", "mlp-digits", *more, data=data)) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_colour_that_comes_late_is_refused_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first image is grey, and so passes."""
    data = folder(tmp_path / "data", RANDOM.integers(0, 256, (2, 28, 28, 1), dtype=np.uint8))
    (data / "z.png").write_bytes(png(RANDOM.integers(0, 256, (28, 28, 3), dtype=np.uint8)))
    assert main(arguments(tmp_path / "run", "--recipe", "mlp-digits", data=data)) == 1
    assert "these are 28x28x3; give it grey images" in capsys.readouterr().err


def test_data_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And no run directory is begun."""
    assert main(arguments(tmp_path / "run", data=tmp_path / "nowhere")) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: does not exist\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--images", "0", "allowed: 1 or more"),
        ("--images", "many", "allowed: 1 or more"),
        ("--width", "1025", "allowed: 1 to 1024"),
        ("--hours", "0", "allowed: above 0"),
        ("--seed", "-1", "allowed: 0 to 18446744073709551615"),
        ("--size", "30", "choose from 8, 14, 16, 28"),
        ("--device", "tpu", "choose from"),
    ],
)
def test_values_out_of_range_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, allowed: str
) -> None:
    """The message names the option, the value and what is allowed."""
    line = usage(capsys, *arguments(tmp_path / "run", option, value))
    assert option in line
    assert value in line
    assert allowed in line.replace("'", "")


@pytest.mark.parametrize("command", [[], ["trian"], ["train"], ["fetch", "imagenet"], ["export"]])
def test_wrong_command_lines_exit_with_2(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """As shells and pipelines expect."""
    assert "error" in usage(capsys, *command)


@pytest.mark.parametrize(
    "command",
    [
        ["export", "RUN", "--random", "--output", "b"],
        ["export", "RUN", "--width", "8", "--seed", "0", "--output", "b"],
        ["export", "RUN", "--output", "x" * 300],
        ["evaluate", "x" * 300, "--data", str(SUBSET)],
        ["train", "--data", str(SUBSET), "--output", "run", "--init-from", "x" * 300],
        ["stack", str(SUBSET), "--output", "x" * 300 + ".npy"],
        ["train", "--data", "LOOP", "--output", "run"],
        ["train", "--data", str(SUBSET), "--output", "LOOP"],
        ["run", "--data", str(SUBSET), "--output", "LOOP/model"],
    ],
)
def test_what_can_not_be_is_one_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two commands at once, or of a path that the system doesn't take."""
    monkeypatch.chdir(tmp_path)
    Path("LOOP").symlink_to("LOOP")
    with suppress(SystemExit):
        assert main(command) == 1
    assert capsys.readouterr().err.splitlines()[-1].split(": ")[0] in ("error", "dcgan-train export")


def test_the_largest_seed_is_a_seed(tmp_path: Path) -> None:
    """All of uint64, as in the service."""
    assert main(arguments(tmp_path / "run", "--seed", str(2**64 - 1), images=128)) == 0


def test_every_option_says_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Except those that are required."""
    for command in ("train", "export", "fetch"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        options = capsys.readouterr().out.split("options:")[1].split("\n  --")[1:]
        silent = [text.split()[0] for text in options if "default:" not in " ".join(text.split())]
        assert set(silent) <= {"data", "output"}


def test_help_and_mistakes_import_no_torch() -> None:
    """They answer at once."""
    arguments = ["train", "--recipe", "x", "--data", "x", "--output", "x"]
    code = f"import sys; from dcgan_training import cli; cli.main({arguments}); print('torch' in sys.modules)"
    quick = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert quick.stdout.decode().strip() == "False"
