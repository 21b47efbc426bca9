"""What callers ask for: request messages, checked field by field before any work is done for them.

Every refusal names the field by its path, the value seen and what is allowed. What comes out needs no more checks.
Here is a function for each method; `fields` checks single fields, `expressions` reads expressions.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from dcgan import latents
from dcgan.batcher import LatentRows, SeedRows, ValueRows
from dcgan.errors import InvalidField, TooManyImages
from dcgan.latents import Curve, Easing, Expression
from dcgan.registry import Model
from dcgan.requests.expressions import Reader
from dcgan.requests.fields import (
    CURVES,
    EASINGS,
    FORMATS,
    NORMALIZATIONS,
    Format,
    check_steps,
    check_values,
    choice,
    need,
    truncation_of,
    weight_of,
    within,
)
from dcgan.v1 import dcgan_pb2 as pb

Uploads: TypeAlias = dict[latents.Image, str]

_MAX_LABEL: Final = 200
_DEFAULT_FRAMES: Final = 16
_DEFAULT_NEIGHBOURS: Final = 8
_END: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Expressions:
    """Latents that are still to be computed; `uploads` are the images among their nodes, with the fields they fill."""

    expressions: list[Expression]
    uploads: Uploads = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of latents."""
        return len(self.expressions)


@dataclass(frozen=True, slots=True)
class Sampling:
    """A checked Sample or StreamSamples request; `first_index` numbers its images, `seed` is None without a range.

    `keep_best` is the number of images to return by their scores, None for all in their order.
    """

    source: LatentRows | Expressions
    format: Format
    include_latents: bool
    seed: int | None
    first_index: int
    keep_best: int | None = None
    include_scores: bool = False


@dataclass(frozen=True, slots=True)
class Interpolation:
    """A checked Interpolate request."""

    points: Expressions
    frame_count: int
    curve: Curve
    closed: bool
    easing: Easing
    first_frame: int
    format: Format
    include_latents: bool


@dataclass(frozen=True, slots=True)
class Sums:
    """A checked Arithmetic request: an expression for each term's mean, and behind them one for the result."""

    sums: Expressions
    neighbour_count: int
    neighbour_seed: int
    format: Format


def sampling(request: pb.SampleRequest | pb.StreamSamplesRequest, model: Model) -> Sampling:
    """Checks what to sample. Where no seed is given, one is drawn.

    Raises:
        InvalidRequest: a field is not allowed, or Sample is asked for more than one message carries.
    """
    image_format = choice(request.format, FORMATS, "format", pb.Format)
    source = _source(request, model)
    seed, first_index = (source.seed, source.first_index) if isinstance(source, SeedRows) else (None, 0)
    if isinstance(request, pb.StreamSamplesRequest):
        return Sampling(source, image_format, request.include_latents, seed, first_index)
    limit = model.limits.max_images
    if source.count > limit:
        name = "keep_best" if request.keep_best else "include_scores" if request.include_scores else ""
        if name:
            raise InvalidField(name, f"of {source.count} images", f"of 1 to {limit} images, drawn in one call")
        raise TooManyImages(source.count, limit)
    if request.keep_best:
        need("discriminator", "keep_best", model)
        within("keep_best", request.keep_best, 1, source.count)
    if request.include_scores:
        need("discriminator", "include_scores", model)
    keep_best = request.keep_best or None
    scored = request.include_scores or keep_best is not None
    return Sampling(source, image_format, request.include_latents, seed, first_index, keep_best, scored)


def interpolation(request: pb.InterpolateRequest, model: Model) -> Interpolation:
    """Checks a path. Raises InvalidRequest."""
    if len(request.points) < 2:
        raise InvalidField("points", f"{len(request.points)} points", "at least 2")
    frame_count = request.frame_count or _DEFAULT_FRAMES
    within("frame_count", frame_count, 1, model.limits.max_frames)
    within("first_frame", request.first_frame, 0, frame_count - 1)
    curve = choice(request.curve, CURVES, "curve", pb.Curve)
    reader = Reader(model)
    points = reader.expressions(request.points, "points")
    return Interpolation(
        points=Expressions(points, reader.uploads),
        frame_count=frame_count,
        curve=curve or latents.default_curve(model.bundle.manifest.latent.prior),
        closed=request.closed,
        easing=choice(request.easing, EASINGS, "easing", pb.Easing),
        first_frame=request.first_frame,
        format=choice(request.format, FORMATS, "format", pb.Format),
        include_latents=request.include_latents,
    )


