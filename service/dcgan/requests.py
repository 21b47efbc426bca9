"""What callers ask for: request messages, checked field by field before any work is done for them.

Every refusal names the field by its path, the value seen and what is allowed. What comes out needs no more checks.
"""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np

from dcgan import images, latents
from dcgan.batcher import Rows, SeedRows, ValueRows
from dcgan.errors import InvalidField, TooManyImages, UnknownDirection
from dcgan.latents import Curve, Easing, Expression, Normalization
from dcgan.registry import Model
from dcgan.v1 import dcgan_pb2 as pb

Format: TypeAlias = images.Format | Literal["raw"]

_MAX_WEIGHT: Final = 1e6
_MAX_TRUNCATION: Final = 8.0
_MAX_VALUE: Final = 1e6
_MAX_LABEL: Final = 200
_DEFAULT_FRAMES: Final = 16
_DEFAULT_NEIGHBOURS: Final = 8
_END: Final = 1 << 64

_FORMATS: Final[dict[int, Format]] = {
    pb.FORMAT_UNSPECIFIED: "png",
    pb.FORMAT_PNG: "png",
    pb.FORMAT_JPEG: "jpeg",
    pb.FORMAT_WEBP: "webp",
    pb.FORMAT_RAW: "raw",
}
_NORMALIZATIONS: Final[dict[int, Normalization]] = {
    pb.NORMALIZATION_UNSPECIFIED: "prior",
    pb.NORMALIZATION_PRIOR: "prior",
    pb.NORMALIZATION_RAW: "raw",
}
_CURVES: Final[dict[int, Curve | None]] = {
    pb.CURVE_UNSPECIFIED: None,
    pb.CURVE_LINEAR: "linear",
    pb.CURVE_SPHERICAL: "spherical",
}
_EASINGS: Final[dict[int, Easing]] = {
    pb.EASING_UNSPECIFIED: "linear",
    pb.EASING_LINEAR: "linear",
    pb.EASING_SMOOTH: "smooth",
}

_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True)
class Expressions:
    """Latents that are still to be computed."""

    expressions: list[Expression]

    @property
    def count(self) -> int:
        """Number of latents."""
        return len(self.expressions)


@dataclass(frozen=True, slots=True)
class Sampling:
    """A checked Sample or StreamSamples request; `first_index` numbers its images, `seed` is None without a range."""

    source: Rows | Expressions
    format: Format
    include_latents: bool
    seed: int | None
    first_index: int


@dataclass(frozen=True, slots=True)
class Interpolation:
    """A checked Interpolate request."""

    points: list[Expression]
    frame_count: int
    curve: Curve
    closed: bool
    easing: Easing
    first_frame: int
    format: Format
    include_latents: bool


@dataclass(frozen=True, slots=True)
class Sums:
    """A checked Arithmetic request: an expression for each term's mean, and one for the result."""

    terms: list[Expression]
    result: Expression
    neighbour_count: int
    neighbour_seed: int
    format: Format


def sampling(request: pb.SampleRequest | pb.StreamSamplesRequest, model: Model) -> Sampling:
    """Checks what to sample. Where no seed is given, one is drawn.

    Raises:
        InvalidRequest: a field is not allowed, or Sample is asked for more than one message carries.
    """
    image_format = _choice(request.format, _FORMATS, "format", pb.Format)
    seed: int | None = None
    first_index = 0
    source: Rows | Expressions
    match request.WhichOneof("source"):
        case "expressions":
            source = Expressions(_Reader(model).expressions(request.expressions.expressions, "expressions.expressions"))
        case "latents":
            source = ValueRows(_latents(request.latents, model))
        case _:
            source = _seed_rows(request.seeds, model)
            seed, first_index = source.seed, source.first_index
    limit = model.limits.max_images
    if isinstance(request, pb.SampleRequest) and source.count > limit:
        raise TooManyImages(source.count, limit)
    return Sampling(source, image_format, request.include_latents, seed, first_index)


