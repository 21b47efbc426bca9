"""The commands `evaluate` and `run`: what a model is worth, and publishing it only where it is worth enough.

`run` ends with 0 where the bundle is published, 3 where the watch stopped the training, 4 where a requirement isn't
met; then nothing is published and the run stays. The other exit codes are those of every command.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dcgan.errors import SettingsError
from dcgan_training.cli import flags, training
from dcgan_training.cli.output import say, show
from dcgan_training.files import check_writable, is_within, output_error, write_atomically
from dcgan_training.quality import SAMPLES, STACKED_SAMPLES

if TYPE_CHECKING:
    from dcgan_training.evaluate import Request
    from dcgan_training.export import Labels
    from dcgan_training.quality import Report
    from dcgan_training.requirements import Requirement

BELOW_THE_BAR: Final = 4  # the exit code
_NOT_OF_THE_BUNDLE: Final = frozenset(  # flags that don't change what is published
    {"command", "usage_error", "output", "run", "json", "threads", "device", "save_every", "on_alarm"}
)


def add_commands(commands: Any) -> None:
    """Adds the commands to the parser's."""
    flags.add(commands, "evaluate", "measure a model bundle and write it down there", _add_evaluate, evaluate_command)
    flags.add(commands, "run", "train, measure, and publish what is good enough", _add_run, run_command)


def evaluate_command(options: argparse.Namespace) -> int:
    """Measures a bundle, prints the table and writes the figures into it."""
    from dcgan_training.evaluate import evaluate, publish

    json = None if options.json is None else options.json.absolute()  # where it is now, should it be in the bundle
    if json is not None:
        check_writable(json)
    report = evaluate(options.bundle, _request(options), say)
    _write(report, json)
    try:
        if not options.no_write:
            publish(options.bundle, report)
            say(f"{options.bundle}: the figures are in its manifest and its card")
    finally:
        _tell(report)
    return 0


def run_command(options: argparse.Namespace) -> int:
    """Trains, exports and measures, and publishes the bundle if it meets all requirements.

    Of several processes the first one does what comes before and after the training.
    """
    _check_requirements(options)
    request, output = _request(options), options.output
    request.check()
    labels = flags.labels(options).at(output)
    labels.check()
    run = options.run or output.with_name(f"{output.name}.run")
    if is_within(run, output):
        options.usage_error(f"--run {run} is the bundle's own place or below it; name another directory")
    trained = argparse.Namespace(**vars(options) | {"output": run})
    with training.together(trained) as crew:
        if crew.world.first(lambda: _is_published(options, run)):
            return 0
        crew.world.first(lambda: _check_places(output, options.json))
        outcome = training.train(trained, crew, request.check_with)
        code = training.exit_code(outcome, crew)
        return code or crew.world.first(lambda: _published(options, run, labels, request))


def _published(options: argparse.Namespace, run: Path, labels: "Labels", request: "Request") -> int:
    """Makes a bundle of a run in a hidden directory, and puts it in its place if it is good enough."""
    from dcgan_training import run_directory
    from dcgan_training.evaluate import evaluate
    from dcgan_training.export import export

    output: Path = options.output
    hidden = output.with_name(f".{output.name}.candidate")  # holds all that a process leaves behind if it is killed
    candidate = hidden / output.name
    with run_directory.claimed(run):  # or the same command beside this one would take the candidate for left behind
        shutil.rmtree(hidden, ignore_errors=True)
        try:
            export(run, candidate, labels, choice=options.checkpoint, say=say)
            report = evaluate(candidate, replace(request, classifier=run / run_directory.CLASSIFIER), say)
            code = _judged(report, options, candidate, run)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    if code != 0:
        say(f"nothing is published; the run is {run}")
    _write(report, options.json)
    _tell(report)  # last: nobody may read it
    return code


def _is_published(options: argparse.Namespace, run: Path) -> bool:
    """Says whether this very command published what is there: it may have been killed before it could end well."""
    from dcgan_training import run_directory

    output, published = options.output, run / run_directory.PUBLISHED
    if not output.exists() or not published.is_file():
        return False
    if published.read_text(errors="replace") != _published_as(output, options):
        return False
    say(f"{output} is published already, by {run}")
    return True


def _published_as(path: Path, options: argparse.Namespace) -> str:
    """Gives what a run remembers of a bundle that it published: its generator, and the command that made it."""
    from dcgan import bundle

    said = {name: value for name, value in vars(options).items() if name not in _NOT_OF_THE_BUNDLE}
    said["require"] = sorted(map(str, options.require))
    generator = bundle.load(path).manifest.files[bundle.GENERATOR].sha256
    return "\n".join([generator, *(f"{name} {value}" for name, value in sorted(said.items()))])


def _check_places(output: Path, json: Path | None) -> None:
    """Finds out before anything is trained whether the bundle and the figures could be written."""
    from dcgan import bundle

    bundle.check_new(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, output.parent) from error
    check_writable(output)
    if json is not None:
        check_writable(json)


def _judged(report: "Report", options: argparse.Namespace, candidate: Path, run: Path) -> int:
    """Puts a bundle that was made in a hidden directory in its place, if it is good enough, and lets its run know."""
    from dcgan_training import run_directory
    from dcgan_training.evaluate import publish
    from dcgan_training.requirements import unmet

    output: Path = options.output
    faults = unmet(options.require, report)
    for fault in faults:
        say(f"below the bar: {fault}")
    if faults:
        return BELOW_THE_BAR
    publish(candidate, report)
    try:
        write_atomically(run / run_directory.PUBLISHED, _published_as(candidate, options).encode())
        candidate.rename(output)
    except OSError as error:
        raise output_error(error, output) from error
    say(f"{output} is published; next: dcgan serve --model {output}")
    return 0


def _tell(report: "Report") -> None:
    """Prints the table on stdout, and the conditions on stderr."""
    show(report.table())
    for condition in report.conditions:
        say(condition)
    for what, why in report.omitted.items():
        say(f"not measured: {what}: {why}")


def _write(report: "Report", json: Path | None) -> None:
    """Writes the JSON where it is wanted."""
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


def _check_requirements(options: argparse.Namespace) -> None:
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
    flags.add_broken(add)
    add("--labels", type=Path, metavar="FILE", help="of the data: an idx file, or a .csv with a header (default: none)")
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
