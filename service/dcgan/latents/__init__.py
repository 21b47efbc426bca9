"""Latents as values: drawn from seeds, combined by an algebra, joined by paths. Pure functions of arrays.

`seeds` draws them, `algebra` evaluates expressions over them, `paths` walks between them, `text` reads the
expressions that people type, `refine` moves latents down a gradient. Directions and gradients are handed in by
whoever owns the bundle.
"""

from dcgan.latents.algebra import (
    MAX_SEED,
    NO_TRUNCATION,
    Direction,
    Expression,
    Image,
    Mix,
    Node,
    Normalization,
    Seed,
    Sum,
    Values,
    default_curve,
    direction,
    evaluate,
    image,
    mean,
    mix,
    seed,
    total,
    values,
)
from dcgan.latents.paths import Curve, Easing, Path, mixed
from dcgan.latents.refine import Refinement
from dcgan.latents.seeds import (
    LATENT_STREAM,
    NEIGHBOUR_RADIUS,
    NEIGHBOUR_STREAM,
    TRAINING_STREAM,
    Floats32,
    Floats64,
    Prior,
    draw,
    neighbour_noise,
)
from dcgan.latents.text import Term, parse, terms

__all__ = [
    "LATENT_STREAM",
    "MAX_SEED",
    "NEIGHBOUR_RADIUS",
    "NEIGHBOUR_STREAM",
    "NO_TRUNCATION",
    "TRAINING_STREAM",
    "Curve",
    "Direction",
    "Easing",
    "Expression",
    "Floats32",
    "Floats64",
    "Image",
    "Mix",
    "Node",
    "Normalization",
    "Path",
    "Prior",
    "Refinement",
    "Seed",
    "Sum",
    "Term",
    "Values",
    "default_curve",
    "direction",
    "draw",
    "evaluate",
    "image",
    "mean",
    "mix",
    "mixed",
    "neighbour_noise",
    "parse",
    "seed",
    "terms",
    "total",
    "values",
]
