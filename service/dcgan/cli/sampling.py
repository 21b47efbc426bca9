"""The command `dcgan sample`: images of seeds or expressions into files, a grid, a file of latents, or scores.

Images are written as they come, so that memory stays flat however many there are; each file whole or not at all.
"""

import argparse
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from dcgan import images, latents
from dcgan.cli.output import note, say
from dcgan.cli.pictures import made_folder, save_grid
from dcgan.cli.tables import SCORE_HEADER, score_line
from dcgan.client import Client, Samples, connect
from dcgan.client.options import StreamOptions
from dcgan.client.uploads import PART_IMAGES
from dcgan.images import Pixels
from dcgan.latents import Expression

_Sink: TypeAlias = Callable[[Samples], None]

SUFFIXES: Final = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_MOST_IN_GRID: Final = 10_000
_LISTED: Final = 1_000  # expressions that are held at a time


def sample(arguments: argparse.Namespace) -> int:
    """Draws images into files, a grid, and a file of latents; or into a zip, see `bulk`."""
    if arguments.output and arguments.output.lower().endswith(".zip"):
        from dcgan.cli import bulk

        return bulk.sample(arguments)

    _check(arguments)
    count = len(arguments.expressions) or arguments.count or 1
    kept = arguments.keep_best or count
    with ExitStack() as stack:
        client = stack.enter_context(connect(arguments.target, timeout_s=arguments.timeout))
        chunks = _chunks(client, arguments, count)
        sinks = list(_sinks(arguments, kept, stack))
        last: Samples | None = None
        for last in chunks:
            for sink in sinks:
                sink(last)
    if last is not None:
        _note_drawn(last, kept, count)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuses, as wrong usage, what contradicts itself."""
    if not (arguments.output or arguments.grid or arguments.latents or arguments.scores):
        arguments.usage_error("say where to write: --output DIR, --grid FILE or --latents FILE")
    of_seed = [name for name in ("seed", "count", "index", "truncation") if getattr(arguments, name) is not None]
    if arguments.expressions and of_seed:
        arguments.usage_error(f"--{of_seed[0]} is for seeds; an expression is one image, and seed(7, 3) says the rest")
    count = len(arguments.expressions) or arguments.count or 1
    if arguments.keep_best is not None and arguments.keep_best > count:
        arguments.usage_error(f"--keep-best {arguments.keep_best} is more than the {count} that are drawn; see --count")
    if arguments.grid:
        images.format_of(arguments.grid)
    if arguments.grid and (arguments.count or 1) > _MOST_IN_GRID:
        arguments.usage_error(f"--count {arguments.count} is too many for a grid; allowed: {_MOST_IN_GRID:,}")


def _chunks(client: Client, arguments: argparse.Namespace, count: int) -> Iterator[Samples]:
    """Draws the images, in as many calls as they need; all chunks are numbered as if it were one."""
    expressions = [latents.parse(text) for text in arguments.expressions]
    first = arguments.index or 0
    step = _step(arguments, count)
    seed = arguments.seed
    if seed is None and not expressions and (arguments.direction or step < count):
        seed = secrets.randbits(64)  # one for all calls, and for expressions, which can't leave it to the server
    for start in range(0, count, step):
        size = min(step, count - start)
        if expressions:
            drawn = _asked(client, arguments, moved(expressions[start : start + size], arguments.direction))
            yield from (_renumbered(chunk, None, start) for chunk in drawn)
        elif arguments.direction:
            numbers = range(first + start, first + start + size)
            seeds = [latents.seed(seed, number, truncation=arguments.truncation) for number in numbers]
            drawn = _asked(client, arguments, moved(seeds, arguments.direction))
            yield from (_renumbered(chunk, seed, first + start) for chunk in drawn)
        else:
            yield from _asked(client, arguments, size, seed, first + start, arguments.truncation)


def _step(arguments: argparse.Namespace, count: int) -> int:
    """Says how many images are asked for at a time."""
    if arguments.keep_best:
        return count  # the best of all, which the client refuses where they are too many for one answer
    if arguments.scores:
        return min(count, PART_IMAGES)
    return min(count, _LISTED) if arguments.direction else count


def _asked(
    client: Client,
    arguments: argparse.Namespace,
    what: int | list[Expression],
    seed: int | None = None,
    first_index: int = 0,
    truncation: float | None = None,
) -> Iterator[Samples]:
    options: StreamOptions = {
        "seed": seed,
        "first_index": first_index,
        "truncation": truncation,
        "format": arguments.format if arguments.output else "raw",
        "include_latents": arguments.latents is not None,
    }
    if arguments.keep_best or arguments.scores:
        return iter([client.sample(what, keep_best=arguments.keep_best or 0, include_scores=True, **options)])
    return client.stream_samples(what, **options)


def moved(expressions: Sequence[Expression], directions: Sequence[tuple[str, float]]) -> list[Expression]:
    """Adds each direction at its strength to every expression."""
    if not directions:
        return list(expressions)
    by = latents.total(*(strength * latents.direction(name) for name, strength in directions))
    return [one + (by.raw() if one.normalization == "raw" else by) for one in expressions]


def _renumbered(chunk: Samples, seed: int | None, first: int) -> Samples:
    """Numbers images of expressions as what they stand for."""
    indices = None if chunk.indices is None else chunk.indices + np.uint64(first)
    return replace(chunk, seed=seed, first_index=chunk.first_index + first, indices=indices)


def _sinks(arguments: argparse.Namespace, count: int, stack: ExitStack) -> Iterator[_Sink]:
    """Opens what the images are to be written to; the latents' file and the grid appear when all went well."""
    name = namer(arguments)
    if arguments.output:
        yield _file_sink(made_folder(arguments.output), SUFFIXES[arguments.format], name)
    if arguments.latents:
        yield _latent_sink(arguments.latents, count, stack)
    if arguments.grid:
        pictures: list[Pixels] = []
        stack.push(lambda error, *_: save_grid(arguments.grid, pictures) if error is None else None)
        yield lambda chunk: pictures.append(chunk.images)
    if arguments.scores:
        yield _score_sink(name)


