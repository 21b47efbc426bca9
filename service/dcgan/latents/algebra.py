"""Expressions over latents: built with operators, kept flat, evaluated by one function.

An expression is a tuple of nodes that refer to earlier nodes by position; the last one is the result. That is
also its form on the wire, so nothing here recurses, however deep a formula is.

Every node stands for a linear form: weights of named seeds, and one free vector for directions, images and explicit values.
Weights of the same seed merge. Where a form becomes a value (the result, an end of a mix) the seeds' part is
divided by the root of the sum of its squared weights, so that it stays a draw from a normal prior; one seed alone
is never changed, whatever its weight. A mix is the form that its two coefficients make of its ends.

Whoever asks chooses the formula, so its cost is bounded: only nodes that the result needs are worked out, each of
them becomes a value at most once, and a mix takes its value from those of its ends.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from dcgan.errors import ExpressionError
from dcgan.latents.forms import Form, Point, combined, mixed
from dcgan.latents.paths import Curve
from dcgan.latents.seeds import Floats32, Floats64, Prior, draw

Normalization: TypeAlias = Literal["prior", "raw"]

NO_TRUNCATION: Final = float("inf")
MAX_SEED: Final = (1 << 64) - 1
_NOTHING: Final[Mapping[Any, Any]] = {}


@dataclass(frozen=True, slots=True)
class Seed:
    """A latent named by seed and index, both uint64; `truncation` is inf where there is none."""

    seed: int
    index: int = 0
    truncation: float = NO_TRUNCATION


@dataclass(frozen=True, slots=True)
class Values:
    """A latent given by its values, float32 each."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction of the bundle, by name, at strength 1."""

    name: str


@dataclass(frozen=True, slots=True)
class Image:
    """The latent that an image comes from, found by the encoder.

    Attributes:
        content: a file's path, read by the client that sends the expression, or the bytes of a file.
        refine_steps: of gradient descent from what the encoder says.
    """

    content: str | bytes
    refine_steps: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """A weighted sum: (position of an earlier node, weight) for each term."""

    terms: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """The point at t in [0, 1] from the node at `start` to the node at `end`; curve None is the prior's default."""

    start: int
    end: int
    t: float
    curve: Curve | None = None


Node: TypeAlias = Seed | Values | Direction | Image | Sum | Mix


@dataclass(frozen=True, slots=True)
class Expression:
    """A formula over latents; `+`, `-`, `*` and `/` with numbers build larger ones.

    Example: `mean(seed(1), seed(2)) - seed(3) + 1.5 * direction("sneaker")`.
    """

    nodes: tuple[Node, ...]
    normalization: Normalization = "prior"

    def __add__(self, other: "Expression") -> "Expression":
        return _joined([(self, 1.0), (other, 1.0)])

    def __sub__(self, other: "Expression") -> "Expression":
        return _joined([(self, 1.0), (other, -1.0)])

    def __mul__(self, weight: float) -> "Expression":
        return _joined([(self, float(weight))])

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Expression":
        return _joined([(self, 1.0 / divisor)])

    def __neg__(self) -> "Expression":
        return _joined([(self, -1.0)])

    def raw(self) -> "Expression":
        """Leaves sums as they are instead of normalising them to the prior."""
        return replace(self, normalization="raw")


def seed(seed: int, index: int = 0, *, truncation: float | None = None) -> Expression:
    """Names a latent by seed and index, both 0 to 2^64 - 1; truncation is above 0 and at most 8."""
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value <= MAX_SEED:
            raise ExpressionError(f"{name} is {value}; allowed: 0 to 2^64 - 1")
    return Expression((Seed(int(seed), int(index), NO_TRUNCATION if truncation is None else float(truncation)),))


def values(latent: ArrayLike) -> Expression:
    """Gives a latent by its values: float32 of shape (latent_dim,)."""
    array = np.asarray(latent, np.float32)
    if array.ndim != 1:
        raise ExpressionError(f"values has shape {array.shape}; one latent of shape (latent_dim,) is needed")
    return Expression((Values(tuple(array.tolist())),))


def direction(name: str) -> Expression:
    """Names a direction of the bundle, at strength 1; multiply it for more or less."""
    return Expression((Direction(name),))


def image(content: str | bytes, *, refine_steps: int = 0) -> Expression:
    """Gives the latent of an image: a file's path or its bytes; the bundle must have an encoder."""
    if refine_steps < 0:
        raise ExpressionError(f"refine_steps is {refine_steps}; allowed: 0 and more")
    return Expression((Image(content, refine_steps),))


def mean(*expressions: Expression) -> Expression:
    """Takes the mean of one or more expressions."""
    if not expressions:
        raise ExpressionError("mean() needs at least one expression")
    return _joined([(expression, 1.0 / len(expressions)) for expression in expressions])


def total(*expressions: Expression) -> Expression:
    """Takes the sum of one or more expressions."""
    if not expressions:
        raise ExpressionError("total() needs at least one expression")
    return _joined([(expression, 1.0) for expression in expressions])


def mix(start: Expression, end: Expression, t: float, *, curve: Curve | None = None) -> Expression:
    """Takes the point at t, 0 to 1, on the way from one expression to another.

    curve: "linear" or "spherical"; by default spherical for a normal prior and linear for a uniform one.
    """
    if not 0.0 <= t <= 1.0:
        raise ExpressionError(f"t is {t}; allowed: 0 to 1")
    nodes, (at_start, at_end) = _concatenated([start, end])
    return Expression((*nodes, Mix(at_start, at_end, float(t), curve)), start.normalization)


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
    needed = [_needed(expression.nodes) for expression in expressions]
    drawn = _drawn((node for nodes in needed for node in nodes.values()), dim, prior)
    out = np.empty((len(expressions), dim), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, (expression, nodes) in enumerate(zip(expressions, needed, strict=True)):
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


def _needed(nodes: Sequence[Node]) -> dict[int, Node]:
    """Finds the nodes that the last one is made of, by position, in order; the others cost nothing."""
    marked = {len(nodes) - 1}
    for position in range(len(nodes) - 1, -1, -1):
        match nodes[position] if position in marked else None:
            case Sum(terms):
                marked.update(source for source, _ in terms)
            case Mix(start, end):
                marked.update((start, end))
    return {position: nodes[position] for position in sorted(marked)}


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


def _joined(terms: Sequence[tuple[Expression, float]]) -> Expression:
    nodes, positions = _concatenated([expression for expression, _ in terms])
    total = Sum(tuple(zip(positions, (weight for _, weight in terms), strict=True)))
    return Expression((*nodes, total), terms[0][0].normalization)


def _concatenated(expressions: Sequence[Expression]) -> tuple[tuple[Node, ...], list[int]]:
    """Puts the nodes of several expressions behind each other; returns them and where each one's result lies."""
    if len({expression.normalization for expression in expressions}) > 1:
        raise ExpressionError("raw and normalised expressions can't be combined; call raw() on the whole one")
    nodes: list[Node] = []
    results: list[int] = []
    for expression in expressions:
        nodes.extend(_moved(expression.nodes, len(nodes)))
        results.append(len(nodes) - 1)
    return tuple(nodes), results


def _moved(nodes: Sequence[Node], offset: int) -> Iterator[Node]:
    for node in nodes:
        match node:
            case Sum(terms):
                yield Sum(tuple((position + offset, weight) for position, weight in terms))
            case Mix(start, end):
                yield replace(node, start=start + offset, end=end + offset)
            case _:
                yield node
