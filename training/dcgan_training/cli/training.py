"""The commands `train` and `recipes`."""

import argparse
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dcgan.errors import SettingsError
from dcgan_training import choices, recipes
from dcgan_training.cli import flags
from dcgan_training.cli.output import say
from dcgan_training.config import Recipe, Settings
from dcgan_training.files import check_file, is_within
from dcgan_training.recipes.scarce import BELOW_IMAGES

if TYPE_CHECKING:
    from torch import nn

    from dcgan_training.data import Dataset
    from dcgan_training.distributed import World
    from dcgan_training.initial import Initial
    from dcgan_training.machine import Machine
    from dcgan_training.train import Job, Outcome

STOPPED_BY_WATCH = 3  # the exit code


def add_commands(commands: Any) -> None:
    """Adds the commands to the parser's."""
    flags.add(commands, "train", "train, or continue a run that was stopped", flags.add_train, train_command)
    flags.add(commands, "recipes", "list the recipes, or show one whole", flags.add_recipes, recipes_command)


def train_command(options: argparse.Namespace) -> int:
    """Trains and says how it ended."""
    with together(options) as crew:
        outcome = train(options, crew)
        code = exit_code(outcome, crew)
        if code == 0 and crew.world.rank == 0:
            say(f"complete after {outcome.images:,} images; next: dcgan-train export {options.output} --output DIR")
        return code


@dataclass(frozen=True, slots=True)
class Crew:
    """What trains a run: its recipe with the user's settings, the machine, and the processes that share the work."""

    recipe: Recipe
    machine: "Machine"
    world: "World"


@contextmanager
def together(options: argparse.Namespace) -> Iterator[Crew]:
    """Chooses by the flags of `flags.add_train` what is to train, and joins the processes until the block ends.

    Raises:
        SettingsError: the settings can't be, or not with the data or the number of processes.
        DeviceError: the device can't be used.
        DataError: there are no such labels, or the first image is none for the recipe.
    """
    recipe = choices.chosen(recipes.named(options.recipe), options.set, width=options.width, images=options.images)
    from dcgan_training.distributed import joined
    from dcgan_training.machine import Machine

    machine = Machine.choose(options.device, options.precision, options.threads)
    _check_glimpse(recipe, options)
    _check_outside(options)
    if options.labels is not None:
        check_file(options.labels)
    with joined(machine.device) as world:
        world.share(recipe.method.batch_size, recipe.method.packing)
        yield Crew(recipe, machine, world)
        world.wait()  # torchrun ends all as soon as one ends badly, and the first one may not have said yet why


def exit_code(outcome: "Outcome", crew: Crew) -> int:
    """Gives 0 for a complete run; else the code for what stopped it, which the first process says."""
    from dcgan_training.history import Alarm

    by = outcome.stopped_by
    if by is None:
        return 0
    if isinstance(by, Alarm):
        code, how = STOPPED_BY_WATCH, f"stopped by the watch after {outcome.images:,} images: {by.kind}"
        then = "with --on-alarm warn it goes on all the same; to start again, choose another directory"
    else:
        code, how = 128 + by, f"stopped after {outcome.images:,} images"
        then = "the same command continues from there"
    if crew.world.rank == 0:
        say(f"{how}; {then}")
    return code


def train(options: argparse.Namespace, crew: Crew, approve: "Callable[[Dataset], None]" = lambda _: None) -> "Outcome":
    """Trains as the flags of `flags.add_train` say; the run's directory is `options.output`.

    `approve` is shown the data before anything is trained, and may refuse it.
    """
    from dcgan_training import run_directory
    from dcgan_training.train import train as run

    with run_directory.claimed(options.output, crew.world.rank):
        return run(_job(options, crew, approve))


def _check_outside(options: argparse.Namespace) -> None:
    """Refuses a run within a folder of images, whose pictures would be among its data when it is continued."""
    from dcgan_training.data import form_of

    if is_within(options.output, options.data) and form_of(options.data) == "pictures":
        raise SettingsError(f"--output {options.output} is in the folder of --data; choose a directory outside of it")


def _check_glimpse(recipe: Recipe, options: argparse.Namespace) -> None:
    """Refuses images of a shape that the recipe isn't for as soon as the first one shows it."""
    from dcgan_training.data import glimpse

    seen = glimpse(options.data, options.size) if recipe.size or recipe.channels else None
    if seen is not None:
        size, channels = seen
        choices.check_shape(recipe, size, max(channels, recipe.channels or 1))  # a later one may have colour


