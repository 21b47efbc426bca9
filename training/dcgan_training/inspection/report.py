"""An inspection in words, for a terminal, a pipe or a file: one line for each thing, what to do about it included."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.console import Console

from dcgan_training.data.gathering import Broken
from dcgan_training.data.pictures import RULES
from dcgan_training.inspection import Inspection
from dcgan_training.inspection.survey import Shape
from dcgan_training.recipes.scarce import BELOW_IMAGES, SCARCE

if TYPE_CHECKING:
    from dcgan_training.inspection.speed import Speed

Line = tuple[str, str]

_NAMED: Final = 10  # broken or blank files
_BAR: Final = 40  # characters of the longest one
_EDGES: Final = (16, 32, 64, 128, 256, 512, 1024)  # px, where the histogram's bins begin


def show(found: Inspection, broken: Broken, size: int | None, speed: "Speed | None") -> None:
    """Prints an inspection to stdout.

    Args:
        found: what to print.
        broken: what training will be told to do about broken files.
        size: that was asked for, px; None asked for none.
        speed: of the advised recipe; None where it wasn't measured.
    """
    console = Console()
    for heading, text in _lines(found, broken, size, speed):
        printable = text.encode(errors="backslashreplace").decode()  # a file's name may be no UTF-8
        console.print(f"{heading:<11} {printable}", highlight=False, markup=False, soft_wrap=True)


def _lines(found: Inspection, broken: Broken, size: int | None, speed: "Speed | None") -> Iterator[Line]:
    yield "images", f"{found.count:,} in {found.path}"
    yield from _of_files(found)
    yield "seen as", f"{found.size}x{found.size} {'grey' if found.channels == 1 else 'RGB'} by the networks"
    if size is not None or found.advised_size is not None:
        yield "size", _size(found, size)
    yield from _broken(found, broken)
    yield "duplicates", _duplicates(found)
    yield "blank", _blank(found)
    yield "held out", _held_out(found)
    yield "flips", "--flip mirrors every second image; not for what has a left and a right, such as digits and text"
    yield "labels", "let the watch and figures see by them, with --labels; the generator isn't conditioned on them"
    yield "recipe", _recipe(found)
    if speed is not None:
        yield "speed", _speed(found, speed)
    for number, rule in enumerate(RULES):
        yield "" if number else "rules", rule
    yield "next", _next(found, broken, size)


def _of_files(found: Inspection) -> Iterator[Line]:
    shapes = found.survey.shapes
    if len(shapes) == 1:
        yield "sizes", f"all are {_px(next(iter(shapes)))}"
    else:
        by_area = sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape))
        most, times = shapes.most_common(1)[0]
        yield (
            "sizes",
            f"{len(shapes):,} different ones, from {_px(by_area[0])} to {_px(by_area[-1])}; "
            f"the most frequent is {_px(most)} ({times:,}); by the shorter side, px:",
        )
        yield from (("", line) for line in _histogram(shapes))
    yield "modes", ", ".join(f"{kind} {count:,}" for kind, count in found.survey.kinds.most_common())
    if found.survey.turned:
        yield "EXIF", f"turns or mirrors {found.survey.turned:,} of them"


def _histogram(shapes: Counter[Shape]) -> Iterator[str]:
    bins = Counter[int]()
    for shape, count in shapes.items():
        bins[sum(min(shape) >= edge for edge in _EDGES)] += count
    for place in range(min(bins), max(bins) + 1):
        low = _EDGES[place - 1] if place else 1
        label = f"{low}-{_EDGES[place] - 1}" if place < len(_EDGES) else f"{low} and more"
        yield f"{label:>13} {bins[place]:>9,} {'#' * round(_BAR * bins[place] / max(bins.values()))}"


def _size(found: Inspection, size: int | None) -> str:
    if size is not None:
        return f"--size {size} cuts out the central square and resizes it"
    return (
        f"as they are they can't be trained on; --size {found.advised_size} is advised and shown here: the largest "
        "that half of the images fill, and not above 64, for four times the pixels take four times the hours"
    )


def _broken(found: Inspection, broken: Broken) -> Iterator[Line]:
    if not found.broken:
        yield "broken", "none"
        return
    what = "refuses them; --broken skip leaves them out" if broken == "refuse" else "leaves them out"
    yield "broken", f"{len(found.broken):,} of {len(found.broken) + found.count:,}; training {what}:"
    yield from (("", f"{name}: {why}") for name, why in found.broken[:_NAMED])
    if len(found.broken) > _NAMED:
        yield "", f"and {len(found.broken) - _NAMED:,} more"


def _duplicates(found: Inspection) -> str:
    if not found.duplicates:
        return "none, pixel for pixel"
    examples = "; ".join(f"{one} and {other}" for one, other in found.twins)
    return f"{found.duplicates:,} images show, pixel for pixel, what another one shows: {examples}"


def _blank(found: Inspection) -> str:
    if not found.blank:
        return "none: every image has some contrast"
    names = ", ".join(found.blank[:_NAMED]) + (" and others" if len(found.blank) > _NAMED else "")
    return f"{len(found.blank):,} images are of nearly one colour: {names}"


def _held_out(found: Inspection) -> str:
    if found.held_out == found.count:
        return "training will refuse these images: there are too few different ones to hold any out"
    return (
        f"{found.held_out:,} by a hash of what they show, {found.count - found.held_out:,} to train on; "
        "or --held-out with a test set"
    )


def _recipe(found: Inspection) -> str:
    few = "fewer" if found.recipe is SCARCE else "no fewer"
    return f"{found.recipe.name} is advised, for {few} than {BELOW_IMAGES:,} images remain to train on"


def _speed(found: Inspection, speed: "Speed") -> str:
    machine, images = speed.machine, found.recipe.method.images
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    where = f"{machine.processor}, {machine.precision}" + (f", {threads}" if machine.device == "cpu" else "")
    return (
        f"{speed.images_per_s:,.0f} images/s just now on {where}: the recipe's {images:,} images take "
        f"{images / speed.images_per_s / 3600:.1f} hours"
    )


def _next(found: Inspection, broken: Broken, size: int | None) -> str:
    chosen = size or found.advised_size
    flags = [
        f"--recipe {found.recipe.name}",
        f"--size {chosen}" if chosen else "",
        "--broken skip" if found.broken and broken == "skip" else "",
    ]
    return f"dcgan-train train --data {found.path} --output runs/NAME {' '.join(filter(None, flags))}"


def _px(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"
