"""The peers of one system in `round`, each a process of its own, as the benchmark sees them.

Owns the processes: each leads a process group, which is ended with it, however the benchmark ends. Does not know what
the systems are.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

from benchmarks.round.contender import LOOPBACK, Job, Timing

ANSWER_S = 60.0
"""Longest wait for an answer, beside what a round may take."""
BEGIN_AFTER_S = 0.02
END_S = 10.0
POLL_S = 0.2
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Place:
    """Where the process of a peer runs.

    host: its address there. device: that has the address. prefix: what stands in front of a command to run it there.
    """

    host: str = LOOPBACK
    device: str = "lo"
    prefix: tuple[str, ...] = ()


class Worker:
    """One peer."""

    def __init__(self, job: Job, errors: IO[bytes], *, place: Place) -> None:
        self.job = job
        self._errors = errors
        self._unread = b""
        self._told = "nothing"
        command = [*place.prefix, sys.executable, "-m", "benchmarks.round.worker", json.dumps(asdict(job))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **ENVIRONMENT, "GLOO_SOCKET_IFNAME": place.device},
            start_new_session=True,
        )

    def tell(self, do: str, **what: Any) -> None:
        """Gives a command."""
        self._told = do
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to the last command. Raises SystemExit where none comes, and says why."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        longest_s = ANSWER_S + self.job.longest_s
        deadline_s = time.monotonic() + longest_s
        while b"\n" not in self._unread:
            if time.monotonic() > deadline_s:
                raise self._failed(f"does not answer within {longest_s:g} s to {self._told!r}")
            if select.select([descriptor], [], [], POLL_S)[0]:
                self._unread += os.read(descriptor, 1 << 16)
            # Its children may hold the other end of the pipe, so the end of the process has to be asked for.
            if b"\n" not in self._unread and self._has_ended():
                raise self._failed(f"has ended after {self._told!r}")
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def dismiss(self) -> None:
        """Tells it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self, deadline_s: float) -> None:
        """Waits for its end until a time of the monotonic clock, then ends all that is left of its process group."""
        while not self._has_ended() and time.monotonic() < deadline_s:
            time.sleep(POLL_S / 10)
        # Its number cannot have gone to another process: it is still to be waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _has_ended(self) -> bool:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _failed(self, what: str) -> SystemExit:
        self._errors.seek(0)
        last_lines = b"\n".join(self._errors.read().splitlines()[-12:]).decode(errors="replace")
        return SystemExit(f"{self.job.system}: the peer of rank {self.job.rank} {what}.\n{last_lines}".rstrip())


class Peers:
    """All peers of one system, connected to each other."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    def meet(self) -> None:
        """Starts the peers and has them connect to each other."""
        addresses = [answer["address"] for answer in self._all("open")]
        self._all("meet", addresses=addresses)

    def round(self) -> Timing | str:
        """One round of all peers, which begin together: the longest times, or why it was incomplete."""
        self._all("prepare")
        answers = self._all("run", begin_s=time.monotonic() + BEGIN_AFTER_S)
        incomplete = [answer["incomplete"] for answer in answers if "incomplete" in answer]
        if incomplete:
            return "; ".join(dict.fromkeys(incomplete))
        parts = ("formation_s", "transfer_s", "whole_s")
        return Timing(**{part: max(float(answer[part]) for answer in answers) for part in parts})

    def _all(self, do: str, **what: Any) -> list[dict[str, Any]]:
        for worker in self._workers:
            worker.tell(do, **what)
        return [worker.answer() for worker in self._workers]


@contextlib.contextmanager
def all_systems(systems: Sequence[str], job: Job, *, places: Sequence[Place]) -> Iterator[dict[str, Peers]]:
    """The peers of each system, one at each place, ready for rounds. Nothing of them is left afterwards.

    job: with what is the same for all.
    """
    workers: dict[str, list[Worker]] = {system: [] for system in systems}
    with contextlib.ExitStack() as stack:
        stack.callback(end_all, workers)
        for system in systems:
            for rank, place in enumerate(places):
                errors = stack.enter_context(tempfile.TemporaryFile())
                own = replace(job, system=system, rank=rank, peers=len(places), host=place.host)
                workers[system].append(Worker(own, errors, place=place))
        found = {system: Peers(workers[system]) for system in systems}
        for peers_of_system in found.values():
            peers_of_system.meet()
        yield found


def end_all(workers: dict[str, list[Worker]]) -> None:
    """Ends all workers at once. Not even an impatient Ctrl+C may leave one behind."""
    everyone = [worker for peers_of_system in workers.values() for worker in peers_of_system]
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in signals]
    for worker in everyone:
        worker.dismiss()
    deadline_s = time.monotonic() + END_S
    for worker in everyone:
        worker.end(deadline_s)
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)
