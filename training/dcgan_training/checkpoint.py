"""Checkpoints: a run's whole state in one file, written so that a kill at any instant loses nothing older.

A file is named `IMAGES-DIGEST.pt`: the images seen so far, and the start of the sha256 of its bytes, so that a
damaged file is recognised without a second file beside it. It is written under another name, flushed to the disk and
renamed; a bounded number stays. Only tensors and plain values are stored and only such are loaded.
"""

import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from dcgan_training.errors import DivergedError, RunError
from dcgan_training.files import write_atomically

KEEP: Final = 3  # the newest, and two to fall back on
_DIGEST_LETTERS: Final = 16
_NAME: Final = re.compile(rf"[0-9]{{12}}-[0-9a-f]{{{_DIGEST_LETTERS}}}\.pt")


def save(directory: Path, images: int, state: Mapping[str, Any], keep: int = KEEP) -> Path:
    """Writes a checkpoint and deletes those that are too old: all but this one and the newest, `keep` in all.

    Raises:
        DivergedError: a tensor of the state holds NaN or infinity; nothing is written.
        OSError: the file can't be written; what was written of it is removed and older ones stay.
    """
    if not _finite(state):
        raise DivergedError(f"the weights are no longer finite after {images} images; {last_good(directory)}")
    content = io.BytesIO()
    torch.save(state, content)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()[:_DIGEST_LETTERS]
    file = directory / f"{images:012d}-{digest}.pt"
    directory.mkdir(exist_ok=True)
    write_atomically(file, content.getbuffer())
    others = [other for other in _newest_first(directory) if other != file]
    for old in [*others[keep - 1 :], *directory.glob(".*.partial")]:  # the latter of killed processes
        old.unlink(missing_ok=True)
    return file


def load_newest(directory: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Loads the newest checkpoint that is whole; damaged ones are passed over.

    Returns:
        The state as saved, tensors on the CPU, or None if there is no checkpoint at all; and a warning for each
        damaged file that was passed over.

    Raises:
        RunError: there are checkpoints but none is whole.
    """
    warnings: list[str] = []
    for file in _newest_first(directory):
        state = _load(file)
        if state is not None:
            return state, warnings
        warnings.append(f"warning: {file} is damaged and was passed over")
    if warnings:
        raise RunError(f"{directory}: every checkpoint is damaged; remove the run's directory to start it again")
    return None, warnings


def fill(part: nn.Module | torch.optim.Optimizer, state: Mapping[str, Any], name: str) -> None:
    """Gives a network its weights, or an optimizer its moments: what a state has under `name`.

    Raises:
        RunError: they are of other layers: a version of this package that builds them differently wrote them.
    """
    try:
        part.load_state_dict(state[name])
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint's {name} has other layers than these settings have in this version of dcgan-train; use "
            "the version that wrote it, or train anew in another directory"
        ) from error


def images_shown(directory: Path) -> int:
    """Gives the images seen by the newest checkpoint, whole or damaged; 0 where there is none."""
    newest = next(iter(_newest_first(directory)), None)
    return 0 if newest is None else int(newest.stem.split("-")[0])


def last_good(directory: Path) -> str:
    """Names the newest checkpoint that is whole, for a message."""
    good = next((file for file in _newest_first(directory) if _whole(file)), None)
    return f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"


def _newest_first(directory: Path) -> list[Path]:
    return sorted((file for file in directory.glob("*.pt") if _NAME.fullmatch(file.name)), reverse=True)


def _load(file: Path) -> dict[str, Any] | None:
    if not _whole(file):
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError):
        return None
    return state


def _whole(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return False
    return file.stem.endswith(f"-{digest[:_DIGEST_LETTERS]}")


def _finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, Mapping):
        return all(_finite(part) for part in value.values())
    return True
