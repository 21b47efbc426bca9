"""What to draw, as the client's callers say it: a number of images of a seed, expressions, texts, or latents.

A source of any size is put into requests part by part, each under the limits of a request, so that a caller may
hand over a million latents in one call.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dcgan import latents
from dcgan.client.uploads import MAX_STEPS, PART_BYTES, PART_IMAGES, read
from dcgan.errors import InvalidField
from dcgan.latents import Curve, Expression, Floats32
from dcgan.v1 import dcgan_pb2 as pb

Formula: TypeAlias = Expression | str
What: TypeAlias = SupportsIndex | Formula | Sequence[Formula] | NDArray[Any]
Request: TypeAlias = pb.SampleRequest | pb.StreamSamplesRequest | pb.ScoreRequest

CURVES: Final[Mapping[Curve | None, pb.Curve.ValueType]] = {
    None: pb.CURVE_UNSPECIFIED,
    "linear": pb.CURVE_LINEAR,
    "spherical": pb.CURVE_SPHERICAL,
}
_PART_NODES: Final = 1024  # of Limits.max_nodes, as servers have it
_PART_LATENT_BYTES: Final = 1 << 20  # of Limits.max_request_bytes
NO_LIMIT: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class SeedSource:
    """`count` images of a seed; seed None lets the server draw one."""

    count: int
    seed: int | None
    first_index: int
    truncation: float | None

    def fill(self, request: Request, start: int, seed: int | None = None, limit: int = NO_LIMIT) -> int:
        """Asks for the images from `start` on, of the seed that the server has drawn, if it has; returns how many."""
        wanted = request.seeds
        given = self.seed if seed is None else seed
        if given is not None:
            wanted.seed = given
        wanted.first_index = self.first_index + start
        wanted.count = min(self.count - start, limit)
        if self.truncation is not None:
            wanted.truncation = self.truncation
        return wanted.count


@dataclass(frozen=True, slots=True)
class ExpressionSource:
    """One image for each expression."""

    expressions: Sequence[Expression]
    first_index: int = 0

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.expressions)

    def fill(self, request: Request, start: int, seed: int | None = None, limit: int = NO_LIMIT) -> int:  # noqa: ARG002  # of all sources
        """Asks for the images from `start` on, as many as one request's nodes and files allow; returns how many."""
        asked = request.expressions.expressions
        nodes = files = size = 0
        for expression in self.expressions[start : start + limit]:
            message = expression_message(expression)
            nodes += _size(expression)
            files += sum(node.HasField("image") for node in message.nodes)
            size += message.ByteSize()
            if asked and (nodes > _PART_NODES or files > PART_IMAGES or size > PART_BYTES):
                break
            asked.append(message)
        return len(asked)


@dataclass(frozen=True, slots=True)
class LatentSource:
    """One image for each row, float32 (n, latent_dim)."""

    latents: Floats32
    first_index: int = 0

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.latents)

    def fill(self, request: Request, start: int, seed: int | None = None, limit: int = NO_LIMIT) -> int:  # noqa: ARG002  # of all sources
        """Asks for the images from `start` on, as many as one request's bytes allow; returns how many."""
        dim = self.latents.shape[1]
        part = self.latents[start : start + min(limit, max(1, _PART_LATENT_BYTES // (4 * dim)))]
        request.latents.CopyFrom(pb.LatentBatch(count=len(part), dim=dim, values=part.astype("<f4").tobytes()))
        return len(part)


Source: TypeAlias = SeedSource | ExpressionSource | LatentSource


def source_of(what: What, seed: int | None, first_index: int, truncation: float | None) -> Source:
    """Reads what a caller asks for.

    Raises:
        InvalidField: it is empty or of a wrong shape, or a seed's options come with something else.
        ExpressionError: a text can't be read.
    """
    if isinstance(what, SupportsIndex) and not isinstance(what, np.ndarray):
        return _seed_source(operator.index(what), seed, first_index, truncation)
    for name, value in (("seed", seed), ("first_index", first_index or None), ("truncation", truncation)):
        if value is not None:
            raise InvalidField(name, value, "only with a number of images")
    if isinstance(what, np.ndarray):
        return LatentSource(_rows(what))
    expressions = formulas([what] if isinstance(what, Expression | str) else what)
    if not expressions:
        raise InvalidField("expressions", "empty", "at least 1")
    return ExpressionSource(expressions)


def formulas(given: Sequence[Formula] | NDArray[Any]) -> list[Expression]:
    """Makes expressions of expressions, texts, or the rows of an array; raises ExpressionError for a wrong text."""
    if isinstance(given, np.ndarray):
        return [latents.values(row) for row in _rows(given)]
    return [one if isinstance(one, Expression) else latents.parse(one) for one in given]


def expression_message(expression: Expression) -> pb.Expression:
    """Writes an expression as it travels; reads the files that it names. Raises InvalidField where it can't."""
    normalization = pb.NORMALIZATION_RAW if expression.normalization == "raw" else pb.NORMALIZATION_PRIOR
    return pb.Expression(nodes=_node_messages(expression), normalization=normalization)


def _node_messages(expression: Expression) -> Iterator[pb.Node]:
    for node in expression.nodes:
        match node:
            case latents.Seed(seed, index, truncation):
                cut = None if truncation == latents.NO_TRUNCATION else truncation
                yield pb.Node(seed=pb.SeedNode(seed=seed, index=index, truncation=cut))
            case latents.Values(values):
                yield pb.Node(values=pb.ValuesNode(values=values))
            case latents.Direction(name):
                yield pb.Node(direction=name)
            case latents.Image(content, refine_steps):
                if refine_steps > MAX_STEPS:
                    raise InvalidField("refine_steps", refine_steps, "0 and more, up to the server's limit")
                file = content if isinstance(content, bytes) else read(content)
                yield pb.Node(image=pb.ImageNode(file=file, refine_steps=refine_steps))
            case latents.Sum(terms):
                yield pb.Node(sum=pb.SumNode(terms=[pb.SumNode.Term(node=at, weight=weight) for at, weight in terms]))
            case latents.Mix(start, end, t, curve):
                yield pb.Node(mix=pb.MixNode(start=start, end=end, t=t, curve=CURVES[curve]))


def _size(expression: Expression) -> int:
    """Counts nodes and sum terms, as the server's limit does."""
    return sum(1 + (len(node.terms) if isinstance(node, latents.Sum) else 0) for node in expression.nodes)


def _seed_source(count: int, seed: int | None, first_index: int, truncation: float | None) -> SeedSource:
    for name, value, low, high in (
        ("count", count, 1, (1 << 63) - 1),
        ("seed", seed or 0, 0, latents.MAX_SEED),
        ("first_index", first_index, 0, latents.MAX_SEED),
    ):
        if not low <= value <= high:  # protocol buffers would refuse it with an error that names no field
            raise InvalidField(name, value, f"{low} to {high}")
    return SeedSource(count, seed, first_index, truncation)


def _rows(given: NDArray[Any]) -> Floats32:
    if given.ndim != 2 or not given.size:
        raise InvalidField("latents", f"an array of shape {given.shape}", "shape (n, latent_dim), n at least 1")
    return given.astype(np.float32, order="C", copy=False)
