"""Seeds: the contract of architecture section 4."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from dcgan import latents
from dcgan.latents import compiled, draw
from dcgan.latents.seeds import inverse_normal_cdf, philox
from strategies import priors, words64

ONES, PI = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
VECTORS = Path(__file__).parents[2] / "proto/vectors"


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, expected):
    """The three vectors of philox4x32 with 10 rounds in Random123's kat_vectors."""
    words = philox(
        tuple(np.array([word], np.uint64) for word in counter), tuple(np.array([word], np.uint64) for word in key)
    )
    assert tuple(int(word[0]) for word in words) == expected


def test_the_inverse_normal_cdf_agrees_with_an_independent_one():
    """Scipy's is another algorithm; both are good to about 1e-15."""
    edges = np.array([0, 1, 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.float64)
    words = np.concatenate([edges, np.random.default_rng(0).integers(0, 2**32, 300_000)])
    uniform = (words + 0.5) / 2**32
    np.testing.assert_allclose(inverse_normal_cdf(uniform), special.ndtri(uniform), rtol=4e-15, atol=1e-15)


def test_the_inverse_normal_cdf_is_as_241_after_rounding():
    """The standard library has the same algorithm in C; the two words that hang on one ulp are among these."""
    words = np.concatenate([np.random.default_rng(1).integers(0, 2**32, 20_000), [0x08EDBE91, 0xF7126E6E]])
    uniform = (words + 0.5) / 2**32
    normal = statistics.NormalDist()
    expected = np.array([normal.inv_cdf(u) for u in uniform.tolist()])
    one_by_one = np.array([compiled.inverse_normal_cdf(u) for u in uniform])
    for found in (inverse_normal_cdf(uniform), one_by_one):
        np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))


@given(seed=words64, index=words64, prior=priors, dim=st.integers(1, 130))
def test_a_latent_is_what_the_contract_says_value_by_value(seed, index, prior, dim):
    """The vectorised draw against the definition, one word at a time."""
    drawn = draw(seed, [index], dim, prior)[0]
    for j in {0, dim // 2, dim - 1}:
        counter = (j // 4, 0, index & ONES, index >> 32)
        words = philox(
            tuple(np.array([word], np.uint64) for word in counter),
            tuple(np.array([word], np.uint64) for word in (seed & ONES, seed >> 32)),
        )
        u = (int(words[j % 4][0]) + 0.5) / 2**32
        assert drawn[j] == np.float32(2 * u - 1 if prior == "uniform" else inverse_normal_cdf(np.array([u]))[0])


@given(
    names=st.lists(st.tuples(words64, words64, st.none() | st.floats(0.01, 8.0)), min_size=1, max_size=20),
    prior=priors,
    dim=st.integers(1, 130),
)
def test_compiled_draws_are_the_same_bits(names, prior, dim):
    """What a server draws between two batches is what NumPy draws anywhere else, truncated rows among others."""
    seeds, indices = (np.array([name[at] for name in names], np.uint64) for at in (0, 1))
    limits = np.array([np.inf if limit is None else limit for *_, limit in names])
    truncations = None if prior == "uniform" or np.isinf(limits).all() else limits
    np.testing.assert_array_equal(
        compiled.draw(seeds, indices, dim, prior, truncations),
        draw(seeds, indices, dim, prior, truncations=truncations),
    )


@given(seed=words64, first=st.integers(0, 2**64 - 700), count=st.integers(1, 600), prior=priors)
def test_a_row_depends_on_its_name_alone(seed, first, count, prior):
    """Drawn among hundreds or by itself, with other seeds beside it, a row is the same; blocks of rows don't show."""
    indices = np.uint64(first) + np.arange(count, dtype=np.uint64)
    seeds = np.full(count, seed, np.uint64)
    seeds[::2] = 5
    row = count - 1 if count % 2 == 0 else count // 2 | 1
    if row < count:
        together = draw(seeds, indices, 100, prior)[row]
        np.testing.assert_array_equal(together, draw(seed, [first + row], 100, prior)[0])


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_values_follow_the_prior(prior):
    """A Kolmogorov-Smirnov test over a million values of neighbouring indices."""
    values = draw(3, np.arange(10_000), 100, prior).ravel()
    expected = stats.norm.cdf if prior == "normal" else stats.uniform(-1, 2).cdf
    assert stats.kstest(values, expected).pvalue > 0.001


@pytest.mark.parametrize("truncation", [0.1, 0.7, 2.0])
def test_truncation_gives_an_exact_truncated_normal(truncation):
    """Not clipped and not drawn again: the distribution itself is the truncated one."""
    values = draw(3, np.arange(2_000), 100, "normal", truncations=truncation).ravel()
    assert np.abs(values).max() <= truncation
    assert stats.kstest(values, stats.truncnorm(-truncation, truncation).cdf).pvalue > 0.001


@given(seed=words64, index=words64)
def test_wide_truncation_keeps_the_picture(seed, index):
    """At 8 nothing is cut that 32 bits can reach, so only the last bits differ."""
    plain, cut = draw(seed, [index], 64, "normal"), draw(seed, [index], 64, "normal", truncations=8.0)
    np.testing.assert_allclose(cut, plain, rtol=1e-5, atol=1e-6)


def test_rows_of_one_batch_may_be_truncated_differently():
    """inf leaves a row alone; each row gets its own limit."""
    rows = draw(9, [4, 4, 4], 50, "normal", truncations=[np.inf, 1.0, 0.25])
    for row, truncation in zip(rows, (np.inf, 1.0, 0.25), strict=True):
        np.testing.assert_array_equal(row, draw(9, [4], 50, "normal", truncations=truncation)[0])
    np.testing.assert_array_equal(rows[0], draw(9, [4], 50, "normal")[0])


def test_streams_share_nothing():
    """Latents, neighbours' noise and training draw from different counters."""
    streams = [latents.LATENT_STREAM, latents.NEIGHBOUR_STREAM, latents.TRAINING_STREAM]
    drawn = [draw(1, np.arange(50), 20, "uniform", stream=stream) for stream in streams]
    assert not any(np.isin(a, b).any() for a, b in [(drawn[0], drawn[1]), (drawn[0], drawn[2]), (drawn[1], drawn[2])])


def test_neighbour_noise_fills_its_cube():
    """Uniform in +-0.25 on every axis, another for every index."""
    noise = latents.neighbour_noise(5, np.arange(4_000), 10)
    assert noise.dtype == np.float32
    assert stats.kstest(noise.ravel(), stats.uniform(-0.25, 0.5).cdf).pvalue > 0.001


def test_the_published_vectors_are_what_is_drawn():
    """The file for other languages, compared exactly."""
    published = json.loads((VECTORS / "seeds.json").read_text())
    for vector in published["latents"]:
        drawn = draw(
            int(vector["seed"]),
            [int(vector["index"])],
            vector["dim"],
            vector["prior"],
            truncations=vector["truncation"],
        )
        np.testing.assert_array_equal(drawn[0], np.array(vector["float32"], np.float32))
    for vector in published["normal_of_word"]:
        normal = inverse_normal_cdf(np.array([(vector["word"] + 0.5) / 2**32]))
        assert np.float32(normal[0]) == np.float32(vector["float32"])
