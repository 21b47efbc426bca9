"""A client in another language: plain JavaScript that computes latents on its own, against vectors and a server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).parent / "node"
CACHE = ROOT / ".cache/node-client"


@pytest.fixture(scope="module")
def client() -> Path:
    """Copies the client beside its packages from npm, which are installed once."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not here, so a client in JavaScript can't be run")
    CACHE.mkdir(parents=True, exist_ok=True)
    for file in CLIENT.iterdir():
        shutil.copy(file, CACHE)
    install = [npm, "install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
    subprocess.run(install, cwd=CACHE, check=True, timeout=300)
    return CACHE


def test_a_client_in_javascript_draws_the_same_pictures(client, server):
    """From the proto as it is, without a line of ours: same latents, same bytes, sums and paths within 2 ulp."""
    given = {"DCGAN_PROTO": str(ROOT / "proto"), "DCGAN_TARGET": server.target, "no_grpc_proxy": "127.0.0.1"}
    ended = subprocess.run(
        ["node", "--test", "--test-reporter=spec", "conformance.test.js"],
        cwd=client,
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "fail 0" in ended.stdout
    assert "pass 0" not in ended.stdout
