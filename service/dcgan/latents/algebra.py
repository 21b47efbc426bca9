"""Expressions over latents: built with operators, kept flat, evaluated by one function.

An expression is a tuple of nodes that refer to earlier nodes by position; the last one is the result. That is
also its form on the wire, so nothing here recurses, however deep a formula is.

Every node stands for a linear form: weights of named seeds, and one free vector for directions and explicit values.
Weights of the same seed merge. Where a form becomes a value (the result, an end of a mix) the seeds' part is
divided by the root of the sum of its squared weights, so that it stays a draw from a normal prior; one seed alone
is never changed, whatever its weight. A mix is the form that its two coefficients make of its ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from dcgan.errors import ExpressionError
from dcgan.latents.paths import Curve, coefficients
from dcgan.latents.seeds import Floats32, Floats64, Prior, draw

Normalization: TypeAlias = Literal["prior", "raw"]

NO_TRUNCATION: Final = float("inf")
MAX_SEED: Final = (1 << 64) - 1


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


Node: TypeAlias = Seed | Values | Direction | Sum | Mix


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


def evaluate(expressions: Sequence[Expression], dim: int, prior: Prior, directions: Mapping[str, Floats32]) -> Floats32:
    """Computes the latents that expressions stand for.

    Args:
        expressions: n of them; positions must point to earlier nodes and names must be keys of `directions`.
        dim: values in a latent; explicit values and directions have this length.
        prior: of the model; a uniform one clips results to [-1, 1] unless the expression is raw.
        directions: float32 (dim,) by name.

    Returns:
        float32 of shape (n, dim). Not finite where weights overflow: check it.
    """
    drawn = _drawn(expressions, dim, prior)
    out = np.empty((len(expressions), dim), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, expression in enumerate(expressions):
            out[row] = _evaluate_one(expression, dim, prior, directions, drawn)
    return out


@dataclass(frozen=True, slots=True)
class _Form:
    """A linear form: weights of seeds, and a free vector, float64 (dim,), or None for zero."""

    weights: dict[Seed, float] = field(default_factory=dict)
    free: Floats64 | None = None

    def value(self, drawn: Mapping[Seed, Floats32], dim: int) -> Floats64:
        """Sums up the form: float64 (dim,)."""
        total = np.zeros(dim) if self.free is None else self.free.copy()
        for name, weight in self.weights.items():
            total += weight * drawn[name].astype(np.float64)
        return total

    def normalized(self) -> "_Form":
        """Divides the seeds' weights so that their squares sum to 1; a lone seed gets its sign alone."""
        # sum of squares by hypot: weights may be too large or small to be squared
        norm = float(np.hypot.reduce(np.array(list(self.weights.values())))) if self.weights else 0.0
        if norm in (0.0, 1.0):
            return self
        return _Form({name: weight / norm for name, weight in self.weights.items()}, self.free)


def _evaluate_one(
    expression: Expression,
    dim: int,
    prior: Prior,
    directions: Mapping[str, Floats32],
    drawn: Mapping[Seed, Floats32],
) -> Floats64:
    raw = expression.normalization == "raw"
    forms: list[_Form] = []

    def settled(position: int) -> _Form:
        normalize = not raw and prior == "normal" and isinstance(expression.nodes[position], Sum)
        return forms[position].normalized() if normalize else forms[position]

    for node in expression.nodes:
        match node:
            case Seed():
                forms.append(_Form({node: 1.0}))
            case Values(values):
                forms.append(_Form(free=np.array(values, np.float64)))
            case Direction(name):
                forms.append(_Form(free=directions[name].astype(np.float64)))
            case Sum(terms):
                forms.append(_combined([(forms[position], weight) for position, weight in terms]))
            case Mix(start, end, t, curve):
                ends = settled(start), settled(end)
                first, second = (form.value(drawn, dim)[None] for form in ends)
                way = curve or default_curve(prior)
                a, b, across = coefficients(first, second, np.array([t]), way)
                mixed = _combined([(ends[0], float(a[0])), (ends[1], float(b[0]))])
                if across is not None:
                    mixed = _combined([(mixed, 1.0), (_Form(free=across[0]), 1.0)])
                forms.append(mixed)
    result = settled(len(forms) - 1).value(drawn, dim)
    return result if raw or prior == "normal" else np.clip(result, -1.0, 1.0)


def default_curve(prior: Prior) -> Curve:
    """Gives the curve that mixes and paths take where none is named."""
    return "spherical" if prior == "normal" else "linear"


def _combined(terms: Sequence[tuple[_Form, float]]) -> _Form:
    weights: dict[Seed, float] = {}
    free: Floats64 | None = None
    for form, factor in terms:
        for name, weight in form.weights.items():
            weights[name] = weights.get(name, 0.0) + factor * weight
        if form.free is not None:
            free = factor * form.free if free is None else free + factor * form.free
    return _Form(weights, free)


def _drawn(expressions: Sequence[Expression], dim: int, prior: Prior) -> dict[Seed, Floats32]:
    """Draws every seed of all expressions in one go."""
    names = list(dict.fromkeys(node for one in expressions for node in one.nodes if isinstance(node, Seed)))
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
