"""The algebra of latents: architecture section 5."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dcgan import latents
from dcgan.errors import ExpressionError
from dcgan.latents import draw, evaluate, mean, mix, seed
from strategies import expressions, priors, seeds, weights

DIM = 12


def value(expression, prior="normal", directions=None):
    """Evaluates one expression: float32 (DIM,)."""
    return evaluate([expression], DIM, prior, directions or {})[0]


@given(seeds, weights.filter(lambda weight: weight > 0))
def test_one_seed_alone_is_never_changed(one, weight):
    """Whatever its weight, and also as a mean of itself."""
    np.testing.assert_array_equal(value(one * weight), value(one))
    np.testing.assert_array_equal(value(mean(one, one, one)), value(one))


@given(st.lists(st.tuples(seeds, weights), min_size=2, max_size=6), st.randoms(), priors)
def test_sums_commute(terms, shuffler, prior):
    """The order of terms changes no more than rounding does."""
    shuffled = list(terms)
    shuffler.shuffle(shuffled)
    sums = [latents.total(*(one * weight for one, weight in order)) for order in (terms, shuffled)]
    np.testing.assert_allclose(value(sums[0], prior), value(sums[1], prior), rtol=1e-5, atol=1e-5)


@given(expressions(DIM), expressions(DIM), expressions(DIM))
def test_nesting_changes_nothing(a, b, c):
    """(a + b) + c is a + (b + c): weights merge over the whole sum before it is normalised."""
    np.testing.assert_allclose(value((a + b) + c), value(a + (b + c)), rtol=1e-3, atol=1e-3)


def test_a_normalised_sum_of_seeds_follows_the_prior():
    """4,000 sums of three seeds with unequal weights are N(0, 1), value by value."""
    sums = [seed(at) * 2.0 - seed(at, 1) * 0.5 + seed(at, 2) for at in range(4_000)]
    assert stats.kstest(evaluate(sums, DIM, "normal", {}).ravel(), stats.norm.cdf).pvalue > 0.001


def test_means_of_three_need_no_correction():
    """The paper's own arithmetic, three exemplars a term and three terms, is the same raw and normalised."""
    terms = [mean(*(seed(3 * term + at) for at in range(3))) for term in range(3)]
    whole = terms[0] - terms[1] + terms[2]
    np.testing.assert_allclose(value(whole), value(whole.raw()), rtol=1e-6)


@given(seeds, st.floats(-10, 10, width=32))
def test_directions_add_without_counting(one, strength):
    """A direction shifts a seed by exactly its strength and leaves the seed's own part as it was."""
    way = {"sneaker": np.linspace(-1, 1, DIM, dtype=np.float32)}
    moved = value(one + strength * latents.direction("sneaker"), directions=way)
    np.testing.assert_allclose(moved, value(one) + strength * way["sneaker"], rtol=1e-5, atol=1e-5)


@given(expressions(DIM))
def test_a_uniform_prior_keeps_results_in_its_cube(expression):
    """Where nothing is divided, results are clipped; raw ones are not."""
    assert np.abs(value(expression, "uniform")).max() <= 1.0


@given(expressions(DIM), priors)
def test_every_value_is_finite(expression, prior):
    """Zero sums, opposite ends and equal ends among them."""
    assert np.isfinite(value(expression, prior)).all()


def test_a_sum_that_cancels_is_zero():
    """Nothing is divided by a norm of zero."""
    np.testing.assert_array_equal(value(seed(1) - seed(1)), np.zeros(DIM))


@given(expressions(DIM), expressions(DIM), st.sampled_from(["linear", "spherical", None]))
def test_a_mix_begins_and_ends_at_its_ends(a, b, curve):
    """At 0 and 1 exactly: no sine, no division shows."""
    np.testing.assert_array_equal(value(mix(a, b, 0.0, curve=curve)), value(a))
    np.testing.assert_array_equal(value(mix(a, b, 1.0, curve=curve)), value(b))


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_a_seed_is_the_same_as_an_expression(prior):
    """Image i of seed s doesn't depend on how it was asked for."""
    np.testing.assert_array_equal(value(seed(7, 3), prior), draw(7, [3], DIM, prior)[0])


def test_expressions_of_one_call_don_t_disturb_each_other():
    """Evaluated together or alone, each is the same."""
    several = [seed(1) + seed(2), mix(seed(3), seed(4), 0.3), latents.values(np.ones(DIM))]
    together = evaluate(several, DIM, "normal", {})
    for row, expression in zip(together, several, strict=True):
        np.testing.assert_array_equal(row, value(expression))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: seed(-1), "seed is -1"),
        (lambda: seed(0, 2**64), "index is"),
        (lambda: mean(), "at least one"),
        (lambda: mix(seed(1), seed(2), 1.5), "t is 1.5"),
        (lambda: latents.values(np.ones((2, 3))), "one latent"),
        (lambda: seed(1) + seed(2).raw(), "raw"),
    ],
)
def test_what_can_t_be_built_says_why(build, words):
    """At the line that builds it, not at the server."""
    with pytest.raises(ExpressionError, match=words):
        build()
