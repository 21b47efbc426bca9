"""Small real training runs for tests: on the shipped subset of Fashion-MNIST, two channels wide."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcgan_training import checkpoint
from dcgan_training.cli import main
from dcgan_training.config import Settings
from dcgan_training.data import digest_of, load, split
from dcgan_training.machine import Machine
from dcgan_training.networks import build_discriminator, build_generator, initialize
from dcgan_training.recipes import DEFAULT, named

SUBSET = Path(__file__).parent / "data" / "fashion-mnist-subset"
LABELS = SUBSET / "train-labels-idx1-ubyte.gz"
CPU = Machine(device="cpu", precision="float32", threads=1, processor="any", torch="any")


def settings(recipe: str = DEFAULT.name, **changes: Any) -> Settings:
    """Gives settings of a tiny run of a recipe; no data set has this digest."""
    facts = {"data": "data", "data_digest": "0" * 64, "data_count": 400, "size": 28, "channels": 1, "seed": 1}
    return Settings.of(named(recipe), **(facts | {"width": 2, "images": 1280} | changes))


def arguments(output: Path, *more: str, data: Path = SUBSET, images: int = 1280) -> list[str]:
    """Gives the command line of a tiny run; options in `more` come last and win."""
    tiny = ["--width", "2", "--seed", "1", "--threads", "1", "--device", "cpu", "--precision", "float32"]
    return ["train", "--data", str(data), "--output", str(output), "--images", str(images), *tiny, *more]


def trained(output: Path, *more: str, images: int = 1280) -> Path:
    """Trains a tiny run to its end in this process and gives its directory."""
    assert main(arguments(output, *more, images=images)) == 0
    return output


def untrained(directory: Path, *, images: int = 1280, **changes: Any) -> Path:
    """Writes what the loop leaves of a run on the subset, with drawn weights; a part of the images is held out."""
    data = load(SUBSET)
    parts = split(data.images)
    held_out = data.images[parts.held_out]
    facts = {"data": str(SUBSET), "data_digest": data.digest, "data_count": len(parts.train)}
    own = {"held_out_count": len(held_out), "held_out_digest": digest_of(held_out)}
    chosen = settings(**(facts | own | changes))
    networks = build_generator(chosen), build_discriminator(chosen)
    for network in networks:
        initialize(network, torch.Generator().manual_seed(images))
    directory.mkdir(parents=True)
    chosen.save(directory / "config.json")
    np.save(directory / "held_out.npy", held_out)
    state = {"images": images, "average": networks[0].state_dict(), "discriminator": networks[1].state_dict()}
    checkpoint.save(directory / "checkpoints", images, state)
    return directory


def started(command: list[str], *, file_limit_blocks: int | None = None) -> subprocess.Popen[str]:
    """Starts `dcgan-train` as a process of its own; no file of it may outgrow the limit, in blocks of 512 bytes."""
    limit = "unlimited" if file_limit_blocks is None else str(file_limit_blocks)
    return subprocess.Popen(
        ["sh", "-c", f'ulimit -f {limit}; exec "$0" -m dcgan_training "$@"', sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Reads what a process says until a line begins as awaited."""
    assert process.stderr is not None
    assert any(line.startswith(beginning) for line in process.stderr), f"it ended without saying {beginning!r}"


def kill(command: list[str], times: int, longest_s: float = 0.6) -> int:
    """Starts a training as often as it takes to end it, killing it at random instants of its first second at work.

    Returns:
        How often it was killed: fewer than `times` where it came to its end before.
    """
    random = np.random.default_rng(int.from_bytes(os.urandom(4)))
    kills = 0
    while kills < times:
        with started(command) as process:
            wait_for(process, "training ")
            try:
                process.wait(timeout=random.uniform(0.05, longest_s))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            else:
                break
    with started(command) as process:
        assert "complete after" in process.communicate()[1]
    return kills


def newest(directory: Path) -> dict[str, Any]:
    """Loads the newest checkpoint of a run."""
    state, warnings = checkpoint.load_newest(directory / "checkpoints")
    assert state is not None
    assert warnings == []
    return state


def same_weights(one: Path, other: Path) -> bool:
    """Says whether two runs ended with the same bits in both networks, both optimizers and the average."""
    pairs = zip(_tensors(newest(one)), _tensors(newest(other)), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value.values() for tensor in _tensors(part)] if isinstance(value, dict) else []


def deterministic(run: Path) -> list[dict[str, object]]:
    """Gives the history of a run without the one thing that time decides, its speed."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]
