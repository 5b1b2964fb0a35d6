"""A simulated swarm from its first peer to its last: who is alive, what happens when, and what is noted of it.

Owns the network, all lives, and the course of a run: faults, healing, quiet, the end. What a fault does is in
`afflictions`, what must hold in `invariants`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gossiptrain.core.averaging import Vector, relative_disagreement, squared_distances, squared_norm
from gossiptrain.net.transport import Clock, PeerId
from gossiptrain.net.virtual.network import VirtualTransport
from gossiptrain.simulate.swarms import invariants, sometimes
from gossiptrain.simulate.swarms.invariants import Invariants
from gossiptrain.simulate.swarms.liar import Liar
from gossiptrain.simulate.swarms.network import SimulatedNetwork
from gossiptrain.simulate.swarms.peers import Birth, Call, Observer, Part, SimulatedPeer
from gossiptrain.simulate.swarms.plan import INITIAL_PEERS, peer_names
from gossiptrain.simulate.swarms.results import RoundRecord, Sample
from gossiptrain.simulate.swarms.settings import ELEMENTS, STARTING_S, SwarmSettings
from gossiptrain.swarm.member_table import Change

SAMPLE_S = 1.0


@dataclass
class Log:
    """What is noted of a run. reached: events by their names in `sometimes`."""

    rounds: list[RoundRecord] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    reached: dict[str, int] = field(default_factory=lambda: dict.fromkeys(sometimes.EVENTS, 0))

    def reach(self, event: str) -> None:
        """Counts an event."""
        self.reached[event] += 1


@dataclass
class _Alive:
    peer: SimulatedPeer
    transport: VirtualTransport
    task: asyncio.Task[None]


class World:
    """All peers of a run, and the network between them."""

    def __init__(self, settings: SwarmSettings, *, was_touched: Callable[[str, float, float], bool]) -> None:
        self.settings = settings
        self.network = SimulatedNetwork(settings.seed)
        self.invariants = Invariants(was_touched)
        self.log = Log()
        self.liars: set[str] = set()
        """All that have ever lied."""
        self.is_over = False
        """Whether what happens from now on is only the clearing away."""
        self.clocks: dict[str, Clock] = {}
        """Of peers whose clock is wrong, for their next life."""
        self._alive: dict[str, _Alive] = {}
        self._births: dict[str, int] = {}
        self._met: dict[str, dict[str, str]] = {}
        """Addresses of those that a peer has met, by name, over all its lives."""
        self._kept: dict[str, tuple[Vector, int]] = {}
        """Values and step of a peer's last checkpoint, for its next life."""
        self._last_lost: set[tuple[str, str]] = set()
        self._lying: dict[str, asyncio.Task[None]] = {}
        self._rng = random.Random(f"{settings.seed}/world")

    @property
    def now_s(self) -> float:
        """Virtual seconds since the run began."""
        return asyncio.get_running_loop().time()

    @property
    def alive(self) -> dict[str, SimulatedPeer]:
        """All that live, liars not among them."""
        return {name: each.peer for name, each in self._alive.items()}

    def transport_of(self, name: str) -> VirtualTransport:
        """Of a living peer."""
        return self._alive[name].transport

    def start(self, name: str) -> None:
        """Begins a life of that peer, its first or another one."""
        transport = self.network.transport(name)
        transport.clock = self.clocks.get(name, transport.clock)
        self._births[name] = self._births.get(name, 0) + 1
        first = peer_names(INITIAL_PEERS)
        values, step = self._kept.get(name, (self._initial_values(name), 0))
        birth = Birth(
            name=name,
            incarnation=self._births[name],
            initial=tuple(f"/memory/{other}/p2p/{other}" for other in first if other != name),
            known=tuple(self._met.get(name, {}).values()),
            values=values,
            step=step,
            founds=name == first[0] and self._births[name] == 1,
        )
        observer = Observer(self._note_round, self._note_late, self._note_state, self._note_change)
        peer = SimulatedPeer(birth, transport, self.settings, observer=observer)
        task = asyncio.create_task(peer.live(), name=f"life {birth.incarnation} of {name}")
        self._alive[name] = _Alive(peer, transport, task)
        task.add_done_callback(lambda done: self._note_death(peer, transport, done))

    def kill(self, name: str) -> bool:
        """Ends the life of a peer in the middle of whatever it does; says whether there was one."""
        if name not in self._alive:
            return False
        each = self._alive.pop(name)
        sometimes.note_death(self.log.reach, each.peer, each.transport)
        self.network.crash(name)
        each.task.cancel()
        return True

    def start_liar(self, name: str) -> None:
        """Has a member join that lies."""
        transport, settings = self.network.transport(name), self.settings
        liar = Liar(transport, settings.fingerprint(), settings.timing, settings.access(transport.peer_id))
        self.liars.add(name)

        def addresses() -> list[str]:
            return [address for each in self._alive.values() for address in each.transport.addresses]

        living = liar.live(addresses, random.Random(f"{self.settings.seed}/{name}"))
        self._lying[name] = asyncio.create_task(living, name=f"life of {name}")

    def stop_liar(self, name: str) -> None:
        """It is gone without a word."""
        self._lying.pop(name).cancel()
        self.network.crash(name)

    async def run(self, play_faults: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """The whole course, or until an invariant does not hold. play_faults: returns when the last fault is over."""
        asyncio.get_running_loop().set_exception_handler(self._note_unseen)
        going = [asyncio.create_task(self._course(play_faults)), asyncio.create_task(self._watch())]
        done, _ = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _course(self, play_faults: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        playing = asyncio.create_task(play_faults(self))
        for name in peer_names(self.settings.peers):
            loop.call_later(self._rng.uniform(0.0, STARTING_S), self.start, name)
        await asyncio.sleep(self.settings.faults_end_s + self.settings.healing_s)
        await playing
        await self._be_quiet()
        await self._end()
        self._settle(last=True)

    async def _be_quiet(self) -> None:
        """The swarm is healed: all know each other, and go on."""
        self._check_one_swarm()
        began_s = self.now_s
        await asyncio.sleep(self.settings.quiet_s)
        took_part = {each.peer for each in self.log.rounds if each.committed and each.ended_s >= began_s}
        if idle := [name for name in self._alive if name not in took_part]:
            words = f"in {self.settings.quiet_s:g} s no round committed with {', '.join(idle)}"
            self.invariants.violate(invariants.PROGRESS, self.now_s, words)

    def _check_one_swarm(self) -> None:
        peers = self.alive
        if len(peers) > invariants.LARGEST_KNOWN_SWARM:
            views = {name: peer.swarm.membership.live().keys() for name, peer in peers.items()}
            if not invariants.connected(views):
                self.invariants.violate(invariants.ONE_SWARM, self.now_s, "there are peers that nothing connects")
        elif missing := self._missing():
            told = "; ".join(f"{name} does not know {other}" for name, other in missing[:4])
            more = f"; and {len(missing) - 4} more" if len(missing) > 4 else ""
            self.invariants.violate(invariants.ONE_SWARM, self.now_s, told + more)

    async def _end(self) -> None:
        lives = list(self._alive.values())
        for each in lives:
            asyncio.get_running_loop().call_later(self._rng.uniform(0.0, STARTING_S), each.peer.end)
        if lives:
            longest_s = STARTING_S + self.settings.longest_end_s + self.settings.timing.round_timeout_s
            await asyncio.wait([each.task for each in lives], timeout=longest_s)
        for each in lives:
            if not each.task.done():
                words = f"{each.peer.name} has not ended {longest_s:g} s after it was told to"
                self.invariants.violate(invariants.NOBODY_WAITS_TOO_LONG, self.now_s, words)
                self.kill(each.peer.name)
        self._check_one_model([each.peer for each in lives])

    def _check_one_model(self, peers: list[SimulatedPeer]) -> None:
        if not 2 <= len(peers) <= invariants.LARGEST_KNOWN_SWARM or self.invariants.violations:
            return
        alone = [peer.name for peer in peers if peer.ended is None or not peer.ended.ended]
        difference = invariants.largest_difference([peer.values for peer in peers])
        if alone or difference > 0.0:
            words = (
                f"values differ by up to {difference:g}; not together with all others: {', '.join(alone) or 'nobody'}"
            )
            self.invariants.violate(invariants.ONE_MODEL, self.now_s, words)
        else:
            self.log.reach(sometimes.ENDED_TOGETHER)

    async def _watch(self) -> None:
        """Once a second: where the swarm stands, and whether somebody waits too long; until something is wrong."""
        while not self.invariants.violations:
            await asyncio.sleep(SAMPLE_S)
            self._settle()
            vectors = []
            for name, peer in self.alive.items():
                if peer.has_joined:
                    vectors.append(peer.values)
                if call := peer.overdue():
                    self.invariants.note_late(name, call, at_s=self.now_s)
            disagreement, is_one = round(_disagreement(vectors), 9), not self._missing()
            self.log.samples.append(
                Sample(round(self.now_s, 3), len(self._alive), len(vectors), disagreement, is_one=is_one)
            )

    def _missing(self) -> list[tuple[str, str]]:
        """Living peers that do not know another one, and whom."""
        peers = self.alive
        found = []
        for name, peer in peers.items():
            views = {*peer.swarm.membership.live(), name}
            found += [(name, other) for other in peers if other not in views]
        return found

    def _settle(self, *, last: bool = False) -> None:
        longest_s = self.settings.timing.round_timeout_s
        self.invariants.settle(now_s=self.now_s, longest_round_s=longest_s, liars=frozenset(self.liars), last=last)

    def _initial_values(self, name: str) -> Vector:
        seed = list(f"{self.settings.seed}/{name}/values".encode())
        return 1 + np.random.default_rng(seed).standard_normal(ELEMENTS, dtype=np.float32)

    # What peers tell.

    def _note_round(self, part: Part) -> None:
        averaged, result = part.averaged, part.averaged.result
        self.invariants.note(part)
        if result.committed:
            self._kept[part.peer] = (part.average.copy(), self._alive[part.peer].peer.step)
        sometimes.note_round(self.log.reach, part, liars=self.liars)
        record = RoundRecord(
            ended_s=round(part.ended_s, 6),
            peer=part.peer,
            number=averaged.number,
            members=tuple(map(str, result.members)),
            committed=result.committed,
            attempts=result.attempts,
            formation_s=round(averaged.formation_seconds, 6),
            seconds=round(result.seconds, 6),
            digest=result.digest[:16],
            reason=result.reason,
        )
        self.log.rounds.append(record)

    def _note_late(self, name: str, call: Call) -> None:
        self.invariants.note_late(name, call, at_s=self.now_s)

    def _note_state(self, name: str, donor: PeerId | None) -> None:
        sometimes.note_state(self.log.reach, self._births[name], donor)

    def _note_change(self, name: str, change: Change, other: PeerId) -> None:
        self._met.setdefault(name, {})[other] = f"/memory/{other}/p2p/{other}"
        pair = (name, str(other))
        if change == "lost":
            self._last_lost.add(pair)
        elif change == "joined" and pair in self._last_lost:
            self._last_lost.discard(pair)
            self.log.reach(sometimes.LOST_AND_MET)

    def _note_death(self, peer: SimulatedPeer, transport: VirtualTransport, task: asyncio.Task[None]) -> None:
        if self.is_over:
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            self.invariants.violate(invariants.NOBODY_FAILS, self.now_s, f"{peer.name} failed: {_first(error)!r}")
        each = self._alive.get(peer.name)
        if each is not None and each.peer is peer:
            transport.end()
            del self._alive[peer.name]

    def _note_unseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.is_over:
            return
        words = f"{context.get('message')}: {context.get('exception')!r}"
        self.invariants.violate(invariants.NOBODY_FAILS, self.now_s, words)


def _disagreement(vectors: list[Vector]) -> float:
    if len(vectors) < 2:
        return 0.0
    mean: Vector = np.asarray(np.mean(np.stack(vectors), axis=0, dtype=np.float64), dtype=np.float32)
    found = relative_disagreement(
        squared_distance=squared_distances(vectors, mean), squared_mean=squared_norm(mean), members=len(vectors)
    )
    return min(found, 1e9)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
