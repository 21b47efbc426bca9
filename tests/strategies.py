"""Named hypothesis strategies of the project's own values."""

import numpy as np
from hypothesis import strategies as st

from dcgan import latents
from dcgan.latents import Expression

words64 = st.integers(0, 2**64 - 1)
"""Seeds and indices, with their ends."""

priors = st.sampled_from(["normal", "uniform"])

weights = st.floats(-100.0, 100.0).filter(lambda weight: abs(weight) > 1e-3)

seeds = st.builds(latents.seed, words64, words64)
"""Expressions that are one seed."""


truncated_seeds = st.builds(latents.seed, words64, words64, truncation=st.floats(0.05, 8.0))

directions = st.sampled_from(["smile", "ankle boot", "class", 'it\'s "new"', "ﬁ", "a\\b"]).map(latents.direction)
"""Directions whose names need quotes, and some that don't; `dcgan.latents.Direction` nodes name them."""

images = st.builds(
    latents.image,
    st.sampled_from(["face.png", "1.png", "a-b/c d.png", "~/ö.jpg", "a,b).png", "two  spaces\n.png", b"\x89PNG\0\xff"]),
    refine_steps=st.sampled_from([0, 0, 50]),
)
"""Expressions that are one image, by path or bytes; nothing is at these paths."""


def expressions(dim: int, *more: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    """Trees of seeds, values, and whatever else is given; sums, means and mixes, over latents of `dim` values."""
    values = st.lists(st.floats(-5.0, 5.0, width=32), min_size=dim, max_size=dim).map(latents.values)
    return st.recursive(
        st.one_of(seeds, values, *more),
        lambda smaller: st.one_of(
            st.builds(lambda a, b: a + b, smaller, smaller),
            st.builds(lambda a, b: a - b, smaller, smaller),
            st.builds(lambda a, weight: a * weight, smaller, weights),
            st.lists(smaller, min_size=1, max_size=4).map(lambda several: latents.mean(*several)),
            st.builds(latents.mix, smaller, smaller, st.floats(0.0, 1.0)),
        ),
        max_leaves=8,
    )


def vectors(dim: int) -> st.SearchStrategy[np.ndarray]:
    """Latents of moderate size, float32 (dim,), zero among them."""
    return st.lists(st.floats(-8.0, 8.0, width=32), min_size=dim, max_size=dim).map(lambda v: np.array(v, np.float32))
