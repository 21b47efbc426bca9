"""What a person looks at after, or during, a training: one static page with curves, samples over time and a verdict.

`write` reads a run directory and leaves `report.html` in it: no script, nothing from elsewhere, light or dark as the
reader's screen is. `charts` draws the curves; the page's frame is `page.html` beside this file.
"""

import re
from base64 import b64encode
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan import images
from dcgan_training import history, run_directory
from dcgan_training.config import Settings
from dcgan_training.files import write_atomically
from dcgan_training.history import Alarm, Check, Reading, Record, figure
from dcgan_training.report.charts import Chart, Line, drawn
from dcgan_training.report.verdict import verdict
from dcgan_training.trainer import Losses
from dcgan_training.watch.rules import WON_GAP, Rules, replay

FILE: Final = "report.html"
_MOST_GRIDS: Final = 8
_COLUMNS: Final = 10  # of a grid in samples/
_CORNER: Final = 4  # columns and rows of it that are shown over time
_PADDING: Final = 2  # px between its images
_WIDEST: Final = 660  # px of the last grid, whole
_CLASSIFIER: Final = "features of a classifier of the data's labels"
_RANDOM: Final = "label-free features of a fixed random network"
_NUMBERED: Final = re.compile(r"[0-9]{1,15}")  # names of grids, by the images seen


def write(directory: Path, seen: int, complete: bool = False) -> Path:
    """Writes the report of a run that has seen so many images; gives its file.

    `complete` says that it is, whatever is missing of its images.

    Raises:
        RunError: there is no run, or its files hold something else.
        OSError: the disk refuses.
    """
    settings = Settings.load(directory / run_directory.CONFIG)
    records = history.read(directory)
    rules, _ = replay(settings, records)
    frame = Template(resources.files(__package__).joinpath("page.html").read_text())
    kept = any((directory / run_directory.BEST).glob("*.pt"))
    state, sentence = verdict(settings, rules.seen, seen, complete, kept)
    page = frame.substitute(
        title=escape(f"{directory.name}: {settings.recipe} after {seen:,} images"),
        name=escape(directory.name),
        subtitle=escape(_subtitle(settings, seen)),
        state=state,
        verdict=escape(sentence),
        figures=_figures(rules),
        features=_CLASSIFIER if settings.labels else _RANDOM,
        alarms=_alarms(records),
        charts="".join(_charts(settings, records, rules)),
        grids=_grids(directory / run_directory.SAMPLES),
        settings=_table({name: value for name, value in asdict(settings).items() if name not in ("data_digest",)}),
    )
    file = directory / FILE
    write_atomically(file, page.encode(errors="replace"))  # a path may have bytes that are no UTF-8
    return file


def _subtitle(settings: Settings, seen: int) -> str:
    return (
        f"recipe {settings.recipe}, {settings.size}x{settings.size}x{settings.channels} px, width {settings.width}, "
        f"seed {settings.seed}; {seen:,} of {settings.images:,} images"
    )


def _figures(rules: Rules) -> str:
    """Shows the last check's figures, and those of the best one."""
    checks = rules.seen.checks
    if not checks:
        return ""
    last = checks[-1][1]
    best = next((check for images, check in checks if images == rules.seen.best), last)
    tiles = [
        ("Fréchet distance", figure(last.frechet_distance), f"best {figure(best.frechet_distance)}"),
        ("share of real variance", f"{last.share:.1%}", f"real images: {last.real_share:.1%}"),
        ("coverage", f"{last.coverage:.2f}", f"best check {best.coverage:.2f}"),
        ("precision", f"{last.precision:.2f}", f"best check {best.precision:.2f}"),
        ("diversity", f"{last.diversity:.2f}", "of real images'"),
        ("duplicates", f"{last.duplicates:.1%}", "of 512 samples"),
    ]
    return "".join(
        f'<div class="tile"><small>{escape(name)}</small><b>{value}</b><small>{escape(note)}</small></div>'
        for name, value, note in tiles
    )


def _alarms(records: list[Record]) -> str:
    raised = [(record.images, record.what) for record in records if isinstance(record.what, Alarm)]
    if not raised:
        return ""
    items = "".join(f"<li><b>{images:,} images</b> {escape(alarm.message)}</li>" for images, alarm in raised)
    return f'<section><h2>Alarms</h2><ul class="alarms">{items}</ul></section>'


