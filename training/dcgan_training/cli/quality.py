"""The commands `evaluate` and `run`: what a model is worth, and publishing it only where it is worth enough.

`run` ends with 0 where the bundle is published, 3 where the watch stopped the training, 4 where a requirement isn't
met; then nothing is published and the run stays. The other exit codes are those of every command.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from dcgan.errors import OutputError, SettingsError
from dcgan_training.cli import flags, training
from dcgan_training.cli.output import say
from dcgan_training.files import output_error, write_atomically
from dcgan_training.quality import SAMPLES, STACKED_SAMPLES

if TYPE_CHECKING:
    from dcgan_training.evaluate import Request
    from dcgan_training.quality import Report
    from dcgan_training.requirements import Requirement

BELOW_THE_BAR: Final = 4  # the exit code


def add_commands(commands: Any) -> None:
    """Adds the commands to the parser's."""
    flags.add(commands, "evaluate", "measure a model bundle and write it down there", _add_evaluate, evaluate_command)
    flags.add(commands, "run", "train, measure, and publish what is good enough", _add_run, run_command)


def evaluate_command(options: argparse.Namespace) -> int:
    """Measures a bundle, prints the table and writes the figures into it."""
    from dcgan_training.evaluate import evaluate, publish

    report = evaluate(options.bundle, _request(options), say)
    _tell(report, options.json)
    if not options.no_write:
        publish(options.bundle, report)
        say(f"{options.bundle}: the figures are in its manifest and its card")
    return 0


def run_command(options: argparse.Namespace) -> int:
    """Trains, exports and measures, and publishes the bundle if it meets all requirements."""
    requirements = _requirements(options)
    request = _request(options)
    request.check()
    output: Path = options.output
    if output.exists():
        raise OutputError(f"{output} exists; name a directory that doesn't")
    run = options.run or output.with_name(f"{output.name}.run")
    outcome = training.train(argparse.Namespace(**vars(options) | {"output": run}))
    code = training.exit_code(outcome)
    if code != 0:
        return code
    candidate = output.with_name(f".{output.name}.candidate")
    shutil.rmtree(candidate, ignore_errors=True)  # of a process that was killed
    try:
        return _judged(options, request, requirements, run, candidate)
    finally:
        shutil.rmtree(candidate, ignore_errors=True)


def _judged(
    options: argparse.Namespace, request: "Request", requirements: "list[Requirement]", run: Path, candidate: Path
) -> int:
    """Makes the bundle under a hidden name; renames it if it is good enough."""
    from dcgan_training.evaluate import evaluate, publish
    from dcgan_training.export import export
    from dcgan_training.requirements import unmet

    output, labels = options.output, flags.labels(options)
    export(run, candidate, replace(labels, name=labels.name or output.name), choice=options.checkpoint, say=say)
    report = evaluate(candidate, request, say)
    _tell(report, options.json)
    faults = unmet(requirements, report)
    for fault in faults:
        say(f"below the bar: {fault}")
    if faults:
        say(f"nothing is published; the run is {run}")
        return BELOW_THE_BAR
    publish(candidate, report)
    try:
        candidate.rename(output)
    except OSError as error:
        raise output_error(error, output) from error
    say(f"{output} is published; next: dcgan serve --model {output}")
    return 0


def _tell(report: "Report", json: Path | None) -> None:
    """Prints the table on stdout, the conditions on stderr, and writes the JSON where it is wanted."""
    Console().print(report.table())
    for condition in report.conditions:
        say(condition)
    for what, why in report.omitted.items():
        say(f"not measured: {what}: {why}")
    if json is not None:
        try:
            write_atomically(json, report.to_json().encode())
        except OSError as error:
            raise output_error(error, json) from error


def _request(options: argparse.Namespace) -> "Request":
    from dcgan_training.evaluate import Request

    default = ["random"] if options.labels is None else ["classifier", "random"]
    return Request(
        data=options.data,
        held_out=options.held_out,
        labels=options.labels,
        features=tuple(options.features or default),
        samples=options.samples,
        digits=options.stacked_digits,
        stacked_samples=options.stacked_samples,
        broken=options.broken,
    )


def _requirements(options: argparse.Namespace) -> "list[Requirement]":
    """Refuses, as a wrong command line, requirements on what won't be measured."""
    from dcgan_training.requirements import NEEDS_DIGITS, NEEDS_LABELS

    required: list[Requirement] = options.require
    for requirement in required:
        for names, flag, value in (
            (NEEDS_LABELS, "--labels", options.labels),
            (NEEDS_DIGITS, "--stacked-digits", options.stacked_digits),
        ):
            if requirement.name in names and value is None:
                options.usage_error(f"--require {requirement} needs {flag}")
    return required


def _requirement(text: str) -> "Requirement":
    from dcgan_training.requirements import parse

    try:
        return parse(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Measures what a model bundle serves against real images; writes it into manifest and card."
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="directory of the model bundle")
    add("--data", type=Path, required=True, metavar="PATH", help="the images that it was trained on, as for train")
    add("--held-out", type=Path, metavar="PATH", help="a test set to compare with (default: what its run held out)")
    add("--broken", choices=("refuse", "skip"), default="refuse", help="as for train (default: refuse)")
    add("--no-write", action="store_true", help="leave the bundle as it is (default: its figures are replaced)")
    _add_measures(add)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Trains, exports, measures, and publishes the bundle only if it meets every requirement. Exit codes: 0 "
        "published, 1 an error, 2 a wrong command line, 3 stopped by the watch, 4 below the bar, 128 + n stopped by "
        "signal n. The same command again continues."
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="PATH", help="images, as for train")
    add("--output", type=Path, required=True, metavar="BUNDLE", help="directory of the bundle; must not exist")
    add("--run", type=Path, metavar="DIR", help="directory of the run (default: BUNDLE.run, beside the bundle)")
    add(
        "--require",
        type=_requirement,
        action="append",
        default=[],
        metavar="FIGURE<NUMBER",
        help="what it must have, as fd<30 or coverage>=0.6; may be given again (default: nothing)",
    )
    flags.add_training(parser)
    _add_measures(parser.add_argument_group("measuring").add_argument)
    flags.add_bundle(parser.add_argument_group("the bundle").add_argument)
    parser.set_defaults(usage_error=parser.error)


def _add_measures(add: flags.Add) -> None:
    add("--labels", type=Path, metavar="FILE", help="of the data: an idx file, or a .csv with a header (default: none)")
    add(
        "--features",
        action="append",
        metavar="NAME",
        help="random, classifier, or a FILE.onnx; may be given again, requirements mean the first (default: random; "
        "with --labels classifier, then random)",
    )
    add("--samples", type=flags.whole(100, 1_000_000), default=SAMPLES, metavar="N", help=f"(default: {SAMPLES})")
    add("--stacked-digits", type=Path, metavar="DIR", help="MNIST's folder, to count modes by (default: not counted)")
    add(
        "--stacked-samples",
        type=flags.whole(1000, 10_000_000),
        default=STACKED_SAMPLES,
        metavar="N",
        help=f"to count modes of (default: {STACKED_SAMPLES})",
    )
    add("--json", type=Path, metavar="FILE", help="to write the figures to (default: none)")
