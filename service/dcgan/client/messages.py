"""Pure functions between Python values and the messages of the API, shared by both clients."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcgan import latents
from dcgan.client.results import Arithmetic, Format, Identity, Samples
from dcgan.client.sources import CURVES, Formula, expression_message, formulas
from dcgan.errors import BundleChanged, DcganError, InvalidField
from dcgan.images import Pixels
from dcgan.latents import Curve, Easing, Normalization, Term
from dcgan.v1 import dcgan_pb2 as pb

_FORMATS: Final[Mapping[Format, pb.Format.ValueType]] = {
    "png": pb.FORMAT_PNG,
    "jpeg": pb.FORMAT_JPEG,
    "webp": pb.FORMAT_WEBP,
    "raw": pb.FORMAT_RAW,
}
_EASINGS: Final[Mapping[Easing, pb.Easing.ValueType]] = {"linear": pb.EASING_LINEAR, "smooth": pb.EASING_SMOOTH}
_Name = TypeVar("_Name")
_Number = TypeVar("_Number")
_MAX_FRAMES: Final = (1 << 31) - 1


def path_request(
    points: Sequence[Formula] | NDArray[Any],
    *,
    frames: int = 16,
    curve: Curve | None = None,
    closed: bool = False,
    easing: Easing = "linear",
    format: Format = "raw",  # noqa: A002  # what Pillow, the API and people call it
    include_latents: bool = False,
    version: str = "",
) -> pb.InterpolateRequest:
    """Asks for a path. Raises InvalidField and ExpressionError for what no request can carry."""
    if not 1 <= frames <= _MAX_FRAMES:
        raise InvalidField("frames", frames, f"1 to {_MAX_FRAMES}, and the server's limit")
    return pb.InterpolateRequest(
        version=version,
        points=map(expression_message, formulas(points)),
        frame_count=frames,
        curve=_one_of(CURVES, curve, "curve"),
        closed=closed,
        easing=_one_of(_EASINGS, easing, "easing"),
        format=format_of(format),
        include_latents=include_latents,
    )


def arithmetic_request(
    terms: str | Sequence[Term | Formula],
    *,
    neighbours: int = 8,
    neighbour_seed: int = 0,
    normalization: Normalization = "prior",
    format: Format = "raw",  # noqa: A002
    version: str = "",
) -> pb.ArithmeticRequest:
    """Asks for a sum. Raises InvalidField and ExpressionError for what no request can carry."""
    if not 0 <= neighbours <= _MAX_FRAMES:
        raise InvalidField("neighbours", neighbours, "0 and more, up to the server's limit")
    if not 0 <= neighbour_seed <= latents.MAX_SEED:
        raise InvalidField("neighbour_seed", neighbour_seed, "0 to 2^64 - 1")
    return pb.ArithmeticRequest(
        version=version,
        terms=map(_term_message, latents.terms(terms) if isinstance(terms, str) else map(_term, terms)),
        neighbour_count=neighbours,
        neighbour_seed=neighbour_seed,
        normalization=pb.NORMALIZATION_RAW if normalization == "raw" else pb.NORMALIZATION_PRIOR,
        format=format_of(format),
    )


def format_of(image_format: Format) -> pb.Format.ValueType:
    """Finds the number of a format. Raises InvalidField."""
    return _one_of(_FORMATS, image_format, "format")


def samples(
    identity: Identity, batch: pb.ImageBatch, rows: pb.LatentBatch | None, seed: int | None = None, first_index: int = 0
) -> Samples:
    """Reads images and, where they came, their latents. Raises DcganError where sizes contradict each other."""
    shape = batch.height, batch.width, batch.channels
    pixels: Pixels | None = None
    if batch.format == pb.FORMAT_RAW:
        pixels = _array(batch.raw, np.uint8, (batch.count, *shape))
    elif len(batch.encoded) != batch.count:
        raise DcganError(f"the server's answer is damaged: {len(batch.encoded)} images instead of {batch.count}")
    values = None if rows is None else _array(rows.values, np.float32, (rows.count, rows.dim))
    return Samples(identity, shape, pixels, tuple(batch.encoded), values, seed, first_index)


def joined(parts: Sequence[Samples]) -> Samples:
    """Puts the chunks of a stream together."""
    first = parts[0]
    if len(parts) == 1:
        return first
    pixels = [part.pixels for part in parts if part.pixels is not None]
    rows = [part.latents for part in parts if part.latents is not None]
    return Samples(
        first.identity,
        first.shape,
        np.concatenate(pixels) if pixels else None,
        tuple(data for part in parts for data in part.encoded),
        np.concatenate(rows) if rows else None,
        first.seed,
        first.first_index,
    )


def arithmetic_answer(answers: Sequence[pb.ArithmeticResponse]) -> Arithmetic:
    """Reads all messages of an Arithmetic call. Raises DcganError where a part is missing."""
    if not answers:
        raise DcganError("the server's answer is damaged: it is empty")
    identity = identity_of(answers[0].identity)
    parts: dict[int, list[Samples]] = {}
    for answer in answers:
        parts.setdefault(answer.part, []).append(samples(identity, answer.images, answer.latents))
    if pb.ARITHMETIC_PART_TERM not in parts or pb.ARITHMETIC_PART_RESULT not in parts:
        raise DcganError("the server's answer is damaged: it has no terms or no result")
    result = joined(parts[pb.ARITHMETIC_PART_RESULT])
    around = parts.get(pb.ARITHMETIC_PART_NEIGHBOUR)
    return Arithmetic(joined(parts[pb.ARITHMETIC_PART_TERM]), result, joined(around) if around else _none_like(result))


def identity_of(message: pb.Identity) -> Identity:
    """Reads an identity."""
    return Identity(
        message.name,
        message.version,
        message.manifest_digest,
        message.variant,
        message.provider,
        message.onnxruntime_version,
    )


def check_same(first: Identity, other: Identity) -> None:
    """Raises BundleChanged where the parts of one answer come from different bundles."""
    if first.manifest_digest != other.manifest_digest:
        raise BundleChanged.restored(
            f"the answer began with version {first.version!r} of {first.name!r} and went on with {other.version!r} of "
            "another content; start anew",
            {},
        )


def _term(given: Term | Formula) -> Term:
    return given if isinstance(given, Term) else Term(tuple(formulas([given])))


def _term_message(term: Term) -> pb.ArithmeticRequest.Term:
    exemplars = map(expression_message, term.exemplars)
    return pb.ArithmeticRequest.Term(label=term.label, weight=term.weight, exemplars=exemplars)


def _none_like(some: Samples) -> Samples:
    """Makes zero images of the same kind."""
    pixels = None if some.pixels is None else some.pixels[:0]
    return Samples(some.identity, some.shape, pixels, (), None if some.latents is None else some.latents[:0])


def _array(data: bytes, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Makes an array of little-endian bytes."""
    array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    if array.size != np.prod(shape):
        raise DcganError(f"the server's answer is damaged: {len(data)} bytes for an array of shape {shape}")
    return array.reshape(shape).astype(dtype)  # a copy, which the caller may write to


def _one_of(choices: Mapping[_Name, _Number], chosen: _Name, field: str) -> _Number:
    if chosen not in choices:
        raise InvalidField(field, chosen, ", ".join(str(name) for name in choices))
    return choices[chosen]
