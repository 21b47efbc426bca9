"""The command `dcgan arithmetic`: a sum of pictures as a sheet, and as files of its parts."""

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dcgan import images, latents
from dcgan.cli.output import note
from dcgan.cli.pictures import made_folder, save_picture
from dcgan.client import Arithmetic, connect
from dcgan.images import Pixels, SheetTerm


def arithmetic(arguments: argparse.Namespace) -> int:
    """Draws an arithmetic sheet."""
    images.format_of(arguments.output)  # refuses the name before the work
    terms = _labelled(latents.terms(arguments.sum), arguments)
    with connect(arguments.target, timeout_s=arguments.timeout) as client:
        answer = client.arithmetic(terms, neighbours=arguments.neighbours, neighbour_seed=arguments.neighbour_seed)
        version = answer.result.identity.version
        exemplars = client.sample([one for term in terms for one in term.exemplars], version=version).images
    ends = np.cumsum([len(term.exemplars) for term in terms])
    shown = np.split(exemplars, ends[:-1])
    sheet_terms = [
        # a term that is its own exemplar needs no second picture
        SheetTerm(term.label, term.weight, mean, its if len(its) > 1 else its[:0])
        for term, mean, its in zip(terms, answer.terms.images, shown, strict=True)
    ]
    drawn = images.sheet(sheet_terms, answer.result.images[0], answer.neighbours.images, pixels=arguments.pixels)
    save_picture(arguments.output, drawn)
    if arguments.parts:
        _save_parts(made_folder(arguments.parts), answer, shown, sheet_terms, arguments.pixels)
    note(f"{arguments.sum} in {arguments.output}")
    return 0


def _labelled(terms: list[latents.Term], arguments: argparse.Namespace) -> list[latents.Term]:
    labels = arguments.label
    if labels is None:
        return terms
    if len(labels) != len(terms):
        arguments.usage_error(f"--label was given {len(labels)} times for {len(terms)} terms; give it once for each")
    return [replace(term, label=label) for term, label in zip(terms, labels, strict=True)]


def _save_parts(
    folder: Path, answer: Arithmetic, exemplars: Sequence[Pixels], terms: Sequence[SheetTerm], pixels: bool
) -> None:
    """Writes each image as a PNG of the model's own size, and all latents into latents.npz."""
    parts = dict(_parts(answer, exemplars))
    if pixels:
        parts["pixels"] = images.pixel_sum(terms)
    for name, image in parts.items():
        save_picture(folder / f"{name}.png", image)
    rows = {
        name: drawn.latents
        for name, drawn in (("terms", answer.terms), ("result", answer.result), ("neighbours", answer.neighbours))
        if drawn.latents is not None  # they always come
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **rows)
    images.save(folder / "latents.npz", buffer.getvalue())


def _parts(answer: Arithmetic, exemplars: Sequence[Pixels]) -> Iterator[tuple[str, Pixels]]:
    for at, mean in enumerate(answer.terms.images, 1):
        yield f"term-{at}", mean
    for at, its in enumerate(exemplars, 1):
        for number, exemplar in enumerate(its, 1):
            yield f"exemplar-{at}-{number}", exemplar
    yield "result", answer.result.images[0]
    for at, neighbour in enumerate(answer.neighbours.images, 1):
        yield f"neighbour-{at}", neighbour
