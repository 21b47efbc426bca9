"""Expressions printed as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from dcgan.errors import ExpressionError
from dcgan.latents import (
    Direction,
    Expression,
    Image,
    Mix,
    Seed,
    Sum,
    direction,
    evaluate,
    image,
    mean,
    mix,
    parse,
    seed,
    total,
    values,
    written,
)
from dcgan.latents.text import MAX_LENGTH

DIM = 4
PRIORS = strategies.priors


def _leaf_vector(at: int) -> np.ndarray:
    """Values whose products and sums are rounded, so that another order of additions shows."""
    return np.random.default_rng(at).normal(size=DIM).astype(np.float32)


def _latent(expression: Expression, prior: str) -> bytes:
    """Evaluates an expression, and gives the bits; the vector of a direction or an image hangs on what names it."""
    names = sorted({node.name for node in expression.nodes if isinstance(node, Direction)})
    pictures = {node for node in expression.nodes if isinstance(node, Image)}
    vectors = {name: _leaf_vector(len(name)) for name in names}
    encoded = {one: _leaf_vector(len(one.content) + one.refine_steps) for one in pictures}
    return evaluate([expression], DIM, prior, vectors, encoded).tobytes()  # type: ignore[arg-type]


TREES = strategies.expressions(DIM, strategies.truncated_seeds, strategies.directions, strategies.images)


@st.composite
def _graphs(draw: st.DrawFn) -> Expression:
    """Expressions as they come over the wire: nodes shared, sums of one term, signs and means of any weights."""
    leaves = draw(st.lists(strategies.seeds | strategies.directions, min_size=1, max_size=3))
    nodes = [leaf.nodes[0] for leaf in leaves]
    weight = st.sampled_from([1.0, -1.0, 0.5, 1 / 3, 0.25, 2.0, 0.1, -0.7, 0.0, -0.0]) | strategies.weights
    for _ in range(draw(st.integers(1, 7))):
        earlier = st.integers(0, len(nodes) - 1)
        sums = st.lists(st.tuples(earlier, weight), min_size=1, max_size=4).map(lambda terms: Sum(tuple(terms)))
        nodes.append(draw(sums | sums | st.builds(Mix, earlier, earlier, st.floats(0, 1))))
    return Expression(tuple(nodes), draw(st.sampled_from(["prior", "raw"])))


@given(TREES | _graphs(), PRIORS)
def test_what_is_read_again_is_the_same_latent_bit_for_bit(expression: Expression, prior: str) -> None:
    """However its sums are nested then."""
    assert _latent(parse(written(expression)), prior) == _latent(expression, prior)


@given(TREES | _graphs())
def test_what_is_written_again_is_the_same_text(expression: Expression) -> None:
    """So that texts can be compared and kept."""
    once = written(expression)
    assert written(parse(once)) == once


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (seed(7), "7"),
        (seed(7, 3), "seed(7, 3)"),
        (seed(7, truncation=0.7), "seed(7, truncation=0.7)"),
        (seed(7, 3, truncation=2), "seed(7, 3, truncation=2)"),
        (mean(seed(1), seed(2), seed(3)) - mean(seed(4), seed(5)), "mean(1, 2, 3) - mean(4, 5)"),
        (seed(7) + 1.5 * direction("sneaker"), "7 + 1.5*direction(sneaker)"),
        (direction("ankle boot") - seed(1) * 2, 'direction("ankle boot") - 2*seed(1)'),
        (-seed(7) + seed(8), "-seed(7) + 8"),
        (seed(1) + seed(2) + seed(3) - (seed(4) - seed(5)), "1 + 2 + 3 - (4 - 5)"),
        (2 * (seed(1) + 3 * seed(2)), "2*(1 + 3*seed(2))"),
        (2 * (-seed(1)), "2*(-seed(1))"),
        (-(seed(1) + seed(2)), "-(1 + 2)"),
        (total(seed(1)), "mean(1)"),
        (seed(1) * 0.5 + seed(2) * 0.5, "mean(1, 2)"),
        (mix(seed(3), seed(9) + seed(1), 0.25, curve="linear"), "mix(3, 9 + 1, 0.25, curve=linear)"),
        (1.0 * mix(seed(3), seed(9), 1), "mean(mix(3, 9, 1))"),
        (values([0.1, -2, 1e-7]), "values(0.1, -2, 1e-07)"),
        (image("face.png"), "image(face.png)"),
        (image("my face.png", refine_steps=50), 'image("my face.png", refine_steps=50)'),
        (image(b"abc"), 'image("data:image;base64,YWJj")'),
        (image("data:x"), 'image("./data:x")'),
        ((seed(1) - seed(2)).raw(), "raw(1 - 2)"),
    ],
)
def test_the_text_is_what_people_write(expression: Expression, text: str) -> None:
    """And `str` gives it."""
    assert str(expression) == written(expression) == text


@pytest.mark.parametrize(
    "expression",
    [
        Expression((Seed(1), *(Sum(((at, 1.0), (at, 2.0))) for at in range(100)))),
        Expression((Seed(1), *(Mix(at, at, 0.5) for at in range(100)))),
        Expression((Seed(1), *(Sum(((at, 1.0), (0, 1.0))) for at in range(100_000)))),
        Expression((Seed(1), *(Sum(((at, 0.5),)) for at in range(100_000)))),
        values(np.ones(MAX_LENGTH)),
        image(bytes(MAX_LENGTH)),
    ],
)
def test_what_would_be_too_long_is_refused_at_once(expression: Expression) -> None:
    """Where parts are used twice and twice again, there are 2^100 of them."""
    with pytest.raises(ExpressionError, match="more than 10,000 characters"):
        written(expression)


def test_a_long_sum_is_one_line_of_terms() -> None:
    """Operators nest it a thousand deep."""
    whole = seed(0)
    for at in range(1, 1000):
        whole = whole + seed(at)
    assert written(whole) == " + ".join(map(str, range(1000)))
