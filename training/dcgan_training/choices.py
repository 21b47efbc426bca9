"""What the user may set of a recipe, by `--set NAME=VALUE`: read, checked against its range and against the rest."""

from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, Final, get_args

from dcgan.errors import SettingsError
from dcgan_training import values
from dcgan_training.config import CLASSIC, Method, Recipe

_FLAGS: Final = frozenset({"width", "images"})  # which have a flag of their own
SETTABLE: Final = {field.name: field.type for field in fields(Method) if field.name not in _FLAGS}
"""The settings that `--set` takes, with their types."""

ALLOWED: Final = {field.name: values.allowed(field.name, field.type) for field in fields(Method)}
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
    given = {name: value for name, value in flags.items() if value is not None}
    method = replace(recipe.method, **given, **dict(_read(text) for text in texts))
    check(method)
    return replace(recipe, method=method)


def check_shape(recipe: Recipe, size: int, channels: int) -> None:
    """Refuses images of a shape that the recipe isn't for.

    Raises:
        SettingsError: names both shapes and the recipe to take instead.
    """
    wanted = recipe.size or size, recipe.channels or channels
    if wanted != (size, channels):
        grey = "grey images" if wanted[1] == 1 else "images in colour"
        remedy = f"say --size {wanted[0]}" if wanted[1] == channels else f"give it {grey}"
        raise SettingsError(
            f"recipe {recipe.name} is for images of {wanted[0]}x{wanted[0]}x{wanted[1]}, and these are "
            f"{size}x{size}x{channels}; {remedy}, or take recipe dcgan, which draws any shape"
        )


def check(method: Method) -> None:
    """Refuses settings out of range, and such as contradict each other.

    Raises:
        SettingsError: names the setting and what is allowed, or both settings and why they don't go together.
    """
    for name, words in ALLOWED.items():
        value = getattr(method, name)
        if not values.in_range(name, value):
            raise SettingsError(f"{name} {values.short(value)} is out of range; allowed: {words}")
    for contradictory, why in _contradictions(method):
        if contradictory:
            raise SettingsError(why)


def _contradictions(method: Method) -> list[tuple[bool, str]]:
    paired = method.objective == "relativistic"
    return [
        (
            method.penalty > 0 and method.architecture == "dcgan" and not method.spectral_norm,
            f"penalty {method.penalty:g} needs a discriminator without batch norm, and that of architecture dcgan has "
            "it: the gradient of one image's logit would depend on its neighbours; take recipe strong, or penalty=0, "
            "or spectral_norm=true, which takes the place of batch norm",
        ),
        (
            method.penalty > 0 and method.minibatch_kernels > 0,
            f"penalty {method.penalty:g} and minibatch_kernels don't go together: the gradient of one image's logit "
            "would depend on its neighbours; leave one of them out",
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
            method.full_size_map and method.architecture != "dcgan",
            f"full_size_map is for architecture dcgan; {method.architecture} "
            + ("always has such a map" if method.architecture == "keras" else "can't have such a map"),
        ),
        (
            method.minibatch_kernels > 0 and method.packing > 1,
            "minibatch_kernels and packing both judge images beside others; choose one",
        ),
        (
            method.cooldown_images > method.images,
            f"cooldown_images {method.cooldown_images} are the last of {method.images} images; make them fewer, or "
            "give more --images",
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
        return name, _value(SETTABLE[name], value)
    except ValueError:
        raise SettingsError(f"{name} can't be {value[:80]!r}; allowed: {ALLOWED[name]}") from None


def _value(kind: Any, text: str) -> Any:
    if get_args(kind):
        if text not in get_args(kind):
            raise ValueError(text)
        return text
    if kind is not bool:
        return kind(text)
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
