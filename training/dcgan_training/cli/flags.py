"""The flags of `dcgan-train`: what each command takes, what is allowed, and its help.

Nothing here imports torch, so that help and mistakes cost no seconds.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dcgan_training import known, recipes
from dcgan_training.config import SIZES

_MAX_SEED: Final = (1 << 64) - 1
_DEFAULT_SAVE_EVERY: Final = 200_000
_ENCODER_IMAGES: Final = 1_000_000
_DIRECTIONS_SAMPLES: Final = 100_000


def add_train(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `train`."""
    default = recipes.DEFAULT
    parser.description = "Trains a GAN. The same command again continues a run that was stopped or killed."
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="PATH", help="idx file or its folder, folder or zip of images")
    add("--output", type=Path, required=True, metavar="DIR", help="directory of the run, for example runs/fashion")
    add("--recipe", default=default.name, metavar="NAME", help=f"one of {_names()} (default: {default.name})")
    add("--images", type=_whole(1), metavar="N", help="real images to show; 1 or more (default: the recipe's)")
    add(
        "--width",
        type=_whole(1, 256),
        metavar="N",
        help="channels of the largest hidden map; 1 to 256 (default: the recipe's)",
    )
    add("--size", type=int, choices=SIZES, metavar="PX", help=f"crop and resize to {_sizes()} px (default: as it is)")
    add("--seed", type=_whole(0, _MAX_SEED), default=0, metavar="N", help="0 to 2^64 - 1 (default: 0)")
    add("--threads", type=_whole(1, 1024), metavar="N", help="CPU threads; 1 to 1024 (default: what torch finds)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto, a GPU where there is one)")
    add(
        "--precision",
        choices=("auto", "bfloat16", "float32"),
        default="auto",
        help="(default: auto, bfloat16 where the device has instructions for it)",
    )
    add(
        "--save-every",
        type=_whole(1),
        default=_DEFAULT_SAVE_EVERY,
        metavar="N",
        help=f"images between checkpoints; 1 or more (default: {_DEFAULT_SAVE_EVERY})",
    )


def add_export(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `export`; its parser's `error` becomes `usage_error`."""
    parser.description = "Writes the newest checkpoint of a run as a model bundle, checked by the code that serves it."
    add = parser.add_argument
    add("run", type=Path, nargs="?", metavar="RUN", help="directory of the run")
    add("--output", type=Path, required=True, metavar="DIR", help="directory of the bundle; must not exist")
    add("--held-out", type=Path, metavar="PATH", help="images it never saw, to score by (default: it scores none)")
    add("--name", metavar="TEXT", help="name of the model; letters, digits, . _ - (default: the output directory's)")
    add("--version", metavar="TEXT", help="version of the model; likewise (default: from the hash of the generator)")
    add("--licence", metavar="TEXT", help="licence of the weights (default: that of a known data set, or not stated)")
    add("--attribution", metavar="TEXT", help="credit to pass on (default: that of a known data set, or none)")
    add("--note", default="", metavar="TEXT", help="what you saw in the images, for the model card (default: nothing)")
    parser.set_defaults(usage_error=parser.error)
    add = parser.add_argument_group("without a run").add_argument
    add("--random", action="store_true", help="untrained weights, to measure a server with (default: no)")
    add(
        "--recipe",
        default=recipes.DEFAULT.name,
        metavar="NAME",
        help=f"one of {_names()} (default: {recipes.DEFAULT.name})",
    )
    add("--size", type=int, choices=SIZES, default=64, metavar="PX", help=f"{_sizes()} (default: 64)")
    add("--channels", type=int, choices=(1, 3), default=3, help="1 grey, 3 colour (default: 3)")
    add("--width", type=_whole(1, 256), metavar="N", help="1 to 256 (default: the recipe's)")
    add("--seed", type=_whole(0, _MAX_SEED), default=0, metavar="N", help="of the weights (default: 0)")


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `encoder`."""
    parser.description = "Trains an encoder for a model bundle and writes the bundle again with it."
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="directory of the model bundle")
    add("--data", type=Path, required=True, metavar="PATH", help="images like those it was trained on, as for train")
    add("--held-out", type=Path, metavar="PATH", help="images it never saw, to measure with (default: none)")
    add("--output", type=Path, metavar="DIR", help="directory of the new bundle (default: BUNDLE, which is replaced)")
    add(
        "--images",
        type=_whole(1),
        default=_ENCODER_IMAGES,
        metavar="N",
        help=f"to show, half of them generated; 1 or more (default: {_ENCODER_IMAGES})",
    )
    add("--width", type=_whole(1, 256), default=32, metavar="N", help="channels of its first map (default: 32)")
    add("--seed", type=_whole(0, _MAX_SEED), default=0, metavar="N", help="0 to 2^64 - 1 (default: 0)")
    add("--threads", type=_whole(1, 1024), metavar="N", help="CPU threads; 1 to 1024 (default: what torch finds)")


def add_directions(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `directions`."""
    parser.description = "Finds directions by labels of real images and writes a model bundle again with them."
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="directory of the model bundle")
    add("--data", type=Path, required=True, metavar="PATH", help="real images, as for train")
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
        type=_whole(1000, 10_000_000),
        default=_DIRECTIONS_SAMPLES,
        metavar="N",
        help=f"to label; 1000 to 10000000, fewer for a slow model (default: {_DIRECTIONS_SAMPLES})",
    )
    add("--seed", type=_whole(0, _MAX_SEED), default=0, metavar="N", help="0 to 2^64 - 1 (default: 0)")
    add("--threads", type=_whole(1, 1024), metavar="N", help="CPU threads; 1 to 1024 (default: what torch finds)")


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `fetch`."""
    parser.description = "Downloads a data set; what is there already is checked and kept."
    add = parser.add_argument
    add("dataset", choices=sorted(known.DATASETS), help="which one")
    add("--output", type=Path, metavar="DIR", help="where to (default: data/ and the data set's name)")
    add("--base-url", metavar="URL", help="a mirror's folder (default: the data set's own host)")


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
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


def _names() -> str:
    return ", ".join(sorted(recipes.RECIPES))


def _sizes() -> str:
    return ", ".join(map(str, SIZES))
