"""The CPU quota of the control groups (Linux) that this process is in."""

from __future__ import annotations

import functools
import math
from pathlib import Path


@functools.cache
def cpu_quota() -> int:
    """Return the CPU quota of this process's cgroup, rounded up; 2**31 - 1 without one."""
    unlimited = 2**31 - 1
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return unlimited
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quota = min(quota, _quota_v2(Path("/sys/fs/cgroup"), path))
        elif "cpu" in controllers.split(","):
            quota = min(quota, _quota_v1(Path("/sys/fs/cgroup/cpu"), path))
    return unlimited if quota == math.inf else max(1, math.ceil(quota))


def _folders(root: Path, path: str) -> list[Path]:
    """Return the cgroup's folder and those above it: a quota of any of them holds.

    In a container the path is that of the host, and the container's own cgroup is mounted
    at the root; so the root always counts.
    """
    folder = root / path.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _quota_v2(root: Path, path: str) -> float:
    quota = math.inf
    for folder in _folders(root, path):
        try:
            limit, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if limit != "max":
            quota = min(quota, int(limit) / int(period))
    return quota


def _quota_v1(root: Path, path: str) -> float:
    quota = math.inf
    for folder in _folders(root, path):
        try:
            limit = int((folder / "cpu.cfs_quota_us").read_text())
            period = int((folder / "cpu.cfs_period_us").read_text())
        except (OSError, ValueError):
            continue
        if limit > 0:
            quota = min(quota, limit / period)
    return quota
