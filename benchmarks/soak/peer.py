"""One peer of a soak: real `gossip train digits` processes with one run folder, over all its starts.

Owns how a peer is started, ended and resumed, and what it has told. Does not know which faults there are, nor the other
peers. Processes are those of a `Family` of the tests, so that none can hide and each is ended by its id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import GOSSIP, Family, Peer

from benchmarks.namespaces import SwitchedHosts, address_of
from gossiptrain import events
from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoints import load_checkpoint

FLAGS = (
    *("--threads", "1", "--device", "cpu", "--preset", "local", "--log-format", "json"),
    *("--batch", "8", "--eval-every", "0", "--every-seconds", "2", "--checkpoint-every", "5"),
)
POLL_S = 0.1
FAREWELL_S = 10.0
"""Within which a peer that gets SIGTERM has saved and ended."""
BACK_WITHIN_S = 120.0
"""A peer that has had no round for so long, though nothing holds it up, hangs."""
TRAINING_NICENESS = 19


class BrokenPromiseError(Exception):
    """What a peer did that it must not do, in words."""


class PeerEndedError(BrokenPromiseError):
    """A peer ended by itself while it was to go on."""


def give_priority(pid: int, niceness: int) -> None:
    """Sets the niceness of a process, if it is still there and this is allowed: only root may take niceness back."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpriority(os.PRIO_PROCESS, pid) != niceness:
            os.setpriority(os.PRIO_PROCESS, pid, niceness)


@dataclass
class Life:
    """One process of a peer, from its start to its end. started_s: unix time. samples: how many it has learnt from."""

    process: Peer
    is_resumed: bool
    started_s: float = field(default_factory=time.time)
    steps_aside: bool = False

    def first_round_s(self, since_s: float = 0.0) -> float | None:
        """Unix time of its first committed round after `since_s`."""
        return next((event.time for event in self.process.find(events.RoundCommitted) if event.time > since_s), None)

    @property
    def samples(self) -> int:
        """How many samples it has learnt from."""
        steps, started = self.process.find(events.StepDone), self.process.find(events.Started)
        if not steps or not started:
            return 0
        began_at = steps[0].epoch if self.is_resumed else 0.0
        return round((steps[-1].epoch - began_at) * started[0].samples)


class SoakPeer:
    """One peer over all its lives. is_busy: a fault has hold of it. is_asked_to_end: its end is no accident."""

    has_shown_traceback = False

    def __init__(self, family: Family, folder: Path, *, host: int, hosts: SwitchedHosts | None) -> None:
        self.folder = folder
        self.lives: list[Life] = []
        self.is_busy = False
        self.is_asked_to_end = False
        self._family = family
        self._program = [*(hosts.on(host) if hosts else []), str(GOSSIP), "train", "digits"]
        self._place = address_of(host) if hosts else "127.0.0.1"

    @property
    def name(self) -> str:
        """As in the folder of all runs."""
        return self.folder.name

    @property
    def process(self) -> Peer:
        """The present one, or the last."""
        return self.lives[-1].process

    @property
    def is_running(self) -> bool:
        """Whether its trainer has not ended."""
        return self.process.process.poll() is None

    def start(self, *flags: str, initial: str | None = None) -> None:
        """Starts it for the first time."""
        place = ["--host-maddr", f"/ip4/{self._place}/tcp/0", "--out", str(self.folder)]
        self._live([*FLAGS, *place, *flags, *(["--initial-peer", initial] if initial else [])], is_resumed=False)

    def resume(self) -> None:
        """Starts it again from its run folder."""
        self._live(["--resume", str(self.folder), "--log-format", "json"], is_resumed=True)

    def _live(self, flags: list[str], *, is_resumed: bool) -> None:
        self.is_asked_to_end = False
        process = self._family.start(*flags, program=self._program)
        self.lives.append(Life(process, is_resumed))

    def last_round_s(self) -> float:
        """Unix time of its last committed round, or of its start where it has had none."""
        rounds = self.process.find(events.RoundCommitted)
        return rounds[-1].time if rounds else self.lives[-1].started_s

    def address(self) -> str | None:
        """Where others reach it; None while it is not up."""
        started = self.process.find(events.Started) if self.is_running else []
        return started[0].addresses[0] if started else None

    def step_aside(self) -> None:
        """Once it trains, its trainer leaves the processor to whatever else there is to do; see `SoakSwarm`."""
        life = self.lives[-1]
        if not life.steps_aside and life.process.find(events.Started) and self.is_running:
            life.steps_aside = True
            give_priority(life.process.pid, TRAINING_NICENESS)

    def ask_to_end(self) -> None:
        """SIGTERM. Ending is no training any more."""
        self.is_asked_to_end = True
        give_priority(self.process.pid, os.getpriority(os.PRIO_PROCESS, 0))
        self.process.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        self.is_asked_to_end = True
        self.process.kill()

    def until_round(self) -> Iterator[float]:
        """Waits until it has had a round from now on. Raises BrokenPromiseError where none comes, PeerEndedError."""
        since_s = time.time()
        while self.lives[-1].first_round_s(since_s) is None:
            if not self.is_running:
                raise PeerEndedError(f"{self.name} ended with {self.process.process.returncode}")
            if time.time() - since_s > BACK_WITHIN_S:
                raise BrokenPromiseError(f"{self.name} had no round within {BACK_WITHIN_S:g} s")
            yield POLL_S

    def until_left(self) -> Iterator[float]:
        """Asks it to end. Raises BrokenPromiseError where that takes longer than `FAREWELL_S`; see `check_left`."""
        self.ask_to_end()
        asked_s = time.monotonic()
        while self.is_running:
            if time.monotonic() - asked_s > FAREWELL_S:
                raise BrokenPromiseError(f"{self.name} did not end within {FAREWELL_S:g} s of SIGTERM")
            yield POLL_S
        self.check_left()

    def check_left(self) -> None:
        """Raises BrokenPromiseError unless it ended with exit code 0, and with its last state in a checkpoint."""
        if code := self.process.process.returncode:
            raise BrokenPromiseError(f"{self.name} ended with {code} after SIGTERM: {self.process.err[-500:]}")
        finished, saved = self.process.find(events.Finished), self.checkpoint_step()
        if not finished or finished[-1].step != saved:
            raise BrokenPromiseError(f"{self.name} ended at {finished}, and its checkpoint is of step {saved}")

    def checkpoint_step(self) -> int | None:
        """The step of its last checkpoint, or None where there is none. Raises BrokenPromiseError for damaged ones."""
        damaged: list[str] = []
        try:
            step = load_checkpoint(self.folder, report=damaged.append).state.step
        except CheckpointError as error:
            if "There is no checkpoint" in error.what:
                return None
            raise BrokenPromiseError(f"{self.name}: {error.what}") from error
        if damaged:
            raise BrokenPromiseError(f"{self.name}: {damaged[0]}")
        return step
