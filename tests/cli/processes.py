"""Which processes there are, from /proc, and waiting for what they do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path


def descendants(root: int) -> set[int]:
    """The living processes that `root` started, and those that they started."""
    parents = {pid: parent for pid, (parent, state) in _all().items() if state != "Z"}
    found: set[int] = set()
    while fresh := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= fresh
    return found


def living(pids: Iterable[int]) -> set[int]:
    """Those of `pids` that still run."""
    processes = _all()
    return {pid for pid in pids if pid in processes and processes[pid][1] != "Z"}


def left_after(pids: Iterable[int], *, patience_s: float) -> set[int]:
    """Those of `pids` that still run when the patience is over; returns as soon as there are none."""
    ends_s = time.monotonic() + patience_s
    while (left := living(pids)) and time.monotonic() < ends_s:
        time.sleep(0.02)
    return left


def wait_until(condition: Callable[[], bool], *, patience_s: float = 90.0) -> None:
    """Fails where the condition does not come about."""
    ends_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < ends_s, "what was waited for did not come about"
        time.sleep(0.02)


async def async_until(condition: Callable[[], bool], *, patience_s: float = 90.0) -> None:
    """The same, while other tasks go on."""
    ends_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < ends_s, "what was waited for did not come about"
        await asyncio.sleep(0.02)


def _all() -> dict[int, tuple[int, str]]:
    """Parent and state of each process."""
    found: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rsplit(")", maxsplit=1)[1].split()[:2]
                found[int(entry.name)] = (int(parent), state)
    return found
