"""Latents as values: drawn from seeds, combined by an algebra, joined by paths. Pure functions of arrays.

`seeds` draws them, `algebra` evaluates expressions over them, `paths` walks between them.
Directions and encoded images are handed in by whoever owns the bundle.
"""

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

__all__ = [
    "LATENT_STREAM",
    "NEIGHBOUR_RADIUS",
    "NEIGHBOUR_STREAM",
    "TRAINING_STREAM",
    "Floats32",
    "Floats64",
    "Prior",
    "draw",
    "neighbour_noise",
]
