"""The flags of `dcgan-train`: what each command takes, what is allowed, and its help.

Nothing here imports torch, so that help and mistakes cost no seconds.
"""

import argparse
import math
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dcgan_training import recipes
from dcgan_training.values import SIZES

if TYPE_CHECKING:
    from dcgan_training.export import Labels

Add = Callable[..., Any]
"""`add_argument` of a parser or of a group of its flags."""

_MAX_SEED: Final = (1 << 64) - 1
_DEFAULT_SAVE_EVERY: Final = 200_000
_ENCODER_IMAGES: Final = 1_000_000
_DIRECTIONS_SAMPLES: Final = 100_000


def add(
    commands: Any,
    name: str,
    purpose: str,
    flags: Callable[[argparse.ArgumentParser], None],
    command: Callable[[argparse.Namespace], int],
) -> None:
    """Adds a command with its flags to `commands`, the parser's subparsers."""
    parser = commands.add_parser(name, help=purpose)
    flags(parser)
    parser.set_defaults(command=command)


def add_train(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `train`."""
    parser.description = "Trains a GAN. The same command again continues a run that was stopped or killed."
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="idx, .npy, folder or zip of images",
    )
    add("--output", type=Path, required=True, metavar="DIR", help="directory of the run, for example runs/fashion")
    add_training(parser)


def add_training(parser: argparse.ArgumentParser) -> None:
    """Adds what decides how a run goes, for every command that trains one."""
    default = recipes.DEFAULT
    add = parser.add_argument_group("training").add_argument
    add("--recipe", default=default.name, metavar="NAME", help=f"one of {_names()} (default: {default.name})")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the recipe; may be given again; `dcgan-train recipes NAME` lists them (default: as it is)",
    )
    add(
        "--width",
        type=whole(1, 1024),
        metavar="N",
        help="channels of the largest hidden map; 1 to 1024 (default: the recipe's)",
    )
    add("--size", type=int, choices=SIZES, metavar="PX", help=f"crop and resize to {_sizes()} px (default: as it is)")
    add("--flip", action="store_true", help="mirror every second image, for data without left and right (default: no)")
    add("--held-out", type=Path, metavar="PATH", help="a test set to hold out (default: a tenth of the data by hash)")
    add_broken(add)
    add(
        "--labels",
        type=Path,
        metavar="FILE",
        help="of the data: an idx file, or a .csv with a header; a classifier of them is what the watch then measures "
        "by (default: none)",
    )
    add(
        "--init-from",
        type=Path,
        metavar="BUNDLE",
        help="a bundle of architecture dcgan whose weights to begin with (default: drawn ones)",
    )
    add_seed(add)
    add("--images", type=whole(1), metavar="N", help="real images to show; 1 or more (default: the recipe's)")
    add("--hours", type=_hours, metavar="H", help="of training after which it is complete too (default: no limit)")
    add(
        "--on-alarm",
        choices=("warn", "stop"),
        default="warn",
        help="what an alarm of the watch does: stop ends with exit code 3 (default: warn)",
    )
    add(
        "--save-every",
        type=whole(1),
        default=_DEFAULT_SAVE_EVERY,
        metavar="N",
        help=f"images between checkpoints; 1 or more (default: {_DEFAULT_SAVE_EVERY})",
    )
    add_threads(add)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto, a GPU where there is one)")
    add(
        "--precision",
        choices=("auto", "bfloat16", "float32"),
        default="auto",
        help="(default: auto, bfloat16 where the device has instructions for it)",
    )


def add_recipes(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `recipes`."""
    parser.description = "Lists the recipes, or prints all settings and layers of one."
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="of a recipe (default: all are listed)")
    add("--size", type=int, choices=SIZES, default=64, metavar="PX", help=f"{_sizes()} (default: 64)")
    add("--channels", type=int, choices=(1, 3), default=3, help="1 grey, 3 colour (default: 3)")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `export`; its parser's `error` becomes `usage_error`."""
    parser.description = "Writes a run as a model bundle, checked by the code that serves it."
    add = parser.add_argument
    add("run", type=Path, nargs="?", metavar="RUN", help="directory of the run")
    add("--output", type=Path, required=True, metavar="DIR", help="directory of the bundle; must not exist")
    add("--held-out", type=Path, metavar="PATH", help="images it never saw, to score by (default: those it held out)")
    add_broken(add)
    add_bundle(add)
    parser.set_defaults(usage_error=parser.error)
    add = parser.add_argument_group("without a run").add_argument
    add("--random", action="store_true", help="untrained weights, to measure a server with (default: no)")
    add(
        "--recipe",
        metavar="NAME",
        help=f"one of {_names()} (default: {recipes.DEFAULT.name})",
    )
    add("--size", type=int, choices=SIZES, metavar="PX", help=f"{_sizes()} (default: the recipe's, or 64)")
    add("--channels", type=int, choices=(1, 3), help="1 grey, 3 colour (default: the recipe's, or 3)")
    add("--width", type=whole(1, 256), metavar="N", help="1 to 256 (default: the recipe's)")
    add("--seed", type=whole(0, _MAX_SEED), metavar="N", help="of the weights (default: 0)")


