"""What was measured of a model: figures with real images' beside them, and how they are told.

A report becomes entries of the manifest, a section of the model card, JSON, and a table in the terminal. The keys are
stable: a pipeline may rely on them. FEATURES stands for the name of the features, such as random-conv-1.

frechet_distance/FEATURES            from held-out real images; and frechet_distance_percent, of their variance
precision, recall, density, coverage /FEATURES
memorisation_points                  how far more often the nearest image is a trained one than for real images, points
memorisation_interval                half of the 95 % interval of that, points
class_share/COLUMN/VALUE             of the samples, by a classifier; least_class_share and most_class_share
classifier_accuracy/COLUMN           on labelled images that it wasn't trained on
probe_accuracy/discriminator         of a linear classifier on its maps; and probe_accuracy/pixels
stacked_digits/modes_1, _5, _10      of 1,000, with so many samples or more; stacked_digits/kl in nats;
                                     stacked_digits/accuracy of the digit classifier
samples                              drawn from seed 0 on

A key that ends in `/real` is what real images get in the same measurement.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table
from rich.text import Text

SECTION: Final = "Quality"
SAMPLES: Final = 10_000
STACKED_SAMPLES: Final = 26_000  # as in the papers
REAL: Final = "real"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: its key.
        value: of the model.
        real: what real images get in the same measurement; None where that has no meaning.
    """

    name: str
    value: float
    real: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of an evaluation, and under what conditions they hold.

    Attributes:
        figures: in the order in which they are told.
        features: the names of the features, the one that requirements mean first.
        conditions: sentences on what was compared with what.
        omitted: what wasn't measured, and why.
    """

    figures: tuple[Figure, ...]
    features: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    omitted: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> float | None:
        """Gives the figure of this key, or of this key in the first features; None if it wasn't measured."""
        wanted = (name, *(f"{name}/{features}" for features in self.features[:1]))
        return next((figure.value for figure in self.figures if figure.name in wanted), None)

    def flat(self) -> dict[str, float]:
        """Gives all of it as keys and finite numbers, for the manifest."""
        return {key: value for key, value in self._pairs() if math.isfinite(value)}

    def to_json(self) -> str:
        """Gives the figures, the conditions and what was omitted as JSON text."""
        whole = {
            "figures": self.flat(),
            "features": list(self.features),
            "conditions": list(self.conditions),
            "omitted": self.omitted,
        }
        return json.dumps(whole, indent=2) + "\n"

    def table(self) -> Table:
        """Gives the figures as a table for the terminal."""
        table = Table(box=None)
        table.add_column("figure", overflow="fold")
        for heading in ("model", "real images"):
            table.add_column(heading, justify="right")
        for figure in self.figures:
            table.add_row(Text(figure.name), _told(figure.value), _told(figure.real))
        return table

    def section(self) -> str:
        """Gives the body of the model card's section, as Markdown."""
        rows = "\n".join(f"| {_cell(each.name)} | {_told(each.value)} | {_told(each.real)} |" for each in self.figures)
        notes = [*self.conditions, *(f"Not measured: {what}: {why}" for what, why in self.omitted.items())]
        told = "\n".join(f"- {note}." for note in notes)
        return f"""Measured by `dcgan-train evaluate` on the images that the bundle serves. Beside each figure stands \
what real images get in the same measurement: no model can be expected to be better.

| figure | model | real images |
| --- | --- | --- |
{rows}

{told}"""

    def _pairs(self) -> Iterator[tuple[str, float]]:
        for figure in self.figures:
            yield figure.name, figure.value
            if figure.real is not None:
                yield f"{figure.name}/{REAL}", figure.real


def _cell(text: str) -> str:
    """Keeps a label's value from ending its cell of a table in Markdown."""
    return text.replace("|", "\\|")


def _told(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.4g}"
