"""What this process may use of the machine: its cores and its memory, as its container limits them.

Source: the Linux kernel's documentation, admin-guide/cgroup-v2 and cgroup-v1.
"""

import os
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")


def usable_cores() -> int:
    """Counts the cores that this process may use: its affinity, and its cgroup's quota where that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(_ROOT)
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def cgroup_quota(root: Path) -> float | None:
    """Reads the CPU quota of a container in cores, from cgroup version 2 or 1; None without one."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def free_memory_bytes(root: Path = _ROOT, meminfo: Path = _MEMINFO) -> int | None:
    """Tells how many bytes of memory can still be taken: the machine's, or the container's where those are fewer.

    Files that the kernel only keeps in case they are read again count as free. None where neither can be told.
    """
    frees = [free for free in (_machine_free(meminfo), _container_free(root)) if free is not None]
    return min(frees, default=None)


def _machine_free(meminfo: Path) -> int | None:
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None


def _container_free(root: Path) -> int | None:
    files = [
        (root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file"),
        (
            root / "memory/memory.limit_in_bytes",
            root / "memory/memory.usage_in_bytes",
            root / "memory/memory.stat",
            "total_inactive_file",
        ),
    ]
    for limit, used, statistics, cached in files:
        try:
            counts = dict(line.split() for line in statistics.read_text().splitlines())
            return int(limit.read_text()) - int(used.read_text()) + int(counts[cached])
        except (OSError, KeyError, ValueError):  # no such version of cgroups, or "max": no limit
            continue
    return None
