"""Latents as values: drawn from seeds, combined by an algebra, joined by paths. Pure functions of arrays.

`seeds` draws them, `expressions` builds formulas over them, `algebra` evaluates these, `text` reads and `writing`
prints them, `paths` walks between latents, `refine` moves them down a gradient. Directions and gradients are handed in
by whoever owns the bundle.
"""

from dcgan.latents.algebra import default_curve, evaluate
from dcgan.latents.expressions import (
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
    direction,
    image,
    mean,
    mix,
    needed,
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
from dcgan.latents.writing import written

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
    "needed",
    "neighbour_noise",
    "parse",
    "seed",
    "terms",
    "total",
    "values",
    "written",
]
