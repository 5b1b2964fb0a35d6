"""One life of a simulated peer: it joins, trains by the clock, averages when a round is due, ends and leaves.

Owns what trainer and node of a real peer do around `SwarmPeer`, on a small vector. Everything that a peer finds out is
told to its observer. Does not know faults: whoever kills it cancels `live` and takes its transport off the network.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from gossiptrain.core.averaging import Vector
from gossiptrain.errors import GossipError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.simulate.swarms.settings import ELEMENTS, STEP_S, SwarmSettings
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.ending import Farewell, FarewellDeadline, Grace
from gossiptrain.swarm.fragments import WholeModel
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation

RETRY_S = 0.5
"""Pause after a round that found no group, and after a join that met nobody."""
STEP_SIZE = np.float32(0.01)
TOLERANCE_S = 1.0
"""By which a call may take longer than promised: what is sent at the last moment still travels."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Birth:
    """What a life begins with.

    incarnation: from 1, one more with each start. initial, known: addresses, as of `SwarmPeer.join`. values, step:
    what the peer brings along; another peer's take their place where there is one. founds: whether it may begin with
    its own without having met anybody.
    """

    name: str
    incarnation: int
    initial: tuple[str, ...]
    known: tuple[str, ...]
    values: Vector
    step: int
    founds: bool = False


@dataclass(frozen=True)
class Call:
    """One call of a peer that waits for others: which, and how long it takes and may take, by the peer's own clock."""

    what: str
    began_s: float
    took_s: float
    longest_s: float


@dataclass(frozen=True)
class Part:
    """What a round was for one peer. snapshot, average: as they were at its end. samples: by which its contribution
    weighs. Times are those of the event loop."""

    peer: str
    began_s: float
    ended_s: float
    averaged: AveragedRound
    samples: int
    snapshot: Vector
    average: Vector


@dataclass(frozen=True)
class Observer:
    """Hears what a peer finds out. state_taken: with the donor, None where it begins with its own parameters."""

    round_ended: Callable[[Part], None]
    call_late: Callable[[str, Call], None]
    state_taken: Callable[[str, PeerId | None], None]
    changed: Callable[[str, Change, PeerId], None]


