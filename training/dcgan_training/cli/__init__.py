"""The command `dcgan-train`: parse, build, run.

Exit codes: 0 done, 1 an error (one line on stderr), 2 a wrong command line, 3 a run stopped by its watch or by numbers
that are no longer finite, 4 a model below the bar of `run`, 128 + n stopped by signal n, 141 nobody reads
the output any more.
Torch is imported by the commands that need it, so that help and mistakes cost no seconds.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from dcgan.errors import DcganError
from dcgan_training import choices, recipes
from dcgan_training.cli import data, flags, quality, training
from dcgan_training.cli.output import say
from dcgan_training.config import Settings
from dcgan_training.errors import DivergedError

_OF_RANDOM: Final = ("recipe", "size", "channels", "width", "seed")

Command = Callable[[argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line `arguments` (None: the process's own) and gives the exit code."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except DcganError as error:
        say(f"error: {error.message}")
        return training.STOPPED_BY_WATCH if isinstance(error, DivergedError) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is what is left in its buffer
        return 128 + signal.SIGPIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        say(f"error: {place}{error.strerror or error}; see whether the path is right, and who may read and write there")
        return 1
    except MemoryError:
        say("error: this machine has too little memory for it; try a smaller --width or --size, or less data")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 128 + signal.SIGINT


def _export(options: argparse.Namespace) -> int:
    from dcgan_training.export import export, export_random

    labels = flags.labels(options)
    if options.random and options.run is not None:
        options.usage_error(f"{options.run} is a run, and --random exports drawn weights; say one of them")
    if options.random and options.held_out is not None:
        options.usage_error("--held-out calibrates a discriminator, and untrained weights have none")
    if options.random:
        manifest = export_random(_random_settings(options), options.output, labels, say)
    elif options.run is None:
        options.usage_error("name the RUN to export, or say --random")
    else:
        given = [f"--{name}" for name in _OF_RANDOM if getattr(options, name) is not None]
        if given:
            options.usage_error(f"{', '.join(given)} can be chosen with --random only; a run has its own")
        held_out, broken = options.held_out, options.broken
        manifest = export(options.run, options.output, labels, held_out, options.checkpoint, say, broken=broken)
    apart = max(parity.max_levels for parity in manifest.parity)
    say(
        f"{options.output}: {manifest.name} {manifest.version} after {manifest.training.images_seen:,} images; "
        f"torch and onnxruntime differ by at most {apart} of 255 levels; next: dcgan serve --model {options.output}"
    )
    return 0


def _random_settings(options: argparse.Namespace) -> Settings:
    """Gives the settings of a run that never was: no data, and only the shape that was asked for."""
    recipe = recipes.DEFAULT if options.recipe is None else recipes.named(options.recipe)
    size, channels = options.size or recipe.size or 64, options.channels or recipe.channels or 3
    choices.check_shape(recipe, size, channels)
    facts = {"data": "none", "data_digest": "0" * 64, "data_count": 0, "seed": options.seed or 0}
    width = {} if options.width is None else {"width": options.width}
    return Settings.of(recipe, **facts, size=size, channels=channels, **width)


def _encoder(options: argparse.Namespace) -> int:
    from dcgan import bundle
    from dcgan_training.encoder import Materials, add_encoder
    from dcgan_training.encoder_training import Plan, Reading
    from dcgan_training.fitting import fitting
    from dcgan_training.machine import Machine

    machine = Machine.choose("auto", "auto", options.threads)
    manifest = bundle.load(options.bundle).manifest
    held_out = None if options.held_out is None else fitting(options.held_out, manifest, options.broken)
    data = fitting(options.data, manifest, options.broken)
    materials = Materials(path=options.bundle, data=data, held_out=held_out)
    plan = Plan(images=options.images, width=options.width, seed=options.seed)

    def report(reading: Reading) -> None:
        say(
            f"{reading.images:,} of {plan.images:,} images, {reading.images_per_s:,.0f} images/s, squared error "
            f"generated {reading.generated:.4f} real {reading.real:.4f} latents {reading.latents:.3f}"
        )

    spec = add_encoder(materials, options.output, plan, machine, report)
    say(", ".join(f"{name} {value:.4f}" for name, value in spec.figures.items()))
    written = options.output or options.bundle
    say(f"{written} encodes images; next: dcgan serve --model {written}")
    return 0


def _variants(options: argparse.Namespace) -> int:
    from dcgan_training.machine import Machine
    from dcgan_training.variants import add_variants

    Machine.choose("cpu", "float32", options.threads)
    made = add_variants(options.bundle, options.output, say)
    written = options.output or options.bundle
    say(f"{written} has {', '.join(made)}; next: dcgan serve --model {written} --variant {next(iter(made))}")
    return 0


def _directions(options: argparse.Namespace) -> int:
    from dcgan_training.directions import Plan, Request, add_directions
    from dcgan_training.machine import Machine

    machine = Machine.choose("cpu", "float32", options.threads)
    request = Request(
        attributes=tuple(options.attribute), orthogonal_to=tuple(options.orthogonal_to), broken=options.broken
    )
    plan = Plan(seed=options.seed, samples=options.samples, threads=machine.threads)
    found = add_directions(options.bundle, options.output, (options.data, options.labels), request, plan, say)
    written, first = options.output or options.bundle, next(iter(found))
    say(
        f"{written} has {', '.join(found)}; next: dcgan serve --model {written}, "
        f'then dcgan sample "seed(7) + 1*direction({first})" --grid {first}.png'
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dcgan-train", description="Train a GAN and export it for `dcgan serve`.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    training.add_commands(commands)
    quality.add_commands(commands)
    _add(commands.add_parser("export", help="make a model bundle of a run"), flags.add_export, _export)
    _add(commands.add_parser("encoder", help="let a model bundle encode images"), flags.add_encoder, _encoder)
    _add(commands.add_parser("variants", help="make faster variants of a bundle"), flags.add_variants, _variants)
    _add(
        commands.add_parser("directions", help="find named directions in the latents of a model bundle"),
        flags.add_directions,
        _directions,
    )
    data.add_commands(commands)
    return parser


def _add(parser: argparse.ArgumentParser, add: Callable[[argparse.ArgumentParser], None], command: Command) -> None:
    add(parser)
    parser.set_defaults(command=command)
