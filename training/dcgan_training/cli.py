"""The command `dcgan-train`: parse, build, run.

Exit codes: 0 done, 1 an error (one line on stderr), 2 a wrong command line, 128 + n stopped by signal n.
Torch is imported by the commands that need it, so that help and mistakes cost no seconds.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dcgan.errors import DcganError
from dcgan_training import known, recipes
from dcgan_training.config import SIZES, Settings

_MAX_SEED: Final = (1 << 64) - 1
_DEFAULT_SAVE_EVERY: Final = 200_000
_ENCODER_IMAGES: Final = 1_000_000
_DIRECTIONS_SAMPLES: Final = 100_000


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line `arguments` (None: the process's own) and gives the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except DcganError as error:
        _say(f"error: {error.message}")
        return 1
    except MemoryError:
        _say("error: this machine has too little memory for it; try a smaller --width or --size, or less data")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 128 + signal.SIGINT


def _train(options: argparse.Namespace) -> int:
    recipe = recipes.named(options.recipe)
    from dcgan_training.data import load
    from dcgan_training.machine import Machine
    from dcgan_training.train import train

    machine = Machine.choose(options.device, options.precision, options.threads)
    data = load(options.data, options.size)
    settings = Settings.of(
        recipe,
        data=str(options.data),
        data_digest=data.digest,
        data_count=len(data),
        size=data.size,
        channels=data.channels,
        seed=options.seed,
        width=options.width or recipe.width,
        images=options.images or recipe.images,
    )
    outcome = train(settings, machine, data, options.output, options.save_every)
    if outcome.stopped_by is not None:
        _say(f"stopped after {outcome.images:,} images; the same command continues from there")
        return 128 + outcome.stopped_by
    _say(f"complete after {outcome.images:,} images; next: dcgan-train export {options.output} --output DIR")
    return 0


def _export(options: argparse.Namespace) -> int:
    from dcgan_training.export import Labels, export, export_random

    labels = Labels(
        name=options.name,
        version=options.version,
        licence=options.licence,
        attribution=options.attribution,
        note=options.note,
    )
    if options.random and options.held_out is not None:
        options.usage_error("--held-out calibrates a discriminator, and untrained weights have none")
    if options.random:
        manifest = export_random(_random_settings(options), options.output, labels)
    elif options.run is None:
        options.usage_error("name the RUN to export, or say --random")
    else:
        manifest = export(options.run, options.output, labels, options.held_out)
    _say(_scoring(None if manifest.calibration is None else manifest.calibration.auc))
    apart = max(parity.max_levels for parity in manifest.parity)
    _say(
        f"{options.output}: {manifest.name} {manifest.version} after {manifest.training.images_seen:,} images; "
        f"torch and onnxruntime differ by at most {apart} of 255 levels; next: dcgan serve --model {options.output}"
    )
    return 0


def _scoring(auc: float | None) -> str:
    if auc is None:
        return "without --held-out no discriminator is exported, so this bundle scores no images"
    return f"the discriminator puts the real image of a pair above the generated one in {auc:.1%}; 50% is guessing"


def _random_settings(options: argparse.Namespace) -> Settings:
    """Gives the settings of a run that never was: no data, and only the shape that was asked for."""
    facts = {"data": "none", "data_digest": "0" * 64, "data_count": 0, "seed": options.seed}
    shape = {"size": options.size, "channels": options.channels}
    width = {} if options.width is None else {"width": options.width}
    return Settings.of(recipes.named(options.recipe), **facts, **shape, **width)


def _encoder(options: argparse.Namespace) -> int:
    from dcgan import bundle
    from dcgan_training.encoder import Materials, add_encoder
    from dcgan_training.encoder_training import Plan, Reading
    from dcgan_training.fitting import fitting
    from dcgan_training.machine import Machine

    machine = Machine.choose("auto", "auto", options.threads)
    manifest = bundle.load(options.bundle).manifest
    held_out = None if options.held_out is None else fitting(options.held_out, manifest)
    materials = Materials(path=options.bundle, data=fitting(options.data, manifest), held_out=held_out)
    plan = Plan(images=options.images, width=options.width, seed=options.seed)

    def report(reading: Reading) -> None:
        _say(
            f"{reading.images:,} of {plan.images:,} images, {reading.images_per_s:,.0f} images/s, squared error "
            f"generated {reading.generated:.4f} real {reading.real:.4f} latents {reading.latents:.3f}"
        )

    spec = add_encoder(materials, options.output, plan, machine, report)
    _say(", ".join(f"{name} {value:.4f}" for name, value in spec.figures.items()))
    written = options.output or options.bundle
    _say(f"{written} encodes images; next: dcgan serve --model {written}")
    return 0


def _directions(options: argparse.Namespace) -> int:
    from dcgan_training.directions import Plan, Request, add_directions
    from dcgan_training.machine import Machine

    machine = Machine.choose("cpu", "float32", options.threads)
    request = Request(attributes=tuple(options.attribute), orthogonal_to=tuple(options.orthogonal_to))
    plan = Plan(seed=options.seed, samples=options.samples, threads=machine.threads)
    found = add_directions(options.bundle, options.output, (options.data, options.labels), request, plan, _say)
    written, first = options.output or options.bundle, next(iter(found))
    _say(
        f"{written} has {', '.join(found)}; next: dcgan serve --model {written}, "
        f'then dcgan sample "seed(7) + 1*direction({first})" --grid {first}.png'
    )
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from dcgan_training.fetch import fetch

    output = options.output or Path("data") / options.dataset
    fetch(known.DATASETS[options.dataset], output, options.base_url)
    _say(f"{output} holds {options.dataset}; next: dcgan-train train --data {output} --output runs/{options.dataset}")
    return 0


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dcgan-train", description="Train a GAN and export it for `dcgan serve`.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train, or continue a run that was stopped"))
    _add_export(commands.add_parser("export", help="make a model bundle of a run"))
    _add_encoder(commands.add_parser("encoder", help="let a model bundle encode images"))
    _add_directions(commands.add_parser("directions", help="find named directions in the latents of a model bundle"))
    _add_fetch(commands.add_parser("fetch", help="download a data set"))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    default = recipes.DEFAULT
    parser.description = "Trains a GAN. The same command again continues a run that was stopped or killed."
    parser.set_defaults(command=_train)
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


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.description = "Writes the newest checkpoint of a run as a model bundle, checked by the code that serves it."
    parser.set_defaults(command=_export)
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


def _add_encoder(parser: argparse.ArgumentParser) -> None:
    parser.description = "Trains an encoder for a model bundle and writes the bundle again with it."
    parser.set_defaults(command=_encoder)
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


def _add_directions(parser: argparse.ArgumentParser) -> None:
    parser.description = "Finds directions by labels of real images and writes a model bundle again with them."
    parser.set_defaults(command=_directions)
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


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.description = "Downloads a data set; what is there already is checked and kept."
    parser.set_defaults(command=_fetch)
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