class SimulatedPeer:
    """A life of one peer."""

    def __init__(self, birth: Birth, transport: Transport, settings: SwarmSettings, *, observer: Observer) -> None:
        self.birth = birth
        self.values: Vector = birth.values.copy()
        self.has_joined = False
        self.ended: AveragedRound | None = None
        """The last round at its end, where there was one."""
        self.slowness = 1.0
        """How many times as long as usual its steps take."""
        self._settings = settings
        self._gossip, self._timing = settings.gossip(), settings.timing
        self._observer = observer
        self._clock = transport.clock
        self._buffers = Buffers(np.zeros(ELEMENTS, np.float32), np.zeros(ELEMENTS, np.float32))
        seed = f"{settings.seed}/{birth.name}/{birth.incarnation}"
        self._rng = random.Random(seed)
        self._directions = np.random.default_rng(list(seed.encode()))
        self._step = birth.step
        self._samples = 0
        self._stepped_at_s = 0.0
        self._under_way: Call | None = None
        self._told_to_end = asyncio.Event()
        self._hurried = asyncio.Event()
        self.swarm = SwarmPeer(
            Environment(
                transport,
                random.Random(f"{seed}/swarm"),
                birth.incarnation,
                settings.access(transport.peer_id),
            ),
            settings.fingerprint(),
            settings=self._gossip,
            timing=self._timing,
            donate=self._donate,
            on_change=self._note_change,
        )
        self.swarm.membership.describe(replace(self.swarm.membership.own, step=self._step, joined=False))

    @property
    def name(self) -> str:
        """The name, which is the peer id as well."""
        return self.birth.name

    @property
    def step(self) -> int:
        """Inner steps made."""
        return self._step

    def end(self) -> None:
        """Tells the peer to make no more steps, to average once more with all that end too, and to leave."""
        self._told_to_end.set()
        self._hurried.set()

    async def live(self) -> None:
        """The whole life. Raises ExceptionGroup where something in it fails that never should."""
        await self.swarm.open()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.swarm.run())
            await self._join()
            await self._train()
            await self._end()
            await self._within("leave", self.swarm.leave(), longest_s=2 * self._timing.probe_timeout_s)
            running.cancel()

    async def _join(self) -> None:
        birth = self.birth
        while not birth.founds or birth.initial:
            try:
                await self.swarm.join(birth.initial, birth.known)
                break
            except GossipError:
                if birth.founds:
                    break
                await self._clock.sleep(RETRY_S)
        into = np.empty(ELEMENTS, np.float32)
        received = await self.swarm.take_state(into)
        if received is not None:
            self.values, self._step = into, max(received.step, self._step)
        self.has_joined = True
        self._stepped_at_s = self._clock.now()
        self._observer.state_taken(self.name, received.donor if received is not None else None)

    async def _train(self) -> None:
        while not self._told_to_end.is_set():
            period_s = self._settings.every_seconds * self.slowness * self._rng.uniform(0.95, 1.05)
            self._describe(ready_in_s=period_s)
            await self._wait(period_s)
            while not self._told_to_end.is_set() and not await self._average():
                self._describe(ready_in_s=RETRY_S)
                await self._wait(RETRY_S)
        self._advance()

    async def _wait(self, longest_s: float) -> None:
        """Trains for a while; less where somebody wants a round with everyone."""
        self._hurried.clear()
        if self._told_to_end.is_set():
            return
        try:
            async with self._clock.timeout(longest_s):
                await self._hurried.wait()
        except TimeoutError:
            return

    async def _average(self) -> bool:
        """One round, while training goes on; says whether it committed."""
        timing = self._timing
        self._advance()
        self._describe(ready_in_s=0.0)
        self._buffers.snapshot[:] = self.values
        began_s = _now_s()
        samples, self._samples = self._samples, 0
        longest_s = self._gossip.matchmaking_time + timing.dial_timeout_s + timing.round_timeout_s
        stopping = asyncio.create_task(self._stop_finding())
        try:
            work = self.swarm.participation.average(WholeModel(self._buffers), samples=samples)
            averaged = await self._within("a round", work, longest_s=longest_s)
        finally:
            stopping.cancel()
        self._advance()
        self._take(averaged, began_s, samples=samples)
        committed = averaged is not None and averaged.result.committed
        self._samples += 0 if committed else samples
        return committed

    async def _stop_finding(self) -> None:
        await self._told_to_end.wait()
        self.swarm.participation.stop_finding()

    def _take(self, averaged: AveragedRound | None, began_s: float, *, samples: int) -> None:
        """By the delta rule: what was learnt since the snapshot is kept."""
        if averaged is None:
            return
        snapshot, average = self._buffers.snapshot.copy(), self._buffers.average.copy()
        if averaged.result.committed:
            learnt = self.values - snapshot
            self.values = average + learnt if learnt.any() else average.copy()
        part = Part(
            peer=self.name,
            began_s=began_s,
            ended_s=_now_s(),
            averaged=averaged,
            samples=samples,
            snapshot=snapshot,
            average=average,
        )
        self._observer.round_ended(part)

    async def _end(self) -> None:
        """As trainers do: last rounds until one is with all that end, or it takes too long."""
        farewell = Farewell(grace=Grace.usual(self._gossip.ending_time), patience_s=2 * self._gossip.matchmaking_time)
        deadline = FarewellDeadline(farewell, now_s=self._clock.now())
        own = self.swarm.membership.own
        self.swarm.membership.describe(replace(own, step=self._step, ready_in_s=None, ends_in_s=0.0))
        while deadline.left_s(self._clock.now()) > 0 and self.swarm.membership.live():
            self._buffers.snapshot[:] = self.values
            round_began_s = _now_s()
            left = deadline.left(self._clock.now())
            try:
                async with self._clock.timeout(deadline.left_s(self._clock.now())):
                    averaged = await self.swarm.participation.end(
                        WholeModel(self._buffers), samples=self._samples, farewell=left
                    )
            except TimeoutError:
                return
            self._take(averaged, round_began_s, samples=self._samples)
            if averaged is None:
                return
            self._samples = 0
            self.ended = averaged if averaged.result.committed else self.ended
            if averaged.ended:
                return

    def overdue(self) -> Call | None:
        """The call under way, if it takes longer than it may."""
        if self._under_way is None:
            return None
        call = replace(self._under_way, took_s=self._clock.now() - self._under_way.began_s)
        return call if call.took_s > call.longest_s + TOLERANCE_S else None

    async def _within(self, what: str, work: Awaitable[ResultT], *, longest_s: float) -> ResultT:
        """Awaits a call for which the settings promise that it takes no longer."""
        self._under_way = Call(what, self._clock.now(), 0.0, longest_s)
        result = await work
        if call := self.overdue():
            self._observer.call_late(self.name, call)
        self._under_way = None
        return result

    def _describe(self, *, ready_in_s: float | None) -> None:
        own = self.swarm.membership.own
        ready_in_s = own.ready_in_s if own.finishing else ready_in_s
        self.swarm.membership.describe(replace(own, step=self._step, ready_in_s=ready_in_s))

    def _advance(self) -> None:
        """Makes the inner steps that are due by now: towards nothing in particular, so that peers drift apart."""
        now_s = self._clock.now()
        steps = math.floor((now_s - self._stepped_at_s) / (STEP_S * self.slowness))
        if steps <= 0:
            return
        self._stepped_at_s += steps * STEP_S * self.slowness
        self._step += steps
        self._samples += steps
        drift = self._directions.standard_normal(ELEMENTS, dtype=np.float32)
        self.values = self.values + STEP_SIZE * np.float32(math.sqrt(steps)) * drift

    async def _donate(self, held: HeldAverage | None, fragment: int) -> Donation | None:
        """As nodes do where the average is all that a joiner needs."""
        if held is not None:
            return Donation(held.vector.copy(), held.step, held)
        self._advance()
        return Donation(self.values.copy(), self._step)

    def _note_change(self, change: Change, peer: PeerId) -> None:
        if change == "finishing":
            self._hurried.set()
        self._observer.changed(self.name, change, peer)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
