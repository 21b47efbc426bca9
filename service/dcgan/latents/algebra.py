"""What expressions over latents stand for: all of them are evaluated here, by one function.

Every node stands for a linear form: weights of named seeds, and one free vector for directions, images and explicit
values. Weights of the same seed merge. Where a form becomes a value (the result, an end of a mix) the seeds' part is
divided by the root of the sum of its squared weights, so that it stays a draw from a normal prior; one seed alone is
never changed, whatever its weight. A mix is the form that its two coefficients make of its ends.

Whoever asks chooses the formula, so its cost is bounded: only nodes that the result needs are worked out, each of
them becomes a value at most once, and a mix takes its value from those of its ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np

from dcgan.latents.expressions import Direction, Expression, Image, Mix, Node, Seed, Sum, Values, needed
from dcgan.latents.forms import Form, Point, combined, mixed
from dcgan.latents.paths import Curve
from dcgan.latents.seeds import Floats32, Floats64, Prior, draw

_NOTHING: Final[Mapping[Any, Any]] = {}


def evaluate(
    expressions: Sequence[Expression],
    dim: int,
    prior: Prior,
    directions: Mapping[str, Floats32],
    encoded: Mapping[Image, Floats32] = _NOTHING,
) -> Floats32:
    """Computes the latents that expressions stand for.

    Args:
        expressions: n of them; positions must point to earlier nodes and names must be keys of `directions`.
        dim: values in a latent; explicit values and directions have this length.
        prior: of the model; a uniform one clips results to [-1, 1] unless the expression is raw.
        directions: float32 (dim,) by name.
        encoded: float32 (dim,) for each image among the nodes.

    Returns:
        float32 of shape (n, dim). Not finite where weights overflow: check it.
    """
    parts = [needed(expression.nodes) for expression in expressions]
    drawn = _drawn((node for nodes in parts for node in nodes.values()), dim, prior)
    out = np.empty((len(expressions), dim), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, (expression, nodes) in enumerate(zip(expressions, parts, strict=True)):
            result = expression.nodes[-1]
            if isinstance(result, Seed):
                out[row] = drawn[result]
            else:
                raw = expression.normalization == "raw"
                out[row] = _Evaluation(nodes, dim, prior, directions, encoded, drawn, raw).result()
    return out


class _Evaluation:
    """The nodes of one expression, worked out in order; their seeds are sorted, so that a sum's order is its own."""

    def __init__(
        self,
        nodes: Mapping[int, Node],
        dim: int,
        prior: Prior,
        directions: Mapping[str, Floats32],
        encoded: Mapping[Image, Floats32],
        drawn: Mapping[Seed, Floats32],
        raw: bool,
    ) -> None:
        names = {node for node in nodes.values() if isinstance(node, Seed)}
        columns = sorted(names, key=attrgetter("seed", "index", "truncation"))
        self._seeds = dict(zip(columns, np.eye(len(columns)), strict=True))
        self._draws = np.array([drawn[name] for name in columns], np.float64).reshape(len(columns), dim)
        self._nodes, self._directions, self._encoded = nodes, directions, encoded
        self._curve = default_curve(prior)
        self._normalizes, self._clips = not raw and prior == "normal", not raw and prior == "uniform"
        self._forms: dict[int, Form] = {}
        self._points: dict[int, Point] = {}

    def result(self) -> Floats64:
        """Computes the last node's value: float64 (dim,)."""
        for position, node in self._nodes.items():
            self._forms[position] = self._form(position, node)
        value = self._point(position).value
        return np.clip(value, -1.0, 1.0) if self._clips else value

    def _form(self, position: int, node: Node) -> Form:
        seed_count = len(self._seeds)
        match node:
            case Seed():
                return Form(self._seeds[node])
            case Values(values):
                return Form(np.zeros(seed_count), np.array(values, np.float64))
            case Direction(name):
                return Form(np.zeros(seed_count), self._directions[name].astype(np.float64))
            case Image():
                return Form(np.zeros(seed_count), self._encoded[node].astype(np.float64))
            case Sum(terms):
                return combined([(self._forms[source], weight) for source, weight in terms], seed_count)
            case Mix(start, end, t, curve):
                point = mixed(self._point(start), self._point(end), t, curve or self._curve)
                self._points[position] = point
                return point.form

    def _point(self, position: int) -> Point:
        """Makes a value of a node's form, once however often it is used."""
        if position not in self._points:
            form = self._forms[position]
            if self._normalizes and isinstance(self._nodes[position], Sum):
                form = form.normalized()
            self._points[position] = Point(form, form.value(self._draws))
        return self._points[position]


def default_curve(prior: Prior) -> Curve:
    """Gives the curve that mixes and paths take where none is named."""
    return "spherical" if prior == "normal" else "linear"


def _drawn(nodes: Iterable[Node], dim: int, prior: Prior) -> dict[Seed, Floats32]:
    """Draws every seed among the nodes in one go."""
    names = list(dict.fromkeys(node for node in nodes if isinstance(node, Seed)))
    if not names:
        return {}
    rows = draw(
        np.array([name.seed for name in names], np.uint64),
        np.array([name.index for name in names], np.uint64),
        dim,
        prior,
        truncations=np.array([name.truncation for name in names]) if prior == "normal" else None,
    )
    return dict(zip(names, rows, strict=True))
