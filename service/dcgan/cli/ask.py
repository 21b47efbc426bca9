"""The commands that ask a server: sample, interpolate, arithmetic, model.

Images are written as they come, so that memory stays flat however many there are; each file whole or not at all.
What was drawn is noted on standard error, since an output may be /dev/stdout.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from dcgan import images, latents
from dcgan.cli.output import note, say
from dcgan.client import Client, Model, Samples, connect
from dcgan.errors import OutputError
from dcgan.images import Pixels, SheetTerm

_Sink: TypeAlias = Callable[[Samples], None]

_SUFFIXES: Final = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_TILE: Final = 84  # pixels, at least, of an image in a grid, as long as the grid stays under _GRID
_GRID: Final = 1600
_MOST_IN_GRID: Final = 10_000
_FRAME: Final = 224  # pixels, at least, of a frame


def sample(arguments: argparse.Namespace) -> int:
    """Draws images into files, a grid, and a file of latents."""
    _check_sample(arguments)
    expressions: list[str] = arguments.expressions
    count = len(expressions) or arguments.count or 1
    with ExitStack() as stack:
        client = stack.enter_context(_client(arguments))
        chunks = client.stream_samples(
            expressions or count,
            seed=arguments.seed,
            first_index=arguments.index or 0,
            truncation=arguments.truncation,
            format=arguments.format if arguments.output else "raw",
            include_latents=arguments.latents is not None,
        )
        sinks = list(_sinks(arguments, count, stack))
        last: Samples | None = None
        for last in chunks:
            for sink in sinks:
                sink(last)
    if last is not None:
        _note_drawn(last, count)
    return 0


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


def arithmetic(arguments: argparse.Namespace) -> int:
    """Draws an arithmetic sheet."""
    file_format = images.format_of(arguments.output)
    terms = latents.terms(arguments.sum)
    with _client(arguments) as client:
        answer = client.arithmetic(terms, neighbours=arguments.neighbours, neighbour_seed=arguments.neighbour_seed)
        version = answer.result.identity.version
        exemplars = client.sample([one for term in terms for one in term.exemplars], version=version).images
    ends = np.cumsum([len(term.exemplars) for term in terms])
    shown = np.split(exemplars, ends[:-1])
    drawn = images.sheet(
        [
            # a term that is its own exemplar needs no second picture
            SheetTerm(term.label, term.weight, mean, its if len(its) > 1 else its[:0])
            for term, mean, its in zip(terms, answer.terms.images, shown, strict=True)
        ],
        answer.result.images[0],
        answer.neighbours.images,
    )
    _save_picture(arguments.output, drawn, file_format)
    note(f"{arguments.sum} in {arguments.output}")
    return 0


def model(arguments: argparse.Namespace) -> int:
    """Prints what a server serves."""
    with _client(arguments) as client:
        found = client.model()
    if arguments.json:
        say(json.dumps(dataclasses.asdict(found), default=str, indent=2))
    else:
        say("\n".join(f"{name:<12} {text}" for name, text in _described(found) if text))
    return 0


def _check_sample(arguments: argparse.Namespace) -> None:
    """Refuses, as wrong usage, what contradicts itself."""
    if not (arguments.output or arguments.grid or arguments.latents):
        arguments.usage_error("say where to write: --output DIR, --grid FILE or --latents FILE")
    of_seed = [name for name in ("seed", "count", "index", "truncation") if getattr(arguments, name) is not None]
    if arguments.expressions and of_seed:
        arguments.usage_error(f"--{of_seed[0]} is for seeds; an expression is one image, and seed(7, 3) says the rest")
    if arguments.grid:
        images.format_of(arguments.grid)
    if arguments.grid and (arguments.count or 1) > _MOST_IN_GRID:
        arguments.usage_error(f"--count {arguments.count} is too many for a grid; allowed: {_MOST_IN_GRID:,}")


def _client(arguments: argparse.Namespace) -> Client:
    return connect(arguments.target, timeout_s=arguments.timeout)


def _sinks(arguments: argparse.Namespace, count: int, stack: ExitStack) -> Iterator[_Sink]:
    """Opens what the images are to be written to; the latents' file and the grid appear when all went well."""
    if arguments.output:
        yield _file_sink(Path(arguments.output), _SUFFIXES[arguments.format], arguments.truncation)
    if arguments.latents:
        yield _latent_sink(arguments.latents, count, stack)
    if arguments.grid:
        pictures: list[Pixels] = []
        stack.push(lambda error, *_: _save_grid(arguments.grid, pictures) if error is None else None)
        yield lambda chunk: pictures.append(chunk.images)


