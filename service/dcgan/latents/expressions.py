"""Expressions over latents as values: their nodes, the operators and the functions that build larger ones.

An expression is a tuple of nodes that refer to earlier nodes by position; the last one is the result. That is also
its form on the wire, so nothing here recurses, however deep a formula is. What one stands for is `algebra`'s to say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from dcgan.errors import ExpressionError
from dcgan.latents.paths import Curve

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
        return weighted([(self, 1.0), (other, 1.0)])

    def __sub__(self, other: "Expression") -> "Expression":
        return weighted([(self, 1.0), (other, -1.0)])

    def __mul__(self, weight: float) -> "Expression":
        return weighted([(self, float(weight))])

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Expression":
        return weighted([(self, 1.0 / divisor)])

    def __neg__(self) -> "Expression":
        return weighted([(self, -1.0)])

    def __str__(self) -> str:
        """Writes it as text, which `parse` reads; raises ExpressionError as `written` does."""
        from dcgan.latents.writing import written  # which needs this class

        return written(self)

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
    return weighted([(expression, 1.0 / len(expressions)) for expression in expressions])


def total(*expressions: Expression) -> Expression:
    """Takes the sum of one or more expressions."""
    if not expressions:
        raise ExpressionError("total() needs at least one expression")
    return weighted([(expression, 1.0) for expression in expressions])


def mix(start: Expression, end: Expression, t: float, *, curve: Curve | None = None) -> Expression:
    """Takes the point at t, 0 to 1, on the way from one expression to another.

    curve: "linear" or "spherical"; by default spherical for a normal prior and linear for a uniform one.
    """
    if not 0.0 <= t <= 1.0:
        raise ExpressionError(f"t is {t}; allowed: 0 to 1")
    nodes, (at_start, at_end) = _concatenated([start, end])
    return Expression((*nodes, Mix(at_start, at_end, float(t), curve)), start.normalization)


def weighted(terms: Sequence[tuple[Expression, float]]) -> Expression:
    """Takes the sum of one or more expressions, each times its weight."""
    nodes, positions = _concatenated([expression for expression, _ in terms])
    total = Sum(tuple(zip(positions, (weight for _, weight in terms), strict=True)))
    return Expression((*nodes, total), terms[0][0].normalization)


def needed(nodes: Sequence[Node]) -> dict[int, Node]:
    """Finds the nodes that the last one is made of, by position, in order; the others cost nothing."""
    marked = {len(nodes) - 1}
    for position in range(len(nodes) - 1, -1, -1):
        match nodes[position] if position in marked else None:
            case Sum(terms):
                marked.update(source for source, _ in terms)
            case Mix(start, end):
                marked.update((start, end))
    return {position: nodes[position] for position in sorted(marked)}


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
