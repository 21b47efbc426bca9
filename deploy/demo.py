"""Draws pictures with the bundled model, as a user would: starts a server, asks it through the client, stops it.

Run as `python deploy/demo.py DIRECTORY`, with dcgan[cpu] or dcgan[gpu] installed; `make demo` does both.
"""

import json
import shlex
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

DCGAN = [sys.executable, "-m", "dcgan"]


def main(directory: Path) -> int:
    """Writes samples.png, interpolation.gif, arithmetic.png, metrics.txt and server.log; returns an exit code."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [*DCGAN, "serve", "--port", "0", "--metrics-port", "0", "--drain-delay-s", "0"]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server,
        (directory / "server.log").open("w") as log,
    ):
        assert server.stderr is not None
        first = server.stderr.readline()
        if '"serving"' not in first:  # it has ended, and says why
            sys.stderr.write(first + server.stderr.read())
            return 1
        log.write(first)
        reader = threading.Thread(target=log.writelines, args=[server.stderr])
        reader.start()
        try:
            where = json.loads(first)
            ask(where["target"], directory)
            with urllib.request.urlopen(where["metrics"]) as metrics:
                (directory / "metrics.txt").write_bytes(metrics.read())
        finally:
            server.terminate()
            server.wait()
            reader.join()
    sys.stdout.write(f"The pictures are in {directory.resolve()}: samples.png, interpolation.gif, arithmetic.png\n")
    return 0


def ask(target: str, directory: Path) -> None:
    """Draws the pictures, each by one command, which is shown."""
    for command in (
        "model",
        f"sample --seed 0 --count 100 --grid {directory}/samples.png",
        f"interpolate 2 19 24 51 --frames 64 --closed --output {directory}/interpolation.gif",
        f"arithmetic 'mean(1,2,3) - mean(4,5,6) + mean(7,8,9)' --output {directory}/arithmetic.png",
    ):
        sys.stdout.write(f"$ dcgan {command}\n")
        sys.stdout.flush()
        subprocess.run([*DCGAN, *shlex.split(command), "--target", target], check=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
