"""The algebra of latents: architecture section 5."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dcgan import latents
from dcgan.errors import ExpressionError
from dcgan.latents import Mix, Seed, Sum, Values, draw, evaluate, mean, mix, seed
from dcgan.latents.forms import Form
from dcgan.latents.paths import way
from strategies import expressions, priors, seeds, weights

DIM = 12


def value(expression, prior="normal", directions=None):
    """Evaluates one expression: float32 (DIM,)."""
    return evaluate([expression], DIM, prior, directions or {})[0]


def by_the_book(expression, prior):
    """Evaluates as the module's docstring says it, slowly: every value is summed up from the seeds, float64 (DIM,)."""
    forms = []

    def settled(at):
        weights, free = forms[at]
        norm = math.hypot(*weights.values())
        if norm == 0.0 or prior == "uniform" or expression.normalization == "raw":
            return forms[at]
        return ({one: weight / norm for one, weight in weights.items()}, free) if sums[at] else forms[at]

    def summed(form):
        return sum((weight * draw(one.seed, [one.index], DIM, prior)[0] for one, weight in form[0].items()), form[1])

    def added(terms):
        weights, free = {}, np.zeros(DIM)
        for (more, vector), factor in terms:
            free = free + factor * vector
            for one, weight in more.items():
                weights[one] = weights.get(one, 0.0) + factor * weight
        return weights, free

    sums = [isinstance(node, Sum) for node in expression.nodes]
    for node in expression.nodes:
        match node:
            case Seed():
                forms.append(({node: 1.0}, np.zeros(DIM)))
            case Values(explicit):
                forms.append(({}, np.array(explicit)))
            case Sum(terms):
                forms.append(added([(forms[at], weight) for at, weight in terms]))
            case Mix(start, end, t, curve):
                ends = settled(start), settled(end)
                route = way(*map(summed, ends), curve or latents.default_curve(prior))
                aside = {}, np.zeros(DIM) if route.aside is None else route.aside
                forms.append(added(list(zip((*ends, aside), route.weights(t), strict=True))))
    result = summed(settled(-1))
    return np.clip(result, -1, 1) if prior == "uniform" and expression.normalization == "prior" else result


@given(expressions(DIM), priors, st.booleans())
def test_it_computes_what_its_docstring_says(expression, prior, raw):
    """Whatever is left out, kept or shared on the way, to float32's precision."""
    expression = expression.raw() if raw else expression
    expected = by_the_book(expression, prior)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(value(expression, prior), expected, rtol=1e-5, atol=1e-6 * max(1.0, scale))


def sums_of_few(names):
    """Sums of the given seeds in any order, so that two of them share seeds."""
    terms = st.lists(st.tuples(st.sampled_from(names), weights), min_size=1, max_size=9)
    return terms.map(lambda several: latents.total(*(seed(name) * weight for name, weight in several)))


@given(st.lists(expressions(DIM) | sums_of_few(range(5)), min_size=1, max_size=4), priors)
def test_neighbours_change_no_bit(several, prior):
    """An expression's latent depends on the expression alone, not on those that are evaluated with it."""
    together = evaluate(several, DIM, prior, {})
    np.testing.assert_array_equal(together, [value(one, prior) for one in several])


@given(sums_of_few(range(5)), sums_of_few(range(9)), priors)
def test_a_part_has_the_same_bits_in_a_larger_whole(part, other, prior):
    """Also where the other part brings seeds that stand between its own."""
    np.testing.assert_array_equal(value(mix(part, other, 0.0), prior), value(part, prior))
    np.testing.assert_array_equal(value(mix(other, part, 1.0), prior), value(part, prior))


@given(seeds, weights)
def test_a_weighted_seed_keeps_its_sign_alone(one, weight):
    """Raw, it is the seed times its weight, rounded once."""
    alone = value(one)
    np.testing.assert_array_equal(value(one * weight), alone if weight > 0 else -alone)
    np.testing.assert_array_equal(value((one * weight).raw()), (weight * alone.astype(np.float64)).astype(np.float32))


def test_what_nothing_refers_to_changes_nothing():
    """Nodes beside the way to the result are not even drawn."""
    whole = latents.Expression((Seed(1), Seed(2), latents.Direction("unknown"), Sum(((0, 1.0), (1, 2.0)))))
    np.testing.assert_array_equal(value(whole), value(seed(1) + seed(2) * 2.0))


def test_a_sum_becomes_a_value_once_however_many_mixes_use_it(monkeypatch):
    """12 KB of mixes over wide sums took half a second: each mix added up a thousand seeds again."""
    products = []
    monkeypatch.setattr(Form, "value", lambda form, draws: products.append(form) or np.ones(draws.shape[1]))
    wide = [*map(Seed, range(100)), *(Sum(tuple((at, weight) for at in range(100))) for weight in (1.0, 2.0))]
    chain = [Mix(100 + at, 101 + at, 0.3) for at in range(500)]
    value(latents.Expression((*wide, *chain)))
    assert len(products) == 2


@pytest.mark.parametrize(
    "start", [seed(1), seed(1) + seed(2), latents.values(np.ones(DIM)), mix(seed(1), seed(2), 0.5)]
)
@pytest.mark.parametrize("raw", [True, False])
def test_weights_that_overflow_are_silent(start, raw):
    """Sixty weights of a million are more than float64 holds; whether the result is finite is for callers to check."""
    huge = start
    for _ in range(60):
        huge = huge * 1e6
    huge = huge.raw() if raw else huge
    assert not np.isfinite(value(huge)).any()
    assert not np.isfinite(value(mix(huge, huge * -1.0, 0.3))).all()


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
