"""Checks of single fields: enums, ranges, values. Each refusal names the field, its value and what is allowed."""

from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np

from dcgan import images, latents
from dcgan.errors import InvalidField, NotInBundle
from dcgan.generator import PartName
from dcgan.latents import Curve, Easing, Normalization
from dcgan.registry import Model
from dcgan.v1 import dcgan_pb2 as pb

Format: TypeAlias = images.Format | Literal["raw"]

_MAX_WEIGHT: Final = 1e6
_MAX_TRUNCATION: Final = 8.0
_MAX_VALUE: Final = 1e6
_REMEDIES: Final[dict[PartName, str]] = {
    "discriminator": "export one with `dcgan-train export`, of a recipe that judges single images",
    "encoder": "make one with `dcgan-train encoder`",
    "latent_gradient": "make one with `dcgan-train encoder`, or set refine_steps to 0",
}

FORMATS: Final[dict[int, Format]] = {
    pb.FORMAT_UNSPECIFIED: "png",
    pb.FORMAT_PNG: "png",
    pb.FORMAT_JPEG: "jpeg",
    pb.FORMAT_WEBP: "webp",
    pb.FORMAT_RAW: "raw",
}
NORMALIZATIONS: Final[dict[int, Normalization]] = {
    pb.NORMALIZATION_UNSPECIFIED: "prior",
    pb.NORMALIZATION_PRIOR: "prior",
    pb.NORMALIZATION_RAW: "raw",
}
CURVES: Final[dict[int, Curve | None]] = {
    pb.CURVE_UNSPECIFIED: None,
    pb.CURVE_LINEAR: "linear",
    pb.CURVE_SPHERICAL: "spherical",
}
EASINGS: Final[dict[int, Easing]] = {
    pb.EASING_UNSPECIFIED: "linear",
    pb.EASING_LINEAR: "linear",
    pb.EASING_SMOOTH: "smooth",
}

_Choice = TypeVar("_Choice")


def need(part: PartName, field: str, model: Model) -> None:
    """Refuses a request, because of the field, where the bundle lacks a part. Raises NotInBundle."""
    if part not in model.parts:
        raise NotInBundle(field, part.replace("_", " "), _REMEDIES[part])


def check_values(values: latents.Floats32, field: str) -> None:
    """Refuses latents that are not finite, or so large that a path between them would not be."""
    fit = (np.abs(values) <= _MAX_VALUE).all(axis=1)  # also refuses NaN
    if not fit.all():
        row = int(np.argmin(fit))
        raise InvalidField(f"{field}[{row}]", f"up to {np.abs(values[row]).max()}", f"values up to +-{_MAX_VALUE:g}")


def check_steps(steps: int, field: str, model: Model) -> None:
    """Refuses refinement steps that are too many, or that this bundle can't do."""
    within(field, steps, 0, model.limits.max_refine_steps)
    if steps:
        need("latent_gradient", field, model)


def weight_of(term: pb.SumNode.Term | pb.ArithmeticRequest.Term, field: str) -> float:
    """Reads a weight; 1 where it is not given."""
    weight = term.weight if term.HasField("weight") else 1.0
    if not abs(weight) <= _MAX_WEIGHT:  # also refuses NaN
        raise InvalidField(field, weight, "-1,000,000 to 1,000,000")
    return weight


def truncation_of(message: pb.SeedRange | pb.SeedNode, field: str, model: Model) -> float:
    """Reads a truncation; inf where it is not given."""
    if not message.HasField("truncation"):
        return latents.NO_TRUNCATION
    if not 0.0 < message.truncation <= _MAX_TRUNCATION:
        raise InvalidField(field, message.truncation, f"above 0 and at most {_MAX_TRUNCATION:g}, or unset")
    if model.bundle.manifest.latent.prior != "normal":
        raise InvalidField(field, message.truncation, "unset, since this model's prior is not normal")
    return message.truncation


def within(field: str, value: int, low: int, high: int) -> None:
    """Refuses a number outside of a range."""
    if not low <= value <= high:
        raise InvalidField(field, value, f"{low} to {high}")


def choice(value: int, choices: dict[int, _Choice], field: str, enum: object) -> _Choice:
    """Reads an enum."""
    if value not in choices:
        names = ", ".join(enum.keys())  # type: ignore[attr-defined]  # the generated wrapper of any enum
        raise InvalidField(field, value, names)
    return choices[value]
