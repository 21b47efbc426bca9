"""An environment for each peer below .venv/peers, made when it isn't there yet or was made for other packages."""

import shutil
import subprocess
import sys
from pathlib import Path

from catalogue import Peer

FOLDER = Path(".venv/peers")
INSTALL_S = 900.0  # the longest that an installation may take


class NotToBeHad(Exception):
    """A peer can't be installed or started, or doesn't answer as it should."""


def python_of(peer: Peer) -> str:
    """Gives the Python of a peer's environment, which is made first where it must be."""
    if not peer.packages:
        return sys.executable
    base = next(filter(shutil.which, peer.pythons))
    folder = FOLDER / peer.name.split()[0].lower()
    python, ready = (folder / "bin/python").absolute(), folder / "ready"
    wanted = "\n".join(peer.packages)
    if not ready.exists() or ready.read_text() != wanted:
        _run(base, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.packages)
        ready.write_text(wanted)
    return str(python)


def version_of(peer: Peer, python: str) -> str:
    """Asks a peer's environment which version of it is installed."""
    if not peer.packages:
        return "-"
    code = f"import importlib.metadata as m; print(m.version({peer.packages[0].split('==')[0]!r}))"
    return _run(python, "-c", code).strip()


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S).stdout
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        lines = [line for line in output.splitlines() if line.startswith("ERROR: ")] or output.strip().splitlines()
        raise NotToBeHad(lines[0].removeprefix("ERROR: ")[:200]) from error
