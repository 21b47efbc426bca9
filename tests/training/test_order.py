import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcgan_training.data import positions
from strategies import words64

totals = st.integers(2, 50)
firsts = st.integers(0, 200)
counts = st.integers(1, 120)


@given(words64, st.integers(0, 5), totals)
def test_every_epoch_shows_every_image_once(seed: int, epoch: int, total: int) -> None:
    """An epoch is a permutation of the data set."""
    assert sorted(positions(seed, epoch * total, total, total)) == list(range(total))


@given(words64, firsts, counts, counts, totals)
def test_order_does_not_depend_on_where_a_run_was_cut(seed: int, first: int, here: int, there: int, total: int) -> None:
    """Two stretches one after the other are the one stretch over both, across epochs too."""
    cut = [positions(seed, first, here, total), positions(seed, first + here, there, total)]
    np.testing.assert_array_equal(np.concatenate(cut), positions(seed, first, here + there, total))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    """Neither another seed nor the next epoch repeats an order."""
    orders = [positions(1, 0, 100, 100), positions(1, 100, 100, 100), positions(2, 0, 100, 100)]
    assert len({tuple(order) for order in orders}) == 3


def test_the_order_is_pinned() -> None:
    """A new numpy must not change the course of a run that is continued."""
    assert positions(7, 0, 10, 10).tolist() == [8, 4, 1, 6, 3, 2, 7, 5, 9, 0]