def namer(arguments: argparse.Namespace, digits: int = 1) -> Callable[[int | None, int], str]:
    """Makes what names each image, of a seed and with a number, by all that it depends on."""
    cut = "" if arguments.truncation is None else f"-truncation-{arguments.truncation:g}"
    moves = "".join(f"-{name}-{strength:g}" for name, strength in arguments.direction)

    def name(seed: int | None, number: int) -> str:
        return f"image-{number}" if seed is None else f"seed-{seed}-index-{number:0{digits}}{cut}{moves}"

    return name


def _file_sink(folder: Path, suffix: str, name: Callable[[int | None, int], str]) -> _Sink:
    """Writes each image to a file of its own, whose name says what it shows."""

    def write(chunk: Samples) -> None:
        for number, data in zip(chunk.numbers, chunk.encoded, strict=True):
            images.save(folder / f"{name(chunk.seed, number)}.{suffix}", data)

    return write


def _score_sink(name: Callable[[int | None, int], str]) -> _Sink:
    """Prints a line an image."""
    begun = False

    def write(chunk: Samples) -> None:
        nonlocal begun
        assert chunk.scores is not None  # they were asked for
        if not begun:
            say(SCORE_HEADER)
        begun = True
        for at, number in enumerate(chunk.numbers):
            say(score_line(name(chunk.seed, number), chunk.scores, at))

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


def _note_drawn(chunk: Samples, kept: int, count: int) -> None:
    by = f"by {chunk.identity.name} {chunk.identity.version}"
    of = "" if chunk.seed is None else f"seed {chunk.seed}, "
    best = "" if kept == count else f"the best {kept} of "
    note(f"{best}{count} {'image' if count == 1 else 'images'} ({of}{by})")
