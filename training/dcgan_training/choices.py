"""What the user may set of a recipe, by `--set NAME=VALUE`: read, checked against its range and against the rest."""

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Final, get_args

from dcgan.errors import SettingsError
from dcgan.latents import Prior
from dcgan_training.config import CLASSIC, NORMED, Architecture, Method, Objective, Recipe

_FLAGS: Final = frozenset({"width", "images"})  # which have a flag of their own
SETTABLE: Final = {field.name: field.type for field in fields(Method) if field.name not in _FLAGS}
"""The settings that `--set` takes, with their types."""
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "architecture": get_args(Architecture),
    "prior": get_args(Prior),
    "objective": get_args(Objective),
}


@dataclass(frozen=True, slots=True)
class _Range:
    """Numbers from `low` to `high`, both allowed unless `open`."""

    low: float
    high: float
    below_high: bool = False

    def holds(self, value: float) -> bool:
        return self.low <= value < self.high if self.below_high else self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} {'up to but not' if self.below_high else 'to'} {self.high:g}"


_RANGES: Final = {
    "width": _Range(1, 1024),
    "discriminator_width": _Range(0, 1024),
    "latent_dim": _Range(1, 4096),
    "batch_size": _Range(2, 65536),
    "learning_rate": _Range(1e-8, 1),
    "beta1": _Range(0, 1, below_high=True),
    "beta2": _Range(0, 1, below_high=True),
    "discriminator_steps": _Range(1, 100),
    "label_smoothing": _Range(0, 0.5),
    "instance_noise": _Range(0, 10),
    "penalty": _Range(0, 1e6),
    "minibatch_kernels": _Range(0, 1024),
    "packing": _Range(1, 64),
    "average_half_life_images": _Range(1, 1e12),
    "images": _Range(1, 1e15),
}

ALLOWED: Final = {
    field.name: ", ".join(_WORDS[field.name]) if field.name in _WORDS else str(_RANGES.get(field.name, "true, false"))
    for field in fields(Method)
}
"""The values that each setting may have, in words, by its name."""


def chosen(recipe: Recipe, texts: list[str], **flags: Any) -> Recipe:
    """Gives a recipe with other settings.

    Args:
        recipe: to begin with.
        texts: NAME=VALUE each, as the user wrote them.
        flags: settings that have a flag of their own; None leaves the recipe's.

    Raises:
        SettingsError: there is no such setting, its value isn't allowed, or it contradicts another.
    """
    values = {name: value for name, value in flags.items() if value is not None}
    method = replace(recipe.method, **values, **dict(_read(text) for text in texts))
    check(method)
    return replace(recipe, method=method)


def check_shape(recipe: Recipe, size: int, channels: int) -> None:
    """Refuses images of a shape that the recipe isn't for.

    Raises:
        SettingsError: names both shapes and the recipe to take instead.
    """
    wanted = recipe.size or size, recipe.channels or channels
    if wanted != (size, channels):
        raise SettingsError(
            f"recipe {recipe.name} is for images of {wanted[0]}x{wanted[0]}x{wanted[1]}, and these are "
            f"{size}x{size}x{channels}; say --size {wanted[0]}, or take recipe dcgan, which draws any shape"
        )


def check(method: Method) -> None:
    """Refuses settings out of range, and such as contradict each other.

    Raises:
        SettingsError: names the setting and what is allowed, or both settings and why they don't go together.
    """
    for name, allowed in _RANGES.items():
        value = getattr(method, name)
        if not allowed.holds(value):
            raise SettingsError(f"{name} {value:g} is out of range; allowed: {allowed}")
    for contradictory, why in _contradictions(method):
        if contradictory:
            raise SettingsError(why)


def _contradictions(method: Method) -> list[tuple[bool, str]]:
    paired = method.objective == "relativistic"
    return [
        (
            method.penalty > 0 and method.architecture in NORMED,
            f"penalty {method.penalty:g} needs networks without batch norm, and those of architecture "
            f"{method.architecture} have it: the gradient of one image's logit would depend on its neighbours; "
            "take recipe strong, or penalty=0",
        ),
        (
            method.architecture == "residual" and not (paired and method.penalty > 0),
            "architecture residual has no normalisation and trains only by the relativistic objective with a "
            "penalty above 0; take recipe strong as it is, or architecture dcgan",
        ),
        (
            method.architecture == "residual" and method.spectral_norm,
            "spectral_norm contradicts the fix-up initialisation of architecture residual; leave one of them out",
        ),
        (
            method.label_smoothing > 0 and method.objective not in CLASSIC,
            f"label_smoothing is for the objectives minimax and non-saturating; {method.objective} has no labels",
        ),
        (
            method.minibatch_kernels > 0 and method.architecture != "dcgan",
            f"minibatch_kernels are for architecture dcgan; {method.architecture} has none",
        ),
        (
            method.minibatch_kernels > 0 and method.packing > 1,
            "minibatch_kernels and packing both judge images beside others; choose one",
        ),
        (
            method.batch_size % method.packing > 0,
            f"batch_size {method.batch_size} is no multiple of packing {method.packing}",
        ),
    ]


def _read(text: str) -> tuple[str, Any]:
    """Reads NAME=VALUE."""
    name, _, value = text.partition("=")
    if name in _FLAGS:
        raise SettingsError(f"{name} has a flag of its own: say --{name} {value}")
    if name not in SETTABLE:
        nearest = get_close_matches(name, SETTABLE, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise SettingsError(f"no setting is called {name[:80]!r}; {hint}settings: {', '.join(SETTABLE)}")
    try:
        return name, _value(name, SETTABLE[name], value)
    except ValueError:
        raise SettingsError(f"{name} can't be {value[:80]!r}; allowed: {ALLOWED[name]}") from None


def _value(name: str, kind: Any, text: str) -> Any:
    if name in _WORDS:
        if text not in _WORDS[name]:
            raise ValueError(text)
        return text
    if kind is not bool:
        return kind(text)
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