def _charts(settings: Settings, records: list[Record], rules: Rules) -> list[str]:
    total = max([settings.images if len(records) < 2 else 1, *(record.images for record in records)])
    raised = [record.images for record in records if isinstance(record.what, Alarm)]
    readings = [(record.images, record.what.losses) for record in records if isinstance(record.what, Reading)]
    charts = [*_of_readings(settings, readings), *_of_checks(rules.seen.checks)]
    return [drawn(chart, total, rules.seen.best, raised) for chart in charts]


def _of_readings(settings: Settings, readings: list[tuple[int, Losses]]) -> list[Chart]:
    def line(name: str, field: str) -> Line:
        return Line(name, [(seen, getattr(losses, field)) for seen, losses in readings])

    if settings.objective in WON_GAP:
        ahead = Chart("Gap", "mean logit of real minus that of fake", [line("gap", "gap")])
    else:
        lines = [line("real", "belief_real"), line("fake", "belief_fake")]
        ahead = Chart("Discriminator's output", "0.5 on both is equilibrium", lines, ceiling=1.0, level=0.5)
    norms = [line("discriminator", "norm_discriminator"), line("generator", "norm_generator")]
    return [
        Chart("Losses", "nats", [line("discriminator", "discriminator"), line("generator", "generator")]),
        ahead,
        Chart("Gradient norms", "of the last step", norms),
    ]


def _of_checks(checks: list[tuple[int, Check]]) -> list[Chart]:
    def line(name: str, field: str) -> Line:
        return Line(name, [(seen, getattr(check, field)) for seen, check in checks])

    real = checks[-1][1].real_distance if checks else None
    note = f"from held-out images; dashed: real images' {figure(real)}" if real is not None else "from held-out images"
    return [
        Chart("Fréchet distance", note, [line("samples", "frechet_distance")], level=real),
        Chart(
            "Coverage and precision",
            "1 is all",
            [line("coverage", "coverage"), line("precision", "precision")],
            ceiling=1.0,
        ),
        Chart(
            "Diversity and duplicates",
            "dashed: diversity of real images",
            [line("diversity", "diversity"), line("duplicates", "duplicates")],
            ceiling=1.0,
            level=1.0,
        ),
    ]


def _grids(samples: Path) -> str:
    """Shows corners of up to eight grids over time, and the last one whole."""
    files = sorted(file for file in samples.glob("*.png") if _NUMBERED.fullmatch(file.stem))
    if not files:
        return '<p class="empty">no samples yet</p>'
    places = sorted({*np.linspace(0, len(files) - 1, _MOST_GRIDS).round().astype(int)})
    grids = {file: _pixels(file) for file in (files[place] for place in places)}
    sound = {file: grid for file, grid in grids.items() if grid is not None}
    damaged = ", ".join(file.name for file in grids if file not in sound)
    note = f'<p class="empty">damaged, and left out: {escape(damaged)}</p>' if damaged else ""
    if not sound:
        return note
    corners = "".join(_picture(_corner(grid), f"{int(file.stem):,} images") for file, grid in sound.items())
    file, last = list(sound.items())[-1]
    last = last[:: -(-last.shape[0] // _WIDEST), :: -(-last.shape[1] // _WIDEST)]
    whole = _picture(last, f"all {_COLUMNS**2} after {int(file.stem):,} images")
    return f'{note}<div class="corners">{corners}</div><div class="whole">{whole}</div>'


def _corner(grid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = (grid.shape[0] - _PADDING) // _COLUMNS
    return grid[: _CORNER * side + _PADDING, : _CORNER * side + _PADDING]


def _pixels(file: Path) -> NDArray[np.uint8] | None:
    """Gives a grid; None where the file is damaged, which mustn't end the training that reports."""
    try:
        grid = images.decode(file.read_bytes())
    except (OSError, ValueError):
        return None
    return grid if min(grid.shape[:2]) >= _COLUMNS + _PADDING else None


def _picture(pixels: NDArray[np.uint8], caption: str) -> str:
    source = b64encode(images.encode(pixels, "png")).decode()
    height, width, _ = pixels.shape
    alt = escape(f"samples, {caption}")
    return (
        f'<figure><img alt="{alt}" width="{width}" height="{height}" src="data:image/png;base64,{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(values: dict[str, object]) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in values.items())
    return f"<dl>{rows}</dl>"
