"""A million images into one zip: undisturbed, and killed three times on the way and resumed; the same bytes, or not.

Prints Markdown and writes it to build/bench/bulk.md, and the memory of each process to bulk.csv. Ends with 1 where the
two files differ. Rates are told beside a plain stream of the same images that throws them away, measured before and
after, since client and server share the machine. Pin it (`taskset -c 0`) to leave cores to others.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import load

import dcgan
from dcgan.cgroup import usable_cores
from processes import Serving, serve

MODEL, SEED = "fashion", 7
EVERY_S = 1.0  # from one reading of the memory to the next
SETTLED = 0.1  # share of the images after which memory should have stopped to grow
PLAIN = 50_000  # images of the plain stream, each time


@dataclass
class Run:
    """What it took to make one file.

    Attributes:
        seconds: that processes ran.
        memory: of every process, (bytes of the file, KiB resident) every second.
        sha256: of the file.
    """

    seconds: float = 0.0
    memory: list[list[tuple[int, int]]] = field(default_factory=list)
    sha256: str = ""


def main() -> None:
    """Makes the file twice and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="images of each file. Default: 1000000")
    parser.add_argument("--kills", type=int, default=3, help="of the second run, by SIGKILL. Default: 3")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder. Default: build/bench")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serve(MODEL) as serving:
        plain = [plain_rate(serving)]
        path = Path(folder) / "set.zip"
        undisturbed = made(serving, path, options.count, [])
        plain.append(plain_rate(serving))
        size = path.stat().st_size
        path.unlink()
        kills = sorted(int(size * random.uniform(0.05, 0.95)) for _ in range(options.kills))
        killed = made(serving, path, options.count, kills)
        plain.append(plain_rate(serving))
    report = written(options.count, size, kills, plain, undisturbed, killed)
    print(report)
    (options.output / "bulk.md").write_text(report)
    rows = [
        (kind, number, *reading)
        for kind, run in enumerate((undisturbed, killed))
        for number, readings in enumerate(run.memory)
        for reading in readings
    ]
    np.savetxt(options.output / "bulk.csv", rows, "%d", ",", header="killed,process,file_bytes,rss_kib", comments="")
    sys.exit(undisturbed.sha256 != killed.sha256)


def plain_rate(serving: Serving) -> float:
    """Streams images and throws them away: images a second."""
    with dcgan.connect(serving.target) as client:
        begun = time.monotonic()
        for _ in client.stream_samples(PLAIN, seed=SEED, format="png"):
            pass
        return PLAIN / (time.monotonic() - begun)


def made(serving: Serving, path: Path, count: int, kills: list[int]) -> Run:
    """Makes the file; a process that has brought it to as many bytes as `kills` says next is killed."""
    run = Run()
    left = list(kills)
    while not path.exists():
        run.memory.append([])
        command = [sys.executable, "-m", "dcgan", "sample", "--seed", str(SEED), "--count", str(count)]
        begun = time.monotonic()
        process = subprocess.Popen([*command, "--output", str(path), "--target", serving.target])
        while process.poll() is None:
            if size := size_of(path):
                run.memory[-1].append((size, rss_kib(process.pid)))
                if left and size >= left[0]:
                    process.send_signal(signal.SIGKILL)
                    left.pop(0)
                    break
            time.sleep(EVERY_S)
        if process.wait() not in (0, -signal.SIGKILL):
            sys.exit(f"`dcgan sample` ended with {process.returncode}")
        run.seconds += time.monotonic() - begun
    with path.open("rb") as file:
        run.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return run


def size_of(path: Path) -> int:
    """Tells how many bytes there are already, 0 where the file is finished or not begun."""
    try:
        return path.with_name(f"{path.name}.partial").stat().st_size
    except OSError:
        return 0


def rss_kib(pid: int) -> int:
    """Reads how much memory of a process is resident, KiB; 0 where it has ended."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) if "VmRSS:" in text else 0


def written(count: int, size: int, kills: list[int], plain: list[float], undisturbed: Run, killed: Run) -> str:
    """Writes what was measured."""
    rows = []
    for name, run in (("undisturbed", undisturbed), (f"killed {len(kills)} times", killed)):
        whole = [one for readings in run.memory for one in readings if one[1]]
        settled = [kib for at, kib in whole if at >= SETTLED * size] or [0]
        peak = max((kib for _, kib in whole), default=0)
        rows.append(
            f"| {name} | {run.seconds:.0f} | {count / run.seconds:,.0f} | {settled[0] / 1024:.1f} "
            f"| {settled[-1] / 1024:.1f} | {peak / 1024:.1f} | {run.sha256[:16]} |"
        )
    at = ", ".join(f"{kill / size:.0%}" for kill in kills)
    return "\n".join(
        [
            f"| {count:,} images, {size / 1e6:,.0f} MB | seconds | images/s | MiB at {SETTLED:.0%} | at last | at most "
            "| sha256 |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"Killed at {at or 'no point'}. A plain stream of the same images, thrown away, made "
            f"{' / '.join(f'{rate:,.0f}' for rate in plain)} images/s before, between and after.",
            f"{load.processor()}, {usable_cores()} usable cores, load {os.getloadavg()[0]:.1f}; server and client.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