def _file_sink(folder: Path, suffix: str, truncation: float | None) -> _Sink:
    """Writes each image to a file of its own, whose name says what it shows."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}") from error
    cut = "" if truncation is None else f"-truncation-{truncation:g}"

    def write(chunk: Samples) -> None:
        for number, data in enumerate(chunk.encoded, chunk.first_index):
            name = f"image-{number}" if chunk.seed is None else f"seed-{chunk.seed}-index-{number}{cut}"
            images.save(folder / f"{name}.{suffix}", data)

    return write


def _latent_sink(path: str, count: int, stack: ExitStack) -> _Sink:
    """Writes latents to a NumPy file as they come: float32 (count, latent_dim)."""
    file = stack.enter_context(images.replacing(path))
    written = 0

    def write(chunk: Samples) -> None:
        nonlocal written
        assert chunk.latents is not None  # they were asked for
        if not written:
            shape = count, chunk.latents.shape[1]
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(chunk.latents.astype("<f4").tobytes())
        written += len(chunk.latents)

    return write


def _save_grid(path: str, pictures: Sequence[Pixels]) -> None:
    pixels = np.concatenate(pictures)
    columns = math.isqrt(len(pixels) - 1) + 1
    tiles = images.enlarged_to(pixels, min(_TILE, max(1, _GRID // columns)))
    _save_picture(path, images.grid(tiles, columns), images.format_of(path))


def _save_picture(path: str, picture: Pixels, file_format: images.Format) -> None:
    try:
        data = images.encode(picture, file_format)
    except ValueError as error:
        raise OutputError(f"can't write {path}: {error}") from error
    images.save(path, data)


def _note_drawn(chunk: Samples, count: int) -> None:
    by = f"by {chunk.identity.name} {chunk.identity.version}"
    of = "" if chunk.seed is None else f"seed {chunk.seed}, "
    note(f"{count} {'image' if count == 1 else 'images'} ({of}{by})")


def _described(found: Model) -> Iterator[tuple[str, str]]:
    identity, training = found.identity, found.training
    yield "model", f"{identity.name}, version {identity.version}, made {found.created:%Y-%m-%d}"
    yield "digest", identity.manifest_digest
    exact = "byte for byte" if found.golden_exact else "within tolerance"
    yield "runs on", f"{identity.provider}, {identity.variant}, ONNX Runtime {identity.onnxruntime_version}"
    yield "golden", f"images reproduced {exact}"
    yield "images", f"{found.height} x {found.width}, {'grey' if found.channels == 1 else 'RGB'}"
    yield "latents", f"{found.latent_dim} values, {found.prior} prior"
    yield (
        "training",
        (f"recipe {training.recipe} on {training.dataset}, seed {training.seed}, {training.images_seen:,} images seen"),
    )
    for name, figure in sorted(found.figures.items()):
        yield "figure", f"{name} {figure:g}"
    for direction in found.directions:
        span = f"{direction.min_strength:g} to {direction.max_strength:g}"
        yield "direction", f"{direction.name}, {span}{': ' if direction.description else ''}{direction.description}"
    yield "limits", ", ".join(f"{name} {value:,}" for name, value in dataclasses.asdict(found.limits).items())
    yield "licence", f"{found.licence}{'; ' if found.attribution else ''}{found.attribution}"