def arithmetic(request: pb.ArithmeticRequest, model: Model) -> Sums:
    """Checks a sum of means. Raises InvalidRequest."""
    if not request.terms:
        raise InvalidField("terms", "empty", "at least 1 term")
    normalization = choice(request.normalization, NORMALIZATIONS, "normalization", pb.Normalization)
    count = request.neighbour_count if request.HasField("neighbour_count") else _DEFAULT_NEIGHBOURS
    within("neighbour_count", count, 0, model.limits.max_neighbours)
    reader = Reader(model, normalization)
    terms: list[Expression] = []
    weighted: list[Expression] = []
    for position, term in enumerate(request.terms):
        path = f"terms[{position}]"
        if len(term.label) > _MAX_LABEL:
            raise InvalidField(f"{path}.label", term.label, f"at most {_MAX_LABEL} characters")
        if not term.exemplars:
            raise InvalidField(f"{path}.exemplars", "empty", "at least 1 expression")
        terms.append(latents.mean(*reader.expressions(term.exemplars, f"{path}.exemplars")))
        weighted.append(terms[-1] * weight_of(term, f"{path}.weight"))
    return Sums(
        Expressions([*terms, latents.total(*weighted)], reader.uploads),
        count,
        request.neighbour_seed,
        choice(request.format, FORMATS, "format", pb.Format),
    )


@dataclass(frozen=True, slots=True)
class Encoding:
    """A checked Encode request."""

    uploads: list[tuple[bytes, str]]
    refine_steps: int
    format: Format


@dataclass(frozen=True, slots=True)
class Scoring:
    """A checked Score request, for generated images or for uploaded ones; `seed` is None without a range."""

    source: LatentRows | Expressions | list[tuple[bytes, str]]
    seed: int | None


def encoding(request: pb.EncodeRequest, model: Model) -> Encoding:
    """Checks what to encode. Raises InvalidRequest, and NotInBundle where there is no encoder."""
    need("encoder", "images", model)
    check_steps(request.refine_steps, "refine_steps", model)
    uploads = _uploads(request.images, model)
    return Encoding(uploads, request.refine_steps, choice(request.format, FORMATS, "format", pb.Format))


def scoring(request: pb.ScoreRequest, model: Model) -> Scoring:
    """Checks what to score. Raises InvalidRequest, and NotInBundle where there is no discriminator."""
    need("discriminator", request.WhichOneof("source") or "source", model)
    if request.WhichOneof("source") == "images":
        return Scoring(_uploads(request.images, model), None)
    source = _source(request, model)
    limit = model.limits.max_images
    if source.count > limit:
        raise InvalidField("source", f"{source.count} images", f"1 to {limit}; score the others in further calls")
    return Scoring(source, source.seed if isinstance(source, SeedRows) else None)


def evaluated(
    expressions: Sequence[Expression], model: Model, name: str, encoded: dict[latents.Image, latents.Floats32]
) -> latents.Floats32:
    """Computes the latents of checked expressions: float32 (n, dim); may take milliseconds, so not in the event loop.

    Raises:
        InvalidField: a latent has values that are no use; `name` is that of the field with the list of expressions.
    """
    spec = model.bundle.manifest.latent
    values = latents.evaluate(expressions, spec.dim, spec.prior, model.bundle.directions, encoded)
    check_values(values, name)
    return values


def _source(
    request: pb.SampleRequest | pb.StreamSamplesRequest | pb.ScoreRequest, model: Model
) -> LatentRows | Expressions:
    match request.WhichOneof("source"):
        case "expressions":
            reader = Reader(model)
            listed = reader.expressions(request.expressions.expressions, "expressions.expressions")
            return Expressions(listed, reader.uploads)
        case "latents":
            return ValueRows(_latents(request.latents, model))
    return _seed_rows(request.seeds, model)


def _uploads(message: pb.UploadList, model: Model) -> list[tuple[bytes, str]]:
    """Gives each file with the field that names it."""
    limit = model.limits.max_uploads
    if not 1 <= len(message.files) <= limit:
        raise InvalidField("images.files", f"{len(message.files)} files", f"1 to {limit} files in one request")
    return [(data, f"images.files[{at}]") for at, data in enumerate(message.files)]


def _seed_rows(message: pb.SeedRange, model: Model) -> SeedRows:
    count = message.count or 1
    if count < 1:
        raise InvalidField("seeds.count", count, "at least 1")
    if message.first_index + count > _END:
        raise InvalidField("seeds.first_index", message.first_index, "first_index + count up to 2^64")
    seed = message.seed if message.HasField("seed") else secrets.randbits(64)
    return SeedRows(seed, message.first_index, count, truncation_of(message, "seeds.truncation", model))


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
    check_values(values, "latents.values")
    return values
