"""The commands that ask a server: sample, interpolate, arithmetic, encode, score, model.

The larger ones have modules of their own, `sampling` with `bulk`, and `sums`. What was drawn is noted on standard
error, since an output may be /dev/stdout.
"""

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from dcgan import images
from dcgan.cli.output import note, say
from dcgan.cli.pictures import made_folder
from dcgan.cli.sampling import sample
from dcgan.cli.sums import arithmetic
from dcgan.cli.tables import SCORE_HEADER, described, score_line
from dcgan.client import Client, Scores, connect
from dcgan.errors import InvalidField

__all__ = ["arithmetic", "encode", "interpolate", "model", "sample", "score"]

_FRAME: Final = 224  # pixels, at least, of a frame
_FILES: Final = 64  # read at a time


def interpolate(arguments: argparse.Namespace) -> int:
    """Draws an animation."""
    images.writer_of(arguments.output)  # refuses the name before the work
    with _client(arguments) as client:
        chunks = client.stream_frames(
            arguments.points,
            frames=arguments.frames,
            curve=arguments.curve,
            closed=arguments.closed,
            easing=arguments.easing,
        )
        frames = (images.enlarged_to(image, _FRAME) for chunk in chunks for image in chunk.images)
        images.write_animation(arguments.output, frames, arguments.fps)
    note(f"{arguments.frames} frames in {arguments.output}")
    return 0


def encode(arguments: argparse.Namespace) -> int:
    """Finds the latents of image files: writes what the generator draws from them, and prints how far it is off."""
    _check_names(arguments)
    rows: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    version = ""
    with _client(arguments) as client:
        for files in _several(arguments.files):
            with _blamed(files):
                found = client.encode(files, refine_steps=arguments.refine_steps, format="png", version=version)
            version = found.identity.version
            folder = made_folder(arguments.output)
            for file, data, error in zip(files, found.reconstructions.encoded, found.errors, strict=True):
                images.save(folder / f"{Path(file).stem}.png", data)
                say(f"{file} {error:.4f}")
            rows.append(found.latents)
    if arguments.latents:
        with images.replacing(arguments.latents) as out:
            np.lib.format.write_array(out, np.concatenate(rows), allow_pickle=False)
    note(f"{len(arguments.files)} in {arguments.output}, with mean squared errors in [-1, 1]")
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Prints what the discriminator says of image files, or of images of a seed."""
    of_seed = [name for name in ("seed", "count", "index", "truncation") if getattr(arguments, name) is not None]
    if arguments.files and of_seed:
        arguments.usage_error(f"--{of_seed[0]} is for generated images; score files or these")
    with _client(arguments) as client:
        rows = _scored(client, arguments)
        if arguments.json:
            say(json.dumps([_score_fields(*row) for row in rows], indent=2))
            return 0
        for number, row in enumerate(rows):
            say(score_line(*row) if number else f"{SCORE_HEADER}\n{score_line(*row)}")
    return 0


def model(arguments: argparse.Namespace) -> int:
    """Prints what a server serves."""
    with _client(arguments) as client:
        found = client.model()
    if arguments.json:
        say(json.dumps(dataclasses.asdict(found), default=str, indent=2))
    else:
        say("\n".join(f"{name:<12} {text}" for name, text in described(found) if text))
    return 0


def _client(arguments: argparse.Namespace) -> Client:
    return connect(arguments.target, timeout_s=arguments.timeout)


def _check_names(arguments: argparse.Namespace) -> None:
    """Refuses, as wrong usage, files whose reconstructions would replace each other or one of them."""
    given = {_real(file) for file in arguments.files}
    targets: set[Path] = set()
    for file in arguments.files:
        target = _real(Path(arguments.output, f"{Path(file).stem}.png"))
        if target in given:
            arguments.usage_error(f"{target.name} of --output is one of the files themselves; name another folder")
        if target in targets:
            arguments.usage_error(f"two files would be {target.name} in {arguments.output}; encode one of them alone")
        targets.add(target)


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve fails where links go in a circle


def _scored(client: Client, arguments: argparse.Namespace) -> Iterator[tuple[str, Scores, int]]:
    """Gives the name of each image, the scores among which its own is, and where."""
    version = ""
    for files in _several(arguments.files):
        with _blamed(files):
            found = client.score(images=files, version=version)
        version = found.identity.version
        yield from ((file, found, at) for at, file in enumerate(files))
    if not arguments.files:
        first, count = arguments.index or 0, arguments.count or 1
        found = client.score(count, seed=arguments.seed, first_index=first, truncation=arguments.truncation)
        yield from ((f"seed-{found.seed}-index-{first + at}", found, at) for at in range(count))


@contextmanager
def _blamed(files: Sequence[str]) -> Iterator[None]:
    """Names the file where the server refuses one by its place in the request."""
    try:
        yield
    except InvalidField as error:
        place = re.fullmatch(r"images\.files\[(\d{1,6})\]", error.metadata.get("field", ""))
        if place is None or int(place[1]) >= len(files):
            raise
        file = files[int(place[1])]
        raise InvalidField(file, error.metadata.get("value"), error.metadata.get("allowed", "")) from error


def _score_fields(name: str, scores: Scores, at: int) -> dict[str, str | float]:
    return {
        "image": name,
        "logit": float(scores.logits[at]),
        "probability": float(scores.probabilities[at]),
        "percentile": float(scores.percentiles[at]),
    }


def _several(files: list[str]) -> Iterator[list[str]]:
    """Gives the files in groups, so that not all are in memory at once."""
    left = iter(files)
    while group := list(islice(left, _FILES)):
        yield group
