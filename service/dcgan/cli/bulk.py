"""`dcgan sample --output set.zip`: a data set of any size in one file, in flat memory, that goes on where it stopped.

The first entry of the zip, dataset.json, says what was asked for and what drew it. It is provenance for people, and
what a run compares before it goes on with what another one began: the same request to the same model gives the same
bytes, however often it was interrupted and however many servers drew it.
"""

import argparse
import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias

from dcgan import latents
from dcgan.cli.output import note
from dcgan.cli.progress import Progress
from dcgan.cli.sampling import SUFFIXES, moved, namer
from dcgan.client import Client, Identity, Model, Samples
from dcgan.client.channels import listed
from dcgan.client.options import StreamOptions
from dcgan.client.ranges import Draw, drawn
from dcgan.errors import Cancelled, DcganError, DeadlineExceeded, OutputError, Unavailable
from dcgan.images.archive import Growing, first_entry, growing
from dcgan.latents import Expression

_RECORD: Final = "dataset.json"
_RANGE_IMAGES: Final = 1024  # drawn at a time, where that is
_RANGE_BYTES: Final = 4 << 20  # or less as pixels; a few of these for each server are what memory holds
_LAST_INDEX: Final = (1 << 64) - 1

_Record: TypeAlias = dict[str, dict[str, Any]]
_Name: TypeAlias = Callable[[int], str]


def sample(arguments: argparse.Namespace) -> int:
    """Draws images of a seed into a zip."""
    _check(arguments)
    path = Path(arguments.output)
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(Client(name, timeout_s=arguments.timeout)) for name in listed(arguments.target)
        }
        model = _model_of_all(clients)
        record = _record(arguments, model)
        request = record["request"]
        if path.exists():
            _take_over(record, path)
            note(f"{path} is complete already")
        else:
            grown = stack.enter_context(growing(path))
            name = _namer(arguments, request)
            _begin(record, grown, name)
            servers = {server: partial(_stream, client, request, model.identity) for server, client in clients.items()}
            step = max(1, min(_RANGE_IMAGES, _RANGE_BYTES // (model.height * model.width * model.channels)))
            _draw(request, grown, name, servers, step, arguments.timeout)
            grown.finish()
    images = "image" if request["count"] == 1 else "images"
    note(f"{request['count']} {images} (seed {request['seed']}, by {model.identity.name} {model.identity.version})")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuses, as wrong usage, what a data set in a zip can't be."""
    for name in ("grid", "latents", "scores", "keep_best", "expressions"):
        if getattr(arguments, name):
            flag = "an EXPRESSION" if name == "expressions" else f"--{name.replace('_', '-')}"
            arguments.usage_error(f"{flag} can't go with a .zip as --output, which takes images of a seed alone")
    first, count = arguments.index or 0, arguments.count or 1
    if first + count - 1 > _LAST_INDEX:
        arguments.usage_error(f"--index {first} and --count {count} lead beyond the last index, 2^64 - 1")


def _model_of_all(clients: dict[str, Client]) -> Model:
    """Asks every server for its model, which has to be the same everywhere; one that does not answer may come later."""
    models: dict[str, Model] = {}
    silent: list[DcganError] = []
    for name, client in clients.items():
        try:
            models[name] = client.model()
        except (Cancelled, Unavailable, DeadlineExceeded) as error:
            silent.append(error)
    if not models:
        raise silent[0]
    (first, model), *others = models.items()
    for name, other in others:
        if differences := _differences(dataclasses.asdict(other.identity), dataclasses.asdict(model.identity)):
            raise DcganError(f"{name} does not serve what {first} does: {differences}; bring them to one model first")
    return model


def _record(arguments: argparse.Namespace, model: Model) -> _Record:
    request = {
        "seed": arguments.seed,
        "index": arguments.index or 0,
        "count": arguments.count or 1,
        "truncation": arguments.truncation,
        "direction": [list(one) for one in arguments.direction],
        "format": arguments.format,
    }
    image = {"height": model.height, "width": model.width, "channels": model.channels}
    rights = {"licence": model.licence, "attribution": model.attribution}
    return {"request": request, "identity": dataclasses.asdict(model.identity), "image": image, "rights": rights}


def _take_over(record: _Record, path: Path) -> None:
    """Compares with what is there; a seed that nobody named is the one from there.

    Raises:
        OutputError: it is another data set, or none.
    """
    entry = first_entry(path)
    remedy = "name another --output, or delete it to begin anew"
    if entry is None or entry[0] != _RECORD:
        raise OutputError(f"{path} is no data set of this command; {remedy}")
    there: _Record = json.loads(entry[1])
    if record["request"]["seed"] is None:
        record["request"]["seed"] = there["request"]["seed"]
    for part, values in record.items():
        if differences := _differences(there.get(part, {}), values):
            raise OutputError(f"{path} holds another data set, with {differences}; {remedy}")


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {there.get(name)}, not {value}" for name, value in here.items() if there.get(name) != value
    )


def _begin(record: _Record, grown: Growing, name: _Name) -> None:
    """Writes the record into a new file; of one that was begun, compares it and keeps the images that are whole."""
    request = record["request"]
    if grown.is_new:
        if request["seed"] is None:
            request["seed"] = secrets.randbits(64)
        grown.add([(_RECORD, json.dumps(record, indent=1).encode())])
        return
    _take_over(record, grown.partial)
    indices = range(request["index"], request["index"] + request["count"])
    found = grown.keep(chain([_RECORD], map(name, indices))) - 1
    note(f"goes on after {found:,} images that are in {grown.partial}")


def _namer(arguments: argparse.Namespace, request: dict[str, Any]) -> _Name:
    """Makes what names the image of an index, once the seed is known; the names sort as the indices do."""
    stem = namer(arguments, digits=len(str(request["index"] + request["count"] - 1)))
    return lambda index: f"{stem(request['seed'], index)}.{SUFFIXES[request['format']]}"


def _draw(
    request: dict[str, Any], grown: Growing, name: _Name, servers: Mapping[str, Draw], step: int, patience_s: float
) -> None:
    """Adds the images that are missing, `step` at a time."""
    found, count = grown.count - 1, request["count"]
    start, end = request["index"] + found, request["index"] + count
    ranges = (range(at, min(at + step, end)) for at in range(start, end, step))
    try:
        with Progress(count, found) as progress, drawn(servers, ranges, patience_s, progress.note) as parts:
            for part in parts:
                grown.add((name(index), data) for index, data in enumerate(part, start))
                start += len(part)
                progress.advance(len(part))
    except BaseException:  # signals too
        if grown.count > 1:
            kept = f"{grown.count - 1:,} of {count:,} images are in {grown.partial}"
            note(f"{kept}; the same command goes on with them")
        raise


def _stream(client: Client, request: dict[str, Any], identity: Identity, numbers: range) -> Iterator[Samples]:
    """Asks one server for images; raises Unavailable where another model has taken over there."""
    options: StreamOptions = {"format": request["format"], "version": identity.version}
    seed, truncation = request["seed"], request["truncation"]
    what: int | list[Expression] = len(numbers)
    if request["direction"]:
        plain = [latents.seed(seed, number, truncation=truncation) for number in numbers]
        what = moved(plain, request["direction"])
    else:
        options |= {"seed": seed, "first_index": numbers.start, "truncation": truncation}
    for chunk in client.stream_samples(what, **options):
        if chunk.identity != identity:
            now = _differences(dataclasses.asdict(chunk.identity), dataclasses.asdict(identity))
            raise Unavailable(f"it serves another model by now, with {now}")
        yield chunk