def interpolation(request: pb.InterpolateRequest, model: Model) -> Interpolation:
    """Checks a path. Raises InvalidRequest."""
    if len(request.points) < 2:
        raise InvalidField("points", f"{len(request.points)} points", "at least 2")
    frame_count = request.frame_count or _DEFAULT_FRAMES
    _within("frame_count", frame_count, 1, model.limits.max_frames)
    _within("first_frame", request.first_frame, 0, frame_count - 1)
    curve = _choice(request.curve, _CURVES, "curve", pb.Curve)
    return Interpolation(
        points=_Reader(model).expressions(request.points, "points"),
        frame_count=frame_count,
        curve=curve or latents.default_curve(model.bundle.manifest.latent.prior),
        closed=request.closed,
        easing=_choice(request.easing, _EASINGS, "easing", pb.Easing),
        first_frame=request.first_frame,
        format=_choice(request.format, _FORMATS, "format", pb.Format),
        include_latents=request.include_latents,
    )


def arithmetic(request: pb.ArithmeticRequest, model: Model) -> Sums:
    """Checks a sum of means. Raises InvalidRequest."""
    if not request.terms:
        raise InvalidField("terms", "empty", "at least 1 term")
    normalization = _choice(request.normalization, _NORMALIZATIONS, "normalization", pb.Normalization)
    count = request.neighbour_count if request.HasField("neighbour_count") else _DEFAULT_NEIGHBOURS
    _within("neighbour_count", count, 0, model.limits.max_neighbours)
    reader = _Reader(model, normalization)
    terms: list[Expression] = []
    weighted: list[Expression] = []
    for position, term in enumerate(request.terms):
        field = f"terms[{position}]"
        if len(term.label) > _MAX_LABEL:
            raise InvalidField(f"{field}.label", term.label, f"at most {_MAX_LABEL} characters")
        if not term.exemplars:
            raise InvalidField(f"{field}.exemplars", "empty", "at least 1 expression")
        terms.append(latents.mean(*reader.expressions(term.exemplars, f"{field}.exemplars")))
        weighted.append(terms[-1] * _weight(term, f"{field}.weight"))
    return Sums(
        terms,
        latents.total(*weighted),
        count,
        request.neighbour_seed,
        _choice(request.format, _FORMATS, "format", pb.Format),
    )


def evaluated(expressions: Sequence[Expression], model: Model, field: str) -> latents.Floats32:
    """Computes the latents of checked expressions: float32 (n, dim); may take milliseconds, so not in the event loop.

    Raises:
        InvalidField: a latent has values that are no use; `field` names the list of expressions.
    """
    spec = model.bundle.manifest.latent
    values = latents.evaluate(expressions, spec.dim, spec.prior, model.bundle.directions)
    _check_values(values, field)
    return values


def _check_values(values: latents.Floats32, field: str) -> None:
    """Refuses latents that are not finite, or so large that a path between them would not be."""
    fit = (np.abs(values) <= _MAX_VALUE).all(axis=1)  # also refuses NaN
    if not fit.all():
        row = int(np.argmin(fit))
        raise InvalidField(f"{field}[{row}]", f"up to {np.abs(values[row]).max()}", f"values up to +-{_MAX_VALUE:g}")


class _Reader:
    """Reads expressions of one request, whose nodes and sum terms together are limited."""

    def __init__(self, model: Model, normalization: Normalization | None = None) -> None:
        self._model, self._normalization = model, normalization
        self._room = model.limits.max_nodes

    def expressions(self, messages: Sequence[pb.Expression], field: str) -> list[Expression]:
        if not messages:
            raise InvalidField(field, "empty", "at least 1 expression")
        return [self._expression(message, f"{field}[{position}]") for position, message in enumerate(messages)]

    def _expression(self, message: pb.Expression, field: str) -> Expression:
        if not message.nodes:
            raise InvalidField(f"{field}.nodes", "empty", "at least 1 node")
        normalization = _choice(message.normalization, _NORMALIZATIONS, f"{field}.normalization", pb.Normalization)
        nodes = tuple(
            self._node(node, position, f"{field}.nodes[{position}]") for position, node in enumerate(message.nodes)
        )
        return Expression(nodes, self._normalization or normalization)

    def _node(self, node: pb.Node, position: int, field: str) -> latents.Node:
        self._count(1, field)
        match node.WhichOneof("kind"):
            case "seed":
                truncation = _truncation(node.seed, f"{field}.seed.truncation", self._model)
                return latents.Seed(node.seed.seed, node.seed.index, truncation)
            case "values":
                return self._values(node.values, f"{field}.values.values")
            case "direction":
                return self._direction(node.direction, f"{field}.direction")
            case "sum":
                return self._sum(node.sum, position, f"{field}.sum.terms")
            case "mix":
                return _mix(node.mix, position, f"{field}.mix")
        raise InvalidField(field, "empty", "one of seed, values, direction, sum, mix")

    def _count(self, more: int, field: str) -> None:
        self._room -= more
        if self._room < 0:
            limit = self._model.limits.max_nodes
            raise InvalidField(field, "one too many", f"{limit} nodes and sum terms in one request together")

    def _values(self, node: pb.ValuesNode, field: str) -> latents.Values:
        dim = self._model.bundle.manifest.latent.dim
        if len(node.values) != dim:
            raise InvalidField(field, f"{len(node.values)} values", f"latent_dim = {dim} values")
        values = tuple(node.values)
        if not all(map(math.isfinite, values)):
            raise InvalidField(field, "not finite", "finite values")
        return latents.Values(values)

    def _direction(self, name: str, field: str) -> latents.Direction:
        if name not in self._model.bundle.directions:
            raise UnknownDirection(field, name, list(self._model.bundle.directions))
        return latents.Direction(name)

    def _sum(self, node: pb.SumNode, position: int, field: str) -> latents.Sum:
        if not node.terms:
            raise InvalidField(field, "empty", "at least 1 term")
        self._count(len(node.terms), field)
        return latents.Sum(
            tuple(
                (_earlier(term.node, position, f"{field}[{at}].node"), _weight(term, f"{field}[{at}].weight"))
                for at, term in enumerate(node.terms)
            )
        )


