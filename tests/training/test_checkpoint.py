import hashlib
import os
from pathlib import Path

import pytest
import torch

from dcgan_training import checkpoint
from dcgan_training.errors import DivergedError, RunError


def state(number: int) -> dict[str, object]:
    """A small state that can be told from others."""
    return {"images": number, "network": {"weight": torch.full((100,), float(number))}}


def test_the_newest_checkpoint_is_loaded(tmp_path: Path) -> None:
    """Newest by images seen, whatever the clock said."""
    for number in (2, 1000, 30):
        checkpoint.save(tmp_path, number, state(number))
    loaded, warnings = checkpoint.load_newest(tmp_path)
    assert loaded is not None
    assert loaded["images"] == 1000
    assert warnings == []


def test_a_bounded_number_is_kept(tmp_path: Path) -> None:
    """A long run doesn't fill the disk."""
    for number in range(10):
        checkpoint.save(tmp_path, number, state(number))
    assert sorted(file.name[:12] for file in tmp_path.iterdir()) == [f"{number:012d}" for number in (7, 8, 9)]


def test_without_checkpoints_there_is_none(tmp_path: Path) -> None:
    """A new run begins at the beginning."""
    assert checkpoint.load_newest(tmp_path / "checkpoints") == (None, [])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    """The one before it is taken, and the reader is told."""
    checkpoint.save(tmp_path, 1, state(1))
    file = checkpoint.save(tmp_path, 2, state(2))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"cut": bytes(content[:-100]), "flip": bytes(content), "empty": b""}[damage])
    loaded, warnings = checkpoint.load_newest(tmp_path)
    assert loaded is not None
    assert loaded["images"] == 1
    assert warnings == [f"warning: {file} is damaged and was passed over"]
    assert checkpoint.last_good(tmp_path).startswith(f"the last good checkpoint is {tmp_path / '000000000001-'}")


def test_damaged_checkpoints_alone_are_an_error(tmp_path: Path) -> None:
    """Starting again in silence would throw hours away."""
    checkpoint.save(tmp_path, 1, state(1)).write_bytes(b"")
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        checkpoint.load_newest(tmp_path)


def test_a_checkpoint_with_code_inside_is_never_run(tmp_path: Path) -> None:
    """Only tensors and plain values are loaded: a pickle that calls something is a damaged file."""
    content = tmp_path / "content"
    torch.save({"images": 1, "call": Trap(tmp_path / "sprung")}, content)
    digest = hashlib.sha256(content.read_bytes()).hexdigest()[:16]
    content.rename(tmp_path / f"000000000001-{digest}.pt")
    with pytest.raises(RunError, match="damaged"):
        checkpoint.load_newest(tmp_path)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Unpickles by making a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_what_was_just_written_stays(tmp_path: Path) -> None:
    """Also beside a file of more images, which a run left that went on from an older checkpoint."""
    checkpoint.save(tmp_path, 9, state(9), keep=1)
    file = checkpoint.save(tmp_path, 5, state(5), keep=1)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_is_never_written(tmp_path: Path, poison: float) -> None:
    """Or the run would be lost for good; the message names the last good checkpoint."""
    good = checkpoint.save(tmp_path, 1, state(1))
    poisoned = {"images": 2, "network": {"weight": torch.tensor([1.0, poison])}}
    with pytest.raises(DivergedError, match=f"the last good checkpoint is {good}"):
        checkpoint.save(tmp_path, 2, poisoned)
    assert list(tmp_path.iterdir()) == [good]


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path: Path) -> None:
    """A partial file has a name of its own, is never looked at, and is gone after the next checkpoint."""
    checkpoint.save(tmp_path, 1, state(1))
    partial = tmp_path / ".000000000002-0123456789abcdef.pt.partial"
    partial.write_bytes(b"half")
    loaded, warnings = checkpoint.load_newest(tmp_path)
    assert loaded is not None
    assert loaded["images"] == 1
    assert warnings == []
    checkpoint.save(tmp_path, 3, state(3))
    assert not partial.exists()
