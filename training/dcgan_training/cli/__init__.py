"""The command `dcgan-train`: parse, build, run.

Exit codes: 0 done, 1 an error (one line on stderr), 2 a wrong command line, 128 + n stopped by signal n.
Torch is imported by the commands that need it, so that help and mistakes cost no seconds.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from dcgan.errors import DcganError
from dcgan_training import known, recipes
from dcgan_training.cli import flags
from dcgan_training.config import Settings

Command = Callable[[argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line `arguments` (None: the process's own) and gives the exit code."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
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
        width=options.width or recipe.method.width,
        images=options.images or recipe.method.images,
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
    _add(commands.add_parser("train", help="train, or continue a run that was stopped"), flags.add_train, _train)
    _add(commands.add_parser("export", help="make a model bundle of a run"), flags.add_export, _export)
    _add(commands.add_parser("encoder", help="let a model bundle encode images"), flags.add_encoder, _encoder)
    _add(
        commands.add_parser("directions", help="find named directions in the latents of a model bundle"),
        flags.add_directions,
        _directions,
    )
    _add(commands.add_parser("fetch", help="download a data set"), flags.add_fetch, _fetch)
    return parser


def _add(parser: argparse.ArgumentParser, add: Callable[[argparse.ArgumentParser], None], command: Command) -> None:
    add(parser)
    parser.set_defaults(command=command)
