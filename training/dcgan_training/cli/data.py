"""The commands that are about data: `inspect`, `stack` and `fetch`."""

import argparse
from pathlib import Path
from typing import Any, Final

from dcgan_training import known
from dcgan_training.cli import flags
from dcgan_training.cli.output import say
from dcgan_training.values import SIZES

_GRID_COLUMNS: Final = 10
_SHEET_PX: Final = 600  # of the sheet's side at least, so that small images can be seen
_STACKED: Final = 128_000


def add_commands(commands: Any) -> None:
    """Adds the commands to the parser's."""
    flags.add(commands, "fetch", "download a data set", _fetch_flags, fetch_command)
    flags.add(commands, "inspect", "look at a data set before it is trained on", _inspect_flags, inspect_command)
    flags.add(commands, "stack", "make stacked digits, the data set that counts modes", _stack_flags, stack_command)


def inspect_command(options: argparse.Namespace) -> int:
    """Prints what a data set is like, and writes a sheet of it where one is asked for."""
    from dcgan import images
    from dcgan_training.inspection import inspect
    from dcgan_training.inspection.report import show

    form = None if options.sheet is None else images.format_of(options.sheet)
    found = inspect(options.data, options.size)
    if form is not None:
        sheet = images.grid(found.sample[: _GRID_COLUMNS**2], _GRID_COLUMNS)
        images.save(options.sheet, images.encode(images.enlarged_to(sheet, _SHEET_PX), form))
    speed = None
    if options.speed:
        from dcgan_training.inspection.speed import measured
        from dcgan_training.machine import Machine

        speed = measured(found.recipe, found.sample, Machine.choose("auto", "auto", options.threads))
    show(found, options.broken, options.size, speed)
    return 0


def stack_command(options: argparse.Namespace) -> int:
    """Writes stacked digits."""
    from dcgan_training.data.stacked import stack

    stack(options.digits, options.count, options.output, options.seed, options.broken)
    say(
        f"{options.output} holds {options.count:,} images; next: dcgan-train train --data {options.output} --output DIR"
    )
    return 0


def fetch_command(options: argparse.Namespace) -> int:
    """Downloads a known data set."""
    from dcgan_training.fetch import fetch

    output = options.output or Path("data") / options.dataset
    fetch(known.DATASETS[options.dataset], output, options.base_url)
    say(f"{output} holds {options.dataset}; next: dcgan-train train --data {output} --output runs/{options.dataset}")
    return 0


def _inspect_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Looks at all of a data set: sizes, modes, duplicates, broken files, what training would hold out, which "
        "recipe is advised and how long it would take here. Changes nothing."
    )
    sizes = ", ".join(map(str, SIZES))
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="idx or .npy file or its folder, folder or zip of images")
    add("--size", type=int, choices=SIZES, metavar="PX", help=f"as for train; {sizes} (default: as it is)")
    add("--sheet", type=Path, metavar="FILE.png", help="picture of 100 images as the networks see them (default: none)")
    flags.add_broken(add)
    add(
        "--threads", type=flags.whole(1, 1024), metavar="N", help="CPU threads to time with (default: what torch finds)"
    )
    add("--no-speed", dest="speed", action="store_false", help="time no training (default: three seconds of it)")


def _stack_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = "Makes images of three digits each, one in each colour channel (PacGAN, arXiv:1712.04086)."
    add = parser.add_argument
    add("digits", type=Path, metavar="DIGITS", help="grey images, as for train")
    add("--output", type=Path, required=True, metavar="FILE.npy", help="of the images; must not exist")
    add(
        "--count",
        type=flags.whole(2, 100_000_000),
        default=_STACKED,
        metavar="N",
        help=f"of the images; 2 to 100000000 (default: {_STACKED}, as published)",
    )
    flags.add_broken(add)
    flags.add_seed(add)


def _fetch_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = "Downloads a data set; what is there already is checked and kept."
    add = parser.add_argument
    add("dataset", choices=sorted(known.DATASETS), help="which one")
    add("--output", type=Path, metavar="DIR", help="where to (default: data/ and the data set's name)")
    add("--base-url", metavar="URL", help="a mirror's folder (default: the data set's own host)")
