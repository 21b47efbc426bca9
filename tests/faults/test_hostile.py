"""A server among requests that nobody should send; `make fuzz` sends 100,000 of them."""

import asyncio

from bundles import write_bundle
from hostile import DIM, LIMIT_MIB, attack, peak_mib
from processes import serve


def test_hostile_requests_are_refused_with_a_reason_and_harm_nobody(tmp_path):
    """No INTERNAL, no UNKNOWN, no crash, bounded memory; every refusal has its reason, and names the field if any."""
    model = write_bundle(tmp_path / "m", dim=DIM, directions=("less", "more"), encoder=True, discriminator=True)
    with serve(model) as server:
        findings = asyncio.run(attack(server.target, 1_500, seed=1))
        assert findings.wrong == []
        assert findings.answers["OK"] > 500
        assert peak_mib(server) < LIMIT_MIB
        assert server.process.poll() is None
