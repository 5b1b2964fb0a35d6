"""What goes wrong in a soak: each kind of fault as a course of its own, and the plan of a whole run.

A course does something, yields for how many seconds it waits, and goes on; it ends when whoever it struck is well
again. It raises BrokenPromiseError where somebody does what it must not. Does not know how a run is watched.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.processes import DAEMON, NODE

from benchmarks.namespaces import SwitchedHosts
from benchmarks.soak.peer import POLL_S, BrokenPromiseError, SoakPeer
from benchmarks.soak.swarm import SoakSwarm
from benchmarks.soak.tight import full_disk, no_memory

DOWN_S = (0.5, 3.0)
FROZEN_S = (2.0, 20.0)
CUT_S = (5.0, 40.0)

Course = Iterator[float]
Fault = Callable[[SoakSwarm, SoakPeer, random.Random], Course]
"""The peer is the victim; where a fault brings guests along, which are its victims, nothing happens to that peer."""


def kill_trainer(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
    """SIGKILL to the trainer, and a new start from the run folder."""
    peer.kill()
    yield rng.uniform(*DOWN_S)
    peer.resume()
    yield from peer.until_round()


def _kill(word: str) -> Fault:
    def course(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
        if member := peer.process.find_process(word):
            member.signal(signal.SIGKILL)
        yield from peer.until_round()

    return course


def _freeze(word: str) -> Fault:
    def course(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
        if word:
            member = peer.process.find_process(word)
            send = member.signal if member else None
        else:
            send = peer.process.signal
        if send:
            send(signal.SIGSTOP)
            yield rng.uniform(*FROZEN_S)
            send(signal.SIGCONT)
        yield from peer.until_round()

    return course


def terminate(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
    """SIGTERM to the trainer, which has to end well, and a new start from the run folder."""
    yield from peer.until_left()
    yield rng.uniform(*DOWN_S)
    peer.resume()
    yield from peer.until_round()


def storm(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
    """Several join at one moment; when each has had a round, all leave at one moment."""
    guests = [swarm.guest() for _ in range(max(2, len(swarm.peers) // 4))]
    for guest in guests:
        yield from guest.until_round()
    leaving = [guest.until_left() for guest in guests]
    while leaving:
        yield POLL_S
        leaving = [one for one in leaving if next(one, None) is not None]


def _network(disturb: Callable[[SwitchedHosts], None], settle: Callable[[SwitchedHosts], None]) -> Fault:
    def course(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
        hosts = swarm.hosts
        if hosts is None:
            raise BrokenPromiseError("a fault of the network needs two hosts")
        while swarm.network_is_disturbed:
            yield POLL_S
        swarm.network_is_disturbed = True
        disturb(hosts)
        yield rng.uniform(*CUT_S)
        settle(hosts)
        swarm.network_is_disturbed = False
        yield from peer.until_round()

    return course


def _memory(word: str) -> Fault:
    def course(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
        yield from no_memory(swarm.guest(), word)

    return course


def disk(swarm: SoakSwarm, peer: SoakPeer, rng: random.Random) -> Course:
    """A guest's disk is full for a while."""
    yield from full_disk(swarm)


FAULTS: dict[str, Fault] = {
    "kill": kill_trainer,
    "kill-node": _kill(NODE),
    "kill-daemon": _kill(DAEMON),
    "freeze": _freeze(""),
    "freeze-node": _freeze(NODE),
    "freeze-daemon": _freeze(DAEMON),
    "terminate": terminate,
    "storm": storm,
    "memory": _memory(""),
    "memory-node": _memory(NODE),
    "disk": disk,
    "cut": _network(SwitchedHosts.cut, SwitchedHosts.heal),
    "one-way": _network(SwitchedHosts.cut_one_way, SwitchedHosts.heal_one_way),
    "slow": _network(SwitchedHosts.slow_down, SwitchedHosts.speed_up),
}
WITH_GUESTS = ("storm", "memory", "memory-node", "disk")
BETWEEN_HOSTS = ("cut", "one-way", "slow")
"""Of these one happens at a time: of networks between two hosts there is one."""


@dataclass(frozen=True)
class Planned:
    """A fault. at_s: from the beginning. victim: by number, or the next peer where a fault has hold of that one."""

    at_s: float
    kind: str
    victim: int


def planned(kinds: list[str], *, peers: int, percent_a_minute: float, minutes: float, seed: int) -> list[Planned]:
    """The faults of a run: so many percent of the peers are struck a minute, at moments drawn evenly from each span."""
    rng = random.Random(seed)
    if not kinds or percent_a_minute <= 0:
        return []
    span_s = 60.0 / (peers * percent_a_minute / 100)
    count = int(minutes * 60.0 / span_s)
    return [
        Planned((number + rng.random()) * span_s, rng.choice(kinds), rng.randrange(peers)) for number in range(count)
    ]
