import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import linalg

from dcgan.errors import SettingsError
from dcgan_training import figures
from dcgan_training.figures import Prdc, diversity, duplicates, frechet_distance, nearest, prdc, trace

ROWS = st.integers(4, 9).flatmap(lambda n: arrays(np.int64, (n, 2), elements=st.integers(-3, 3)))


def normal(count: int, values: int, seed: int = 0) -> np.ndarray:
    """Rows from a normal distribution."""
    return np.random.default_rng(seed).normal(size=(count, values))


def with_moments(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Rows of exactly this mean and covariance."""
    rows = normal(50, len(mean))
    rows -= rows.mean(0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_the_distance_of_normal_distributions_is_the_closed_form() -> None:
    """Where covariances are diagonal it is the means' distance plus that of the deviations, squared."""
    a = with_moments(np.array([1.0, 0.0, 2.0]), np.diag([4.0, 1.0, 9.0]))
    b = with_moments(np.array([0.0, 2.0, 2.0]), np.diag([1.0, 1.0, 16.0]))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 0 + (2 - 1) ** 2 + 0 + (3 - 4) ** 2)
    assert trace(a) == pytest.approx(14)


def test_the_distance_agrees_with_the_matrix_root() -> None:
    """Covariances that don't commute, by scipy's root as the papers' code has it."""
    a, b = normal(40, 5) @ normal(5, 5, 1), normal(60, 5, 2) @ normal(5, 5, 3) + 1.0
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_the_distance_of_few_rows_of_many_values_is_a_number() -> None:
    """Singular covariances have roots too."""
    a, b = normal(10, 40), normal(12, 40, 1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_a_set_lies_perfectly_in_itself() -> None:
    """Distance 0; precision, recall and coverage 1."""
    rows = normal(50, 3)
    found = prdc(rows, rows.copy())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density > 1


def test_sets_far_apart_have_nothing_in_common() -> None:
    """All four are 0."""
    assert prdc(normal(50, 3), normal(50, 3) + 100) == Prdc(0, 0, 0, 0)


def test_one_picture_drawn_again_and_again_is_precise_and_covers_nothing() -> None:
    """Collapse onto a real image: precision 1, recall and coverage next to 0."""
    rows = normal(60, 3)
    found = prdc(rows, np.repeat(rows[:1], 60, 0))
    assert found.precision == 1
    assert found.coverage < 0.3
    assert found.recall <= 1 / 60


@given(real=ROWS, generated=ROWS, k=st.integers(1, 3))
def test_prdc_is_what_the_definitions_say(real: np.ndarray, generated: np.ndarray, k: int) -> None:
    """Against loops over pairs, ties and duplicates included."""
    assert prdc(real, generated, k) == by_definition(real.tolist(), generated.tolist(), k)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets larger than a block give what they give in one."""
    real, generated = normal(45, 3), normal(33, 3, 1) * 0.8
    whole = prdc(real, generated), diversity(real), duplicates(real)
    monkeypatch.setattr(figures, "_BLOCK", 7)
    assert (prdc(real, generated), diversity(real), duplicates(real)) == (whole[0], pytest.approx(whole[1]), whole[2])


def test_rows_are_left_as_they_are() -> None:
    """No figure writes into what it is given."""
    rows = normal(20, 3)
    before = rows.copy()
    for figure in (
        diversity,
        duplicates,
        trace,
        lambda same: prdc(same, same),
        lambda same: frechet_distance(same, same),
    ):
        figure(rows)
    np.testing.assert_array_equal(rows, before)


def test_too_few_rows_are_refused() -> None:
    """Five neighbours need six rows."""
    with pytest.raises(SettingsError, match="5 neighbours need more than 5"):
        prdc(normal(5, 2), normal(50, 2))


@given(rows=ROWS)
def test_diversity_is_the_mean_distance_of_pairs(rows: np.ndarray) -> None:
    """Against a loop over pairs."""
    pairs = [np.hypot(*(a - b)) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    assert diversity(rows) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_duplicates_are_those_that_no_one_tells_apart() -> None:
    """Two of four images are nearly the same; a third differs visibly."""
    image = np.random.default_rng(0).integers(10, 240, (8, 8, 1)).astype(np.uint8)
    other = np.random.default_rng(1).integers(10, 240, (8, 8, 1)).astype(np.uint8)
    assert duplicates(np.stack([image, image + np.uint8(1), image + np.uint8(9), other])) == 0.5
    assert duplicates(np.stack([image, image])) == 1.0
    rows = np.array([[3.0, 4.0], [3.0, 4.01], [3.0, 5.0]])
    assert duplicates(rows) == pytest.approx(2 / 3)


@given(rows=ROWS, others=ROWS)
def test_the_nearest_is_the_nearest(rows: np.ndarray, others: np.ndarray) -> None:
    """Against all pairs."""
    expected = np.square(rows[:, None] - others[None]).sum(2).min(1)
    np.testing.assert_allclose(nearest(rows, others), expected, atol=1e-9)


def by_definition(real: list[list[int]], generated: list[list[int]], k: int) -> Prdc:
    """Computes the four figures pair by pair."""

    def square(a: list[int], b: list[int]) -> int:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    def reaches(rows: list[list[int]]) -> list[int]:
        return [sorted(square(row, other) for other in rows)[k] for row in rows]  # the first one is itself

    of_real, of_generated = reaches(real), reaches(generated)
    inside = [[square(one, two) <= reach for one, reach in zip(real, of_real, strict=True)] for two in generated]
    return Prdc(
        precision=float(np.mean([any(row) for row in inside])),
        recall=float(
            np.mean(
                [
                    any(square(one, two) <= reach for two, reach in zip(generated, of_generated, strict=True))
                    for one in real
                ]
            )
        ),
        density=sum(map(sum, inside)) / (k * len(generated)),
        coverage=float(np.mean([any(row[place] for row in inside) for place in range(len(real))])),
    )
