"""The bar of `dcgan-train run`: what figures a model must have to be published, as `fd<30` or `coverage>=0.6`."""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from dcgan.errors import SettingsError
from dcgan_training.quality import Report

NAMES: Final = {
    "fd": "frechet_distance",
    "fd_percent": "frechet_distance_percent",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "memorisation": "memorisation_points",
    "least_class_share": "least_class_share",
    "most_class_share": "most_class_share",
    "probe": "probe_accuracy/discriminator",
    "modes_1": "stacked_digits/modes_1",
    "modes_5": "stacked_digits/modes_5",
    "modes_10": "stacked_digits/modes_10",
    "kl": "stacked_digits/kl",
}
"""What a requirement may be about, and its key in the report."""

NEEDS_LABELS: Final = frozenset({"least_class_share", "most_class_share", "probe"})
NEEDS_DIGITS: Final = frozenset({"modes_1", "modes_5", "modes_10", "kl"})

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM: Final = re.compile(r"\s*([A-Za-z_0-9]+)\s*(<=|>=|<|>)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One figure's bar."""

    name: str
    relation: str
    bar: float

    def __str__(self) -> str:
        return f"{self.name}{self.relation}{self.bar:g}"

    def holds(self, value: float) -> bool:
        """Says whether a value passes; what is no number never does."""
        return _OPERATORS[self.relation](value, self.bar)


def parse(text: str) -> Requirement:
    """Reads a requirement.

    Raises:
        SettingsError: it has another form, or names no figure; says what is allowed.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise SettingsError(f"{text!r} is no requirement; write a figure, one of < <= > >=, and a number, as fd<30")
    name, relation, bar = found.groups()
    if name not in NAMES:
        raise SettingsError(f"{text!r}: there is no figure {name!r}; allowed: {', '.join(NAMES)}")
    return Requirement(name, relation, float(bar))


def unmet(requirements: Iterable[Requirement], report: Report) -> list[str]:
    """Says of each requirement that a report doesn't meet what the figure is and what it must be."""
    faults = []
    for requirement in requirements:
        value = report.find(NAMES[requirement.name])
        if value is None:
            faults.append(f"{requirement} can't be judged: {NAMES[requirement.name]} wasn't measured")
        elif not requirement.holds(value):
            faults.append(f"{requirement} isn't met: {NAMES[requirement.name]} is {value:.4g}")
    return faults
