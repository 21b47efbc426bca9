"""A server and all processes below it: their time, stopping them, ending them, by process id."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import load

END_S = 15.0  # for an orderly end, before it is killed


def tree(pid: int) -> list[int]:
    """Lists a process and all below it that live."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            below.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def cpu_s(pid: int) -> float:
    """Adds up the processor time of a process and all below it, seconds."""
    total = 0.0
    for one in tree(pid):
        with suppress(OSError):
            total += load.cpu_s(one)
    return total


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process and all below it."""
    for one in tree(pid):
        with suppress(ProcessLookupError):
            os.kill(one, number)


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks the leader of a process group to end, waits, and kills what is left of the group and of all below it."""
    pids = tree(process.pid)
    send(process.pid, signal.SIGCONT)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    until = time.monotonic() + 6
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in filter(alive, pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def alive(pid: int) -> bool:
    """Tells whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
