"""Expressions printed in the form that `text` reads.

Sums are written as people write them: one whose weights are all 1/n is a mean, and a sum in a sum loses its parentheses
where they change no bit of what it stands for. So the text that is read again gives the same latent, and is written
the same again, though sums may be nested differently.
"""

import base64
import math
from dataclasses import dataclass
from keyword import iskeyword
from typing import TypeAlias

import numpy as np

from dcgan.errors import ExpressionError
from dcgan.latents.expressions import NO_TRUNCATION, Direction, Expression, Image, Mix, Seed, Sum, Values, needed
from dcgan.latents.syntax import BARE_PATH
from dcgan.latents.text import DATA_URI, MAX_LENGTH

_Terms: TypeAlias = list[tuple[int, float]]


def written(expression: Expression) -> str:
    """Prints an expression so that `parse` reads the same latent from it, bit for bit.

    `parse` refuses what no request may carry, such as weights beyond a million, and trees deeper than its MAX_DEPTH.

    Raises:
        ExpressionError: the text would be longer than MAX_LENGTH; shared parts are written out at every place.
    """
    text = _Writer(expression).text()
    return _short_enough(f"raw({text})" if expression.normalization == "raw" else text)


@dataclass(frozen=True, slots=True)
class _Outline:
    """A sum as it will be written.

    Attributes:
        terms: its own, a single term of weight +-1 that is itself a single term being replaced by what is in it.
        opened: whether the first term is a sum that is written without parentheses.
        count: terms, those of the opened sum among them.
        weight: of all of these, where they have just one.
    """

    terms: _Terms
    opened: bool
    count: int
    weight: float | None

    @property
    def is_mean(self) -> bool:
        return self.weight == 1.0 / self.count


class _Writer:
    """Writes the nodes of one expression, each once; a node's text is bounded, and so is all work on sums."""

    def __init__(self, expression: Expression) -> None:
        self._last = len(expression.nodes) - 1
        self._nodes = needed(expression.nodes)
        self._outlines: dict[int, _Outline] = {}
        for position, node in self._nodes.items():
            if isinstance(node, Sum):
                self._outlines[position] = self._outline(node)
        self._room = MAX_LENGTH  # a term is at least a character
        self._texts: dict[int, str] = {}

    def text(self) -> str:
        """Writes the last node; first those that stand in it, not those that were opened."""
        wanted: dict[int, _Terms] = {self._last: []}
        for position in sorted(self._nodes, reverse=True):
            if position in wanted:
                wanted[position] = self._terms(position)
                wanted.update((source, []) for source, _ in wanted[position])
        for position in sorted(wanted):
            self._texts[position] = _short_enough(self._text(position, wanted[position]))
        return self._texts[self._last]

    def _outline(self, node: Sum) -> _Outline:
        if not node.terms:
            raise ExpressionError("a sum without terms can't be written")
        terms = [self._bare(source, weight) for source, weight in node.terms]
        first, factor = terms[0]
        inner = self._outlines.get(first)
        if inner is None or factor != 1.0 or (len(terms) > 1 and inner.is_mean):
            weights = {weight for _, weight in terms}
            return _Outline(terms, False, len(terms), weights.pop() if len(weights) == 1 else None)
        weight = inner.weight if all(weight == inner.weight for _, weight in terms[1:]) else None
        return _Outline(terms, True, inner.count + len(terms) - 1, weight)

    def _bare(self, source: int, weight: float) -> tuple[int, float]:
        """Takes a sum of one term apart, where the product of the weights is exact."""
        inner = self._outlines.get(source)
        if inner is None or inner.count > 1 or abs(weight) != 1.0:
            return source, weight
        ((within, factor),) = inner.terms
        return within, weight * factor

    def _terms(self, position: int) -> _Terms:
        """Lists what a node's text is made of; for a sum with the terms of those that are opened in it."""
        node = self._nodes[position]
        if isinstance(node, Mix):
            return [(node.start, 1.0), (node.end, 1.0)]
        backwards: _Terms = []
        outline = self._outlines.get(position)
        while outline is not None:
            self._room -= len(outline.terms)
            if self._room < 0:
                raise _too_long()
            backwards.extend(reversed(outline.terms))
            outline = self._outlines[backwards.pop()[0]] if outline.opened else None
        return backwards[::-1]

    def _text(self, position: int, terms: _Terms) -> str:
        match self._nodes[position]:
            case Seed() as node:
                return str(node.seed) if node == Seed(node.seed) else _seed(node)
            case Values(values):
                return f"values({', '.join(map(_shortest, values))})"
            case Direction(name):
                return f"direction({name if _is_word(name) else _quoted(name)})"
            case Image() as node:
                return _image(node)
            case Mix(start, end, t, curve):
                way = "" if curve is None else f", curve={curve}"
                return f"mix({self._texts[start]}, {self._texts[end]}, {_number(t)}{way})"
            case Sum():
                return self._sum(position, terms)

    def _sum(self, position: int, terms: _Terms) -> str:
        if self._outlines[position].is_mean:
            return f"mean({', '.join(self._texts[source] for source, _ in terms)})"
        parts: list[str] = []
        for source, weight in terms:
            negative = math.copysign(1.0, weight) < 0
            sign = (" - " if negative else " + ") if parts else "-" if negative else ""
            factor = "" if abs(weight) == 1.0 else f"{_number(abs(weight))}*"
            # beside * and after a sign that begins, a number would be part of the factor
            parts.append(f"{sign}{factor}{self._operand(source, bool(factor) or sign == '-')}")
        return "".join(parts)

    def _operand(self, source: int, after_factor: bool) -> str:
        node, text = self._nodes[source], self._texts[source]
        if isinstance(node, Seed) and after_factor:
            return _seed(node)
        return f"({text})" if isinstance(node, Sum) and not self._outlines[source].is_mean else text


def _seed(node: Seed) -> str:
    index = f", {node.index}" if node.index else ""
    truncation = "" if node.truncation == NO_TRUNCATION else f", truncation={_number(node.truncation)}"
    return f"seed({node.seed}{index}{truncation})"


def _image(node: Image) -> str:
    steps = f", refine_steps={node.refine_steps}" if node.refine_steps else ""
    if isinstance(node.content, bytes):
        if len(node.content) > MAX_LENGTH:
            raise _too_long()
        return f'image("{DATA_URI}{base64.b64encode(node.content).decode()}"{steps})'
    path = f"./{node.content}" if node.content.startswith("data:") else node.content
    return f"image({path if BARE_PATH.fullmatch(path) else _quoted(path)}{steps})"


def _number(value: float) -> str:
    """Writes a number as short as it can be read again exactly."""
    text = repr(value)
    return text if text == "-0.0" else text.removesuffix(".0")


def _shortest(value: float) -> str:
    """Writes a number of float32's precision."""
    return _number(float(str(np.float32(value))))


def _is_word(name: str) -> bool:
    """Whether Python's grammar takes it as a name and leaves it as it is."""
    return name.isascii() and name.isidentifier() and not iskeyword(name)


def _quoted(text: str) -> str:
    """Writes a string in double quotes where it needs no others."""
    literal = repr(text)
    return f'"{literal[1:-1]}"' if literal[0] == "'" and '"' not in text and "'" not in text else literal


def _short_enough(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise _too_long()
    return text


def _too_long() -> ExpressionError:
    return ExpressionError(
        f"the expression is too long to be written as text: more than {MAX_LENGTH:,} characters, with what is used "
        "more than once written out at every place"
    )