def add_bundle(add: Add) -> None:
    """Adds which checkpoint of a run becomes a bundle, and what the bundle says of itself; `labels` reads them."""
    add(
        "--checkpoint",
        choices=("best", "newest"),
        default="best",
        help="which one (default: best by the run's own figure; where it has none, the newest)",
    )
    add(
        "--name",
        metavar="TEXT",
        help="name of the model; letters, digits, . _ - (default: the output directory's, fashion of models/fashion/2)",
    )
    add(
        "--version",
        metavar="TEXT",
        help="version of the model; likewise (default: 2 of models/fashion/2, else from the hash of the generator)",
    )
    add(
        "--licence",
        type=_text,
        metavar="TEXT",
        help="licence of the weights (default: that of a known data set, or not stated)",
    )
    add(
        "--attribution",
        type=_text,
        metavar="TEXT",
        help="credit to pass on (default: that of a known data set, or none)",
    )
    add(
        "--note",
        type=_text,
        default="",
        metavar="TEXT",
        help="what you saw in the images, for the model card (default: nothing)",
    )


def labels(options: argparse.Namespace) -> "Labels":
    """Reads what the bundle says of itself."""
    from dcgan_training.export import Labels

    return Labels(**{field.name: getattr(options, field.name) for field in fields(Labels)})


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `encoder`."""
    parser.description = "Trains an encoder for a model bundle and writes the bundle again with it."
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="directory of the model bundle")
    add("--data", type=Path, required=True, metavar="PATH", help="images like those it was trained on, as for train")
    add_broken(add)
    add(
        "--held-out",
        type=Path,
        metavar="PATH",
        help="images it never saw, to measure with (default: those its run held out)",
    )
    add("--output", type=Path, metavar="DIR", help="directory of the new bundle (default: BUNDLE, which is replaced)")
    add(
        "--images",
        type=whole(1),
        default=_ENCODER_IMAGES,
        metavar="N",
        help=f"to show, half of them generated; 1 or more (default: {_ENCODER_IMAGES})",
    )
    add("--width", type=whole(1, 256), default=32, metavar="N", help="channels of its first map (default: 32)")
    add_seed(add)
    add_threads(add)


def add_variants(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `variants`."""
    parser.description = "Makes the faster variants of a model bundle's generator, as export does, and measures them."
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="directory of the model bundle")
    add("--output", type=Path, metavar="DIR", help="directory of the new bundle (default: BUNDLE, which is replaced)")
    add_threads(add)


def add_directions(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `directions`."""
    parser.description = "Finds directions by labels of real images and writes a model bundle again with them."
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="directory of the model bundle")
    add("--data", type=Path, required=True, metavar="PATH", help="real images, as for train")
    add_broken(add)
    add("--labels", type=Path, required=True, metavar="FILE", help="of these: an idx file, or a .csv with a header")
    add("--output", type=Path, metavar="DIR", help="directory of the new bundle (default: BUNDLE, which is replaced)")
    add(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=COLUMN:VALUE",
        help="a direction to find; may be given again (default: each value of each column that has few)",
    )
    add(
        "--orthogonal-to",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="directions whose part is taken out of all others (default: none)",
    )
    add(
        "--samples",
        type=whole(1000, 10_000_000),
        default=_DIRECTIONS_SAMPLES,
        metavar="N",
        help=f"to label; 1000 to 10000000, fewer for a slow model (default: {_DIRECTIONS_SAMPLES})",
    )
    add_seed(add)
    add_threads(add)


def add_broken(add: Add) -> None:
    """Adds what is done about image files that can't be decoded."""
    add("--broken", choices=("refuse", "skip"), default="refuse", help="unreadable image files (default: refuse)")


def add_seed(add: Add) -> None:
    """Adds a seed."""
    add("--seed", type=whole(0, _MAX_SEED), default=0, metavar="N", help="0 to 2^64 - 1 (default: 0)")


def add_threads(add: Add) -> None:
    """Adds the number of threads of torch."""
    add("--threads", type=whole(1, 1024), metavar="N", help="CPU threads; 1 to 1024 (default: what torch finds)")


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Makes a type for argparse: a whole number from `low` to `high`."""
    allowed = f"{low} or more" if high is None else f"{low} to {high}"

    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number; allowed: {allowed}") from None
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"{number} is out of range; allowed: {allowed}")
        return number

    return whole


def _text(text: str) -> str:
    """Gives what can be written down: bytes that are no UTF-8 become the sign for what is unknown."""
    return os.fsencode(text).decode(errors="replace")


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours; allowed: above 0")
    return hours


def _names() -> str:
    return ", ".join(sorted(recipes.RECIPES))


def _sizes() -> str:
    return ", ".join(map(str, SIZES))
