"""Whether this computer has the memory that a peer needs, and a clock that can be right.

Owns how much memory is free for a process, within the limits that it was given, and what the clock alone tells. Does
not know the clocks of others.
"""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime
from pathlib import Path

from gossiptrain.doctor.finding import Finding, fault, ok, warning
from gossiptrain.monitor.words import data_size

LEAST_BYTES = 1_000_000_000
"""A trainer of the smallest task with torch, its node and libp2p's daemon take about this."""
COMFORTABLE_BYTES = 2_000_000_000
LEAST_ADDRESS_SPACE_BYTES = 16_000_000_000
"""torch and the daemon reserve far more addresses than they ever fill."""
LEAST_OPEN_FILES = 512
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No installation of this package is older."""


def check_memory(system: Path = Path("/")) -> list[Finding]:
    """system: where the folders `proc` and `sys` are."""
    free = min(_free_bytes(system), _left_in_group_bytes(system))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    remedy = "End other programs, or give this one more; a smaller --batch and --model tiny need less."
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE_BYTES:
        return [
            fault(
                "memory",
                f"A process may reserve only {data_size(limit)} of memory here; torch and libp2p's daemon need more.",
                cause="The limit that `ulimit -v` shows was set by the shell or the scheduler.",
                remedy="Raise it: ulimit -v unlimited",
            )
        ]
    if 0 <= files < LEAST_OPEN_FILES:
        what = f"A process may have only {files} files and connections open."
        return [warning("memory", what, cause="`ulimit -n` shows the limit.", remedy="Raise it: ulimit -n 4096")]
    what = f"{data_size(free)} of memory are free."
    if free < LEAST_BYTES:
        cause = f"A peer of the smallest task needs about {data_size(LEAST_BYTES)}: Linux may kill it."
        return [fault("memory", f"Only {what}", cause=cause, remedy=remedy)]
    if free < COMFORTABLE_BYTES:
        return [warning("memory", f"Only {what}", cause="Larger models will not fit.", remedy=remedy)]
    return [ok("memory", what)]


def check_clock(now: datetime | None = None) -> list[Finding]:
    """Whether the clock stands where it can be. How far it is from those of others, only they can tell."""
    now = now or datetime.fromtimestamp(time.time(), UTC)
    said = f"{now:%Y-%m-%d %H:%M} UTC"
    if now < EARLIEST:
        return [
            fault(
                "clock",
                f"The clock of this computer says {said}, which is long ago.",
                cause="Its battery is empty, or no time server was asked since it was started.",
                remedy="Set it: sudo timedatectl set-ntp true",
            )
        ]
    return [ok("clock", f"It says {said}; a peer, where one is named, is asked for its own.")]


def _free_bytes(system: Path) -> float:
    """What the kernel can give without swapping; unknown counts as endless."""
    try:
        lines = (system / "proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return float("inf")


def _left_in_group_bytes(system: Path) -> float:
    """What the control groups of this process still allow, in either version of them."""
    left = float("inf")
    try:
        memberships = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return left
    for line in memberships:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        root = system / "sys/fs/cgroup" / ("memory" if "memory" in kinds.split(",") else "")
        if kinds and "memory" not in kinds.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        for folder in (root / path.strip("/"), root):
            left = min(left, _left_in_folder_bytes(folder, *names))
    return left


def _left_in_folder_bytes(folder: Path, limit_name: str, usage_name: str) -> float:
    try:
        limit, usage = (float((folder / name).read_text()) for name in (limit_name, usage_name))
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return float("inf")
    # What was only read from files is given up when it is needed.
    cache = float(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
    return limit - usage + cache
