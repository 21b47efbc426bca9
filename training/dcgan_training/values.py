"""What each setting of a run may be: its type, its range, and both in words."""

from dataclasses import dataclass
from typing import Any, Final, get_args

SIZES: Final = tuple(sorted(base << k for base in (4, 7) for k in range(1, 6) if 8 <= base << k <= 128))
"""Heights and widths, px, of the images that the networks draw."""

_SHOWN: Final = 40  # letters of a value that isn't allowed


@dataclass(frozen=True, slots=True)
class _Range:
    """Numbers from `low` to `high`, both allowed unless `below_high`."""

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
    "cooldown_images": _Range(0, 1e15),
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
    "data_count": _Range(0, 1e15),
    "held_out_count": _Range(0, 1e15),
    "seed": _Range(0, (1 << 64) - 1),
}
_CHOICES: Final = {"size": SIZES, "channels": (1, 3)}


def allowed(name: str, kind: Any) -> str:
    """Says what a setting may be, by its name and its type: a Literal, int, float, bool or str."""
    choices = _CHOICES.get(name) or get_args(kind)
    if choices:
        return ", ".join(map(str, choices))
    return str(_RANGES.get(name, "true, false" if kind is bool else "text"))


def in_range(name: str, value: Any) -> bool:
    """Says whether a number is one that a setting may have; what has no range may be anything."""
    return value in _CHOICES[name] if name in _CHOICES else name not in _RANGES or _RANGES[name].holds(value)


def is_allowed(name: str, kind: Any, value: object) -> bool:
    """Says whether a setting may be a value, whose type isn't known."""
    if get_args(kind):
        return isinstance(value, str) and value in get_args(kind)
    fits = type(value) in (int, float) if kind is float else type(value) is kind
    return fits and in_range(name, value)


def short(value: object) -> str:
    """Writes a value in few letters, whatever it is."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
