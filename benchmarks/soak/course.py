"""The course of a soak: a swarm begins, faults happen as planned, everybody ends.

Owns when what happens, and that whatever was started is ended. What is made of it is `findings`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.processes import Family

from benchmarks.namespaces import SwitchedHosts
from benchmarks.soak.faults import FAULTS, WITH_GUESTS, Course, Planned
from benchmarks.soak.peer import BACK_WITHIN_S, POLL_S, BrokenPromiseError, SoakPeer
from benchmarks.soak.swarm import SoakSwarm
from gossiptrain.net.libp2p.daemon import remove_stale_folders

WATCH_EVERY_S = 1.0
GONE_WITHIN_S = 5.0
ENDED_WITHIN_S = 60.0
"""For all peers of one computer together, after a last round of them all."""


@dataclass
class Soak:
    """What is seen of one run. began_s, ended_s: unix times between which the swarm was whole, and watched."""

    swarm: SoakSwarm
    began_s: float = 0.0
    ended_s: float = 0.0
    watched_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """From which all have learnt until now, over all lives."""
        return sum(life.samples for peer in self.swarm.everyone for life in peer.lives)


@dataclass
class _Running:
    due_s: float
    course: Course
    kind: str
    victim: SoakPeer | None = None


def soak(
    family: Family,
    plan: Iterable[Planned],
    *,
    peers: int,
    is_over: Callable[[Soak], bool],
    epochs: int,
    seed: int = 0,
    hosts: SwitchedHosts | None = None,
) -> Soak:
    """Runs a swarm with the faults of the plan until `is_over` says so, and ends it. epochs: see `SoakSwarm`."""
    run = Soak(SoakSwarm(family, epochs=epochs, hosts=hosts))
    _drive(run, [_Running(0.0, run.swarm.begin(peers), "start")])
    run.began_s = time.time()
    waiting = sorted(plan, key=lambda each: each.at_s)
    running: list[_Running] = []
    rng = random.Random(seed)
    while not is_over(run):
        while waiting and time.time() - run.began_s >= waiting[0].at_s:
            running += _struck(run, waiting.pop(0), rng)
        _advance(run, running)
        _watch(run)
        time.sleep(POLL_S)
    _drive(run, running)
    run.ended_s = time.time()
    _end(run)
    _look_for_what_is_left(run, family)
    return run


def _struck(run: Soak, planned: Planned, rng: random.Random) -> list[_Running]:
    peers = run.swarm.peers
    order = [peers[(planned.victim + offset) % len(peers)] for offset in range(len(peers))]
    free = [peer for peer in order if not peer.is_busy and peer.is_running]
    # Somebody has to be left with whom those that were struck can have a round.
    if len(free) < 3:
        return []
    run.faults[planned.kind] += 1
    course = FAULTS[planned.kind](run.swarm, free[0], random.Random(rng.random()))
    if planned.kind in WITH_GUESTS:
        return [_Running(0.0, course, planned.kind)]
    free[0].is_busy = True
    return [_Running(0.0, course, planned.kind, free[0])]


def _advance(run: Soak, running: list[_Running]) -> None:
    """Goes on with each course that has waited long enough, and forgets those that are over."""
    for each in [one for one in running if time.monotonic() >= one.due_s]:
        try:
            each.due_s = time.monotonic() + next(each.course)
            continue
        except StopIteration:
            pass
        except BrokenPromiseError as error:
            # Its victim is left as it is, and not struck again.
            run.broken.append(f"{each.kind}: {error}")
            each.victim = None
        running.remove(each)
        if each.victim is not None:
            each.victim.is_busy = False


def _drive(run: Soak, running: list[_Running]) -> None:
    """Until all courses are over, each of which bounds its own waits."""
    while running:
        _advance(run, running)
        _watch(run)
        time.sleep(POLL_S)


def _watch(run: Soak) -> None:
    now_s = time.time()
    if now_s - run.watched_s < WATCH_EVERY_S:
        return
    run.watched_s = now_s
    run.swarm.share_processor()
    for peer in run.swarm.everyone:
        if not peer.is_running and not peer.is_asked_to_end:
            peer.is_asked_to_end = True
            code, said = peer.process.process.returncode, peer.process.err[-500:]
            run.broken.append(f"{peer.name} ended by itself with {code}: {said}")
        if "Traceback" in peer.process.err and not peer.has_shown_traceback:
            peer.has_shown_traceback = True
            run.broken.append(f"{peer.name} has shown a traceback: {peer.process.err[-1500:]}")
        if run.began_s and not peer.is_busy and peer.is_running and now_s - peer.last_round_s() > BACK_WITHIN_S:
            run.broken.append(f"{peer.name} has had no round for {BACK_WITHIN_S:g} s, and nothing holds it up")
            peer.is_busy = True


def _end(run: Soak) -> None:
    """Asks all to end at one moment, as they would be by whoever ends a training."""
    left = [peer for peer in run.swarm.everyone if peer.is_running]
    for peer in left:
        peer.ask_to_end()
    deadline_s = time.monotonic() + ENDED_WITHIN_S
    while any(peer.is_running for peer in left) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    for peer in left:
        if peer.is_running:
            run.broken.append(f"{peer.name} did not end within {ENDED_WITHIN_S:g} s")
            continue
        try:
            peer.check_left()
        except BrokenPromiseError as error:
            run.broken.append(str(error))


def _look_for_what_is_left(run: Soak, family: Family) -> None:
    """Temporary files; and processes, with which their sockets and their shared memory, which has no name, are gone."""
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while family.members() and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    run.left += [f"process {member.pid}: {member.command[:80]}" for member in family.members()]
    # A node that was killed cannot remove the folder of its daemon; the next start of any peer does, like this.
    remove_stale_folders(str(family.temporary))
    # Torch keeps a cache of its own, as it does for whoever uses it.
    temporary = (path.name for path in family.temporary.iterdir() if not path.name.startswith("torch"))
    run.left += [f"temporary {name}" for name in temporary]
    run.broken += [f"left behind: {each}" for each in run.left]
