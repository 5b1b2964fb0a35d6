"""The processes of one turn of `benchmarks.overhead`, seen from the parent: started, heard, weighed, and all ended.

Owns the certainty that nothing is left behind: each peer and all that it starts, wherever that is reparented to,
carry a mark in their environment and are found by it in /proc. Does not know what the peers do. Linux only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.overhead.systems import Place
from gossiptrain.net.silent_process import processor_s

MARK = "OVERHEAD_BENCHMARK_PEER"
SHARED_VECTORS = re.compile(r"/memfd:gossiptrain|/torch_\d+")
"""Names of mappings that hold copies of the model for the processes beside the trainer: gossiptrain's vectors, and the
tensors that hivemind has torch share."""
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$")
ROOT = Path(__file__).parents[1]
LAST_LINES = 12
LAST_WORD_S = 5.0
"""How long what a worker has started may outlive it before it counts as left behind: `torch_shm_manager` does."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class PeerFailedError(Exception):
    """A peer ended or said nothing for too long."""


@dataclass(frozen=True)
class Memory:
    """Of one peer, in bytes of proportional set size: pages that processes share count in parts.

    beside: all processes but the trainer, without copies. copies: vectors shared with the trainer. total: of all
    processes of the peer, its trainer included.
    """

    beside: int
    copies: int
    total: int
    processes_beside: int


class Peer:
    """One worker process. Use it as a context manager: it and what it started are gone afterwards."""

    def __init__(self, place: Place, *, name: str, log: Path) -> None:
        """log: where its stderr goes."""
        self.name = name
        self._log = log
        self._mark = secrets.token_hex(16)
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.overhead.worker", json.dumps(asdict(place))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, MARK: self._mark},
                # Ctrl+C reaches only the parent, which ends all others in order.
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(grace_s=0.0)

    def tell(self, words: str) -> None:
        """Writes one line to the worker."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(words.encode() + b"\n")
            self._process.stdin.flush()

    def expect(self, event: str, *, timeout_s: float) -> dict[str, Any]:
        """Waits for the worker's next word. Raises PeerFailedError where it does not come, with the end of its log."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(queue.Empty):
                heard = self._lines.get(timeout=0.2)
                if heard["event"] != event:
                    raise self._failed(f"said {heard['event']!r} where {event!r} was expected")
                return heard
            if self._process.poll() is not None and self._lines.empty():
                raise self._failed(f"ended with exit code {self._process.returncode} before it was {event!r}")
        raise self._failed(f"was not {event!r} after {timeout_s:.0f} s")

    def memory(self) -> Memory:
        """How much this peer's processes take now."""
        pids = self._pids()
        weighed = {pid: pss(pid) for pid in pids}
        others = [pid for pid in pids if pid != self._process.pid]
        return Memory(
            beside=sum(weighed[pid][0] - weighed[pid][1] for pid in others),
            copies=sum(copies for _, copies in weighed.values()),
            total=sum(total for total, _ in weighed.values()),
            processes_beside=len(others),
        )

    def cpu_s(self) -> float:
        """CPU time that this peer's living processes have used so far."""
        return sum(processor_s(pid) or 0.0 for pid in self._pids())

    def close(self, *, grace_s: float) -> bool:
        """Waits until the worker has ended by itself, then kills what is left of it; says whether nothing was."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        deadline_s = time.monotonic() + min(grace_s, LAST_WORD_S)
        while (left := self._pids()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        while pids := self._pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.02)
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        return not left

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # A library may print what it likes; the worker writes objects.
            with contextlib.suppress(ValueError):
                heard = json.loads(line)
                if isinstance(heard, dict) and "event" in heard:
                    self._lines.put(heard)

    def _pids(self) -> list[int]:
        mark = f"{MARK}={self._mark}".encode()
        return [pid for pid, environment in _environments() if mark in environment.split(b"\0")]

    def _failed(self, what: str) -> PeerFailedError:
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return PeerFailedError("\n    ".join([f"{self.name} {what}.", *lines]))


def machine_cpu_s() -> float:
    """CPU time that this machine has spent on anything since it started, on all cores; stolen time included."""
    user, nice, system, _idle, _waiting, *others = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    return sum(map(int, (user, nice, system, *others))) / TICKS_PER_S


def _environments() -> Iterator[tuple[int, bytes]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            # Processes of others may not be read, and some end meanwhile. What is left of a dead one has none.
            with contextlib.suppress(OSError):
                yield int(entry.name), Path(entry.path, "environ").read_bytes()


def pss(pid: int) -> tuple[int, int]:
    """Proportional set size of a process in bytes, and the part of it that is copies of the model; 0 where it ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines()
    except OSError:
        return 0, 0
    return pss_of(lines)


def pss_of(smaps: Sequence[str]) -> tuple[int, int]:
    """From the lines of /proc/PID/smaps: all of it, and what mappings of shared vectors take, in bytes."""
    total = copies = 0
    shared = False
    for line in smaps:
        if mapping := MAPPING.match(line):
            shared = SHARED_VECTORS.search(mapping[1]) is not None
        elif line.startswith("Pss:"):
            size_bytes = int(line.split()[1]) << 10
            total += size_bytes
            copies += size_bytes if shared else 0
    return total, copies
