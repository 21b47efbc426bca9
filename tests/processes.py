"""The real command `dcgan serve` as a process of its own, on free ports of the loopback address."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Serving:
    """A server process that serves."""

    process: subprocess.Popen[str]
    target: str
    metrics: str

    def figures(self) -> dict[str, float]:
        """Reads its metrics, by name with labels."""
        with urllib.request.urlopen(self.metrics, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}

    def terminate(self) -> None:
        """Asks it to stop, as Kubernetes does."""
        self.process.send_signal(signal.SIGTERM)


def dcgan(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of `dcgan` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dcgan", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )


@contextmanager
def serve(
    model: Path | str,
    *flags: object,
    log: Path = Path(os.devnull),
    program: Sequence[str] = ("-m", "dcgan"),
    **environment: str,
) -> Iterator[Serving]:
    """Runs `dcgan serve` until the block ends; its log, of which one line says where it listens, goes to `log`."""
    command = [sys.executable, *program, "serve", "--model", str(model), "--device", "cpu", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--metrics-port", "0", *map(str, flags)],
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=os.environ | environment,
    )
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"serving"' in line:
                break
        else:
            raise AssertionError("".join(lines))
        event = json.loads(lines[-1])
        log.write_text("".join(lines))
        # the rest is read to the end by a process that needs no attention, so that the pipe never fills
        with log.open("ab") as file, subprocess.Popen(["cat"], stdin=process.stderr, stdout=file):
            try:
                yield Serving(process, event["target"], event["metrics"])
            finally:
                process.kill()  # else the reader, and we with it, would wait for more for ever
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