def _mix(node: pb.MixNode, position: int, field: str) -> latents.Mix:
    if not 0.0 <= node.t <= 1.0:
        raise InvalidField(f"{field}.t", node.t, "0 to 1")
    return latents.Mix(
        _earlier(node.start, position, f"{field}.start"),
        _earlier(node.end, position, f"{field}.end"),
        node.t,
        _choice(node.curve, _CURVES, f"{field}.curve", pb.Curve),
    )


def _earlier(reference: int, position: int, field: str) -> int:
    if not 0 <= reference < position:
        allowed = f"0 to {position - 1}, an earlier node" if position else "nothing, since no node comes before"
        raise InvalidField(field, reference, allowed)
    return reference


def _weight(term: pb.SumNode.Term | pb.ArithmeticRequest.Term, field: str) -> float:
    weight = term.weight if term.HasField("weight") else 1.0
    if not abs(weight) <= _MAX_WEIGHT:  # also refuses NaN
        raise InvalidField(field, weight, "-1,000,000 to 1,000,000")
    return weight


def _truncation(message: pb.SeedRange | pb.SeedNode, field: str, model: Model) -> float:
    if not message.HasField("truncation"):
        return latents.NO_TRUNCATION
    if not 0.0 < message.truncation <= _MAX_TRUNCATION:
        raise InvalidField(field, message.truncation, f"above 0 and at most {_MAX_TRUNCATION:g}, or unset")
    if model.bundle.manifest.latent.prior != "normal":
        raise InvalidField(field, message.truncation, "unset, since this model's prior is not normal")
    return message.truncation


def _seed_rows(message: pb.SeedRange, model: Model) -> SeedRows:
    count = message.count or 1
    if count < 1:
        raise InvalidField("seeds.count", count, "at least 1")
    if message.first_index + count > _END:
        raise InvalidField("seeds.first_index", message.first_index, "first_index + count up to 2^64")
    seed = message.seed if message.HasField("seed") else secrets.randbits(64)
    return SeedRows(seed, message.first_index, count, _truncation(message, "seeds.truncation", model))


def _latents(message: pb.LatentBatch, model: Model) -> latents.Floats32:
    dim = model.bundle.manifest.latent.dim
    if message.dim != dim:
        raise InvalidField("latents.dim", message.dim, f"latent_dim = {dim}")
    if message.count < 1:
        raise InvalidField("latents.count", message.count, "at least 1")
    size = 4 * dim * message.count
    if len(message.values) != size:
        raise InvalidField("latents.values", f"{len(message.values)} bytes", f"4 * count * dim = {size} bytes")
    values = np.frombuffer(message.values, "<f4").reshape(message.count, dim).astype(np.float32, copy=False)
    _check_values(values, "latents.values")
    return values


def _within(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidField(field, value, f"{low} to {high}")


def _choice(value: int, choices: dict[int, _Choice], field: str, enum: object) -> _Choice:
    if value not in choices:
        names = ", ".join(enum.keys())  # type: ignore[attr-defined]  # the generated wrapper of any enum
        raise InvalidField(field, value, names)
    return choices[value]
