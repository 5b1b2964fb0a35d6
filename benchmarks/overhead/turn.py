"""One turn of `benchmarks.overhead`: one system, all its peers, from their start to their end.

Owns the order in which peers are started, told to train, weighed and ended, and what that cost once. Does not know
the other turns, nor how a system works.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Summary, summary
from benchmarks.overhead.figures import PeerTurn, cut
from benchmarks.overhead.processes import Memory, Peer, PeerFailedError, machine_cpu_s
from benchmarks.overhead.systems import Place, SystemName

START_TIMEOUT_S = 120.0
SLACK_S = 120.0
"""How much longer than it was told to a peer may train: hivemind's last step may wait for a round that fails."""
LEAVE_TIMEOUT_S = 40.0
MEGABYTE = 1e6


@dataclass(frozen=True)
class Turn:
    """One system for a while. ready_s, reachable_s, memory: one of each peer, the first peer first.

    others_cores: how many cores everything else on this machine took meanwhile, on average.
    """

    system: SystemName
    peers: tuple[PeerTurn, ...]
    ready_s: tuple[float, ...]
    reachable_s: tuple[float | None, ...]
    memory: tuple[Memory, ...]
    others_cores: float
    left_cleanly: bool


@dataclass(frozen=True)
class Cost:
    """What a system costs once, in seconds and megabytes (10⁶ bytes) per peer. None: the system does not tell.

    ready_*: from the first call until training can begin, imports of the trainer excluded. reachable_s: until others
    can reach the peer, a part of it. beside_mb: processes beside the trainer, without what they share with it;
    copies_mb: that. beyond_plain_mb: everything, the trainer included, minus a plain trainer.
    """

    system: str
    turns: int
    ready_first_s: Summary
    ready_later_s: Summary
    reachable_s: Summary | None
    processes_beside: int
    beside_mb: Summary
    copies_mb: Summary
    beyond_plain_mb: float
    turns_left_cleanly: int


def take_turn(place: Place, *, peers: int, seconds: float) -> Turn:
    """Starts the peers, the first one alone, has all train at once, and ends them. Raises PeerFailedError."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, contextlib.ExitStack() as stack:

        def start(number: int, initial_peers: tuple[str, ...]) -> Peer:
            own = Place(**{**vars(place), "initial_peers": initial_peers})
            return stack.enter_context(Peer(own, name=f"peer {number}", log=Path(folder, f"{number}.log")))

        started = [start(0, ())]
        ready = [started[0].expect("ready", timeout_s=START_TIMEOUT_S)]
        started += [start(number, tuple(ready[0]["addresses"][:1])) for number in range(1, peers)]
        ready += [peer.expect("ready", timeout_s=START_TIMEOUT_S) for peer in started[1:]]
        elsewhere_s, began_s = cpu_elsewhere_s(started), time.monotonic()
        for peer in started:
            peer.tell(f"go {seconds}")
        measured = [peer.expect("measured", timeout_s=seconds + SLACK_S) for peer in started]
        others_cores = (cpu_elsewhere_s(started) - elsewhere_s) / (time.monotonic() - began_s)
        memory = tuple(peer.memory() for peer in started)
        for peer in started:
            peer.tell("end")
        cleanly = [peer.close(grace_s=LEAVE_TIMEOUT_S) for peer in started]
    return Turn(
        place.system,
        tuple(cut_measured(figures) for figures in measured),
        ready_s=tuple(told["ready_s"] for told in ready),
        reachable_s=tuple(told["reachable_s"] for told in ready),
        memory=memory,
        others_cores=round(max(0.0, others_cores), 3),
        left_cleanly=all(cleanly),
    )


def cpu_elsewhere_s(peers: list[Peer]) -> float:
    """CPU time that this machine has spent on all but the peers; only the difference of two such figures says much."""
    return machine_cpu_s() - sum(peer.cpu_s() for peer in peers)


def cut_measured(figures: dict[str, Any]) -> PeerTurn:
    """What a worker told, cut. Raises PeerFailedError where it made too few steps."""
    try:
        return cut(figures["step_ends_s"], figures["rounds_s"], failed_rounds=figures["failed_rounds"])
    except ValueError as error:
        raise PeerFailedError(str(error)) from error


def cost(system: str, turns: list[Turn], *, plain_bytes: float) -> Cost:
    """plain_bytes: what a plain trainer takes."""
    memory = [own for turn in turns for own in turn.memory]
    reachable_s = [own for turn in turns for own in turn.reachable_s if own is not None]
    return Cost(
        system=system,
        turns=len(turns),
        ready_first_s=summary([turn.ready_s[0] for turn in turns]),
        ready_later_s=summary([own for turn in turns for own in turn.ready_s[1:]]),
        reachable_s=summary(reachable_s) if reachable_s else None,
        processes_beside=max(own.processes_beside for own in memory),
        beside_mb=summary([own.beside / MEGABYTE for own in memory]),
        copies_mb=summary([own.copies / MEGABYTE for own in memory]),
        beyond_plain_mb=round((statistics.median(own.total for own in memory) - plain_bytes) / MEGABYTE, 1),
        turns_left_cleanly=sum(turn.left_cleanly for turn in turns),
    )