def _job(options: argparse.Namespace, crew: Crew, approve: "Callable[[Dataset], None]") -> "Job":
    """Gathers the images of a run and settles what it is, in its directory."""
    from dcgan_training import run_directory
    from dcgan_training.extractors import ClassifierFeatures, digest
    from dcgan_training.label_classifier import learnable, remembered
    from dcgan_training.material import Material, Source, gather
    from dcgan_training.train import Job, Plan

    source = Source(data=options.data, size=options.size, broken=options.broken, test_set=options.held_out)
    gathered = gather(source, options.output, crew.world)
    choices.check_shape(crew.recipe, gathered.data.size, gathered.data.channels)
    approve(gathered.data)
    start, initial, notes = _beginning(options)
    columns, left_out = ([], []) if options.labels is None else learnable(options.labels, gathered.data)
    settings = Settings.of(
        crew.recipe,
        **gathered.facts,
        seed=options.seed,
        flip=options.flip,
        labels="" if options.labels is None else digest(options.labels),
        initial=initial,
    )
    if start is not None:
        start.check(settings)
    features = None
    if crew.world.rank == 0:
        skipped = (f"warning: {name} can't be read and was passed over" for name in gathered.data.skipped)
        for note in [*skipped, *_advice(crew.recipe, len(gathered.rows)), *notes, *left_out]:
            say(note)
        run_directory.settle(options.output, settings, gathered.held_out)
        if columns:
            file = options.output / run_directory.CLASSIFIER
            network = remembered(file, gathered.data, columns, say)
            features = ClassifierFeatures(network, options.labels)
    crew.world.wait()
    return Job(
        settings=settings,
        machine=crew.machine,
        world=crew.world,
        material=Material(gathered.data.images, gathered.rows, run_directory.held_out(options.output)),
        features=features,
        start=start,
        directory=options.output,
        plan=Plan(save_every=options.save_every, hours=options.hours, on_alarm=options.on_alarm),
    )


def _advice(recipe: Recipe, count: int) -> list[str]:
    """Gives what is to be known of a plain DCGAN on few images, as `inspect` would have said before."""
    if recipe.name != recipes.DEFAULT.name or recipe.method.augment != "none" or count >= BELOW_IMAGES:
        return []
    return [f"note: {count:,} images are few; --recipe scarce varies them, so that the discriminator can't learn them"]


def _beginning(options: argparse.Namespace) -> "tuple[Initial | None, str, list[str]]":
    """Gives the weights to begin with, if there are any to be taken, the digest of their bundle, and warnings."""
    from dcgan_training import initial, run_directory

    begun = run_directory.begun(options.output)
    if begun is not None:
        return None, *initial.recognised(options.init_from, begun.initial)
    if options.init_from is None:
        return None, "", []
    start = initial.read(options.init_from)
    return start, start.digest, []


def recipes_command(options: argparse.Namespace) -> int:
    """Lists the recipes, or shows all of one."""
    console = Console()
    if options.name is None:
        table = Table("recipe", "what it reproduces", box=None)
        for recipe in recipes.RECIPES.values():
            table.add_row(recipe.name, recipe.summary)
        console.print(table)
        console.print("\ndcgan-train recipes NAME shows one whole", highlight=False)
        return 0
    recipe = recipes.named(options.name)
    _show(console, recipe, recipe.size or options.size, recipe.channels or options.channels)
    return 0


def _show(console: Console, recipe: Recipe, size: int, channels: int) -> None:
    """Prints every setting with what is allowed, then both networks layer by layer."""
    from dcgan_training.networks import build_discriminator, build_generator

    console.print(f"[bold]{recipe.name}[/bold]: {recipe.summary}\n", highlight=False)
    table = Table("setting", "value", "allowed", box=None)
    for name, allowed in choices.ALLOWED.items():
        table.add_row(name, str(getattr(recipe.method, name)), allowed)
    console.print(table)
    facts = {"data": "", "data_count": 0, "data_digest": "", "seed": 0, "size": size, "channels": channels}
    settings = Settings.of(recipe, **facts)
    for title, network in (
        ("generator", build_generator(settings)),
        ("discriminator", build_discriminator(settings)),
    ):
        total = sum(value.numel() for value in network.parameters())
        layers = Table(f"{title}, {size}x{size}x{channels}", "weights", "parameters", box=None)
        for row in _layers(network):
            layers.add_row(*row)
        layers.add_row("total", "", f"{total:,}", style="bold")
        console.print(f"\n{_description(network)}\n", markup=False, highlight=False, soft_wrap=True)
        console.print(layers)


def _description(network: "nn.Module") -> str:
    """Gives what a network's docstring says of its layers, with their activations and strides."""
    return inspect.cleandoc(type(network).__doc__ or "").partition("\n\nArgs:")[0]


def _layers(network: "nn.Module") -> Iterator[tuple[str, str, str]]:
    for name, value in network.named_parameters():
        yield name, "x".join(map(str, value.shape)), f"{value.numel():,}"
