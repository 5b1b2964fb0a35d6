"""One peer of a swarm: everything it can do, in one object.

Owns the order in which the rooms of this floor are put together, and how a peer finds the others: it dials the
initial peers, asks them who is there, and keeps an entry in the directory, where it also looks for peers that it has
not met. Does not know processes, trainers or models.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gossiptrain.config import GossipSettings, TimingSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.core.guards import is_finite
from gossiptrain.errors import GossipError, RunMismatchError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.swarm.averager import Averager, RoundRules
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.dialling import MAX_AT_ONCE, Dialled, dial_all
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.intake import addresses_in, directory_entry
from gossiptrain.swarm.matchmaking import Bringing, Matchmaker
from gossiptrain.swarm.membership import Change, Membership
from gossiptrain.swarm.messages import SignedHeartbeat
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.state import Donate, ReceivedState, StateDesk
from gossiptrain.swarm.supervision import supervised

MAX_HINTS = 64


@dataclass(frozen=True)
class AveragedRound:
    """A round in which this peer took part."""

    number: int
    formation_seconds: float
    samples: tuple[int, ...]
    """Of each member of the group that was formed, since its last round."""
    result: RoundResult


@dataclass(frozen=True)
class Surroundings:
    """What a peer is given from outside, so that a simulator can give it something else."""

    transport: Transport
    rng: random.Random
    incarnation: int
    """Larger than at any earlier start of the same identity."""


class SwarmPeer:
    """A member of one run."""

    def __init__(
        self,
        surroundings: Surroundings,
        fingerprint: RunFingerprint,
        *,
        settings: GossipSettings,
        timing: TimingSettings,
        donate: Donate,
        weighs_average: bool = True,
        role: Literal["trainer", "observer"] = "trainer",
        on_change: Callable[[Change, PeerId], None] = lambda change, peer: None,
    ) -> None:
        self.transport = surroundings.transport
        self.fingerprint = fingerprint
        self._timing = timing
        self._rng = surroundings.rng
        self._clock = surroundings.transport.clock
        self.door = Door(self.transport, fingerprint, timing=timing, members=self._records)
        self.membership = Membership(
            self.door,
            rng=surroundings.rng,
            incarnation=surroundings.incarnation,
            role=role,
            on_change=on_change,
        )
        self._matchmaker = Matchmaker(self.door, self.membership, settings=settings, rng=surroundings.rng)
        rules = RoundRules(minimum_members=settings.gossip_min_group_size, weighs_members=weighs_average)
        self._averager = Averager(self.door, rules)
        self._state_desk = StateDesk(self.door, donate)
        self._initial_peers: tuple[str, ...] = ()
        self._last_group = ""

    def _records(self) -> tuple[SignedHeartbeat, ...]:
        return self.membership.records()

    async def open(self) -> None:
        """From now on answers others."""
        for room in (self.door, self.membership, self._matchmaker, self._averager, self._state_desk):
            await room.open()

    async def join(self, initial_peers: Sequence[str]) -> None:
        """Meets the peers at the given addresses, and through them the rest.

        Raises RunMismatchError where one of them takes part in another run, PeerUnreachableError where none answers.
        """
        self._initial_peers = tuple(initial_peers)
        dialled = await self._dial(initial_peers)
        dialled.check()
        await self.transport.bootstrap(dialled.reached)
        await self.consult_directory()
        await self.membership.meet_candidates()
        await self.membership.announce()

    async def run(self) -> None:
        """Keeps the membership and the directory fresh until cancelled. Raises NodeFailedError where that fails."""
        failed: GossipError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, loop in (("the membership", self.membership.run), ("the directory", self._look_around)):
                    tasks.create_task(supervised(loop, name=name, clock=self._clock))
        except* GossipError as errors:
            failed = next(error for error in errors.exceptions if isinstance(error, GossipError))
        if failed is not None:
            raise failed

    async def _look_around(self) -> None:
        while True:
            await self._clock.sleep(self._timing.directory_s)
            await self.consult_directory()
            if not self.membership.live():
                await self._look_for_company()

    async def consult_directory(self) -> None:
        """Renews the own entry, and meets peers that the directory knows and this one does not."""
        directory, key = self.transport.directory, self.fingerprint.key
        entry = directory_entry(self.transport.addresses)
        await directory.put(key, self.transport.peer_id, entry, lifetime_s=3 * self._timing.directory_s)
        known = self.membership.live().keys() | {self.transport.peer_id}
        strangers = sorted((peer, value) for peer, value in (await directory.get(key)).items() if peer not in known)
        # By chance, so that nobody can push others out by the names that it makes up.
        hints = self._rng.sample(strangers, min(len(strangers), MAX_HINTS))
        free = asyncio.Semaphore(MAX_AT_ONCE)
        await asyncio.gather(*(self._follow_hint(PeerId(peer), value, free) for peer, value in hints))

    async def fetch_state(self, into: Vector) -> ReceivedState | None:
        """Takes over the parameters of the living peer that is furthest ahead, or of the next one if that fails.

        None where nobody could give a complete state; `into` may then not be used.
        """
        heartbeats = self.membership.live()
        donors = [peer for peer, heartbeat in heartbeats.items() if heartbeat.role == "trainer"]
        for donor in sorted(donors, key=lambda peer: (-heartbeats[peer].step, peer)):
            try:
                return await self._state_desk.fetch(donor, into)
            except (ConnectionError, TimeoutError):
                continue
        return None

    async def average(self, buffers: Buffers, *, samples: int, final: bool = False) -> AveragedRound | None:
        """One round: finds a group of peers that are ready now and averages with it; `final` with all of them.

        None where no group was found, or where the snapshot is not finite and therefore not shown to anyone.
        """
        if not is_finite(buffers.snapshot):
            return None
        started_s = self._clock.now()
        bringing = Bringing(samples, self._last_group, final, self._averager.speeds_seen)
        assignment = await self._matchmaker.find_group(bringing)
        if assignment is None:
            return None
        formation_seconds = self._clock.now() - started_s
        result = await self._averager.average(assignment, buffers)
        if result.committed:
            self._last_group = assignment.round_id
        return AveragedRound(assignment.round, formation_seconds, assignment.samples, result)

    async def leave(self) -> None:
        """Says goodbye."""
        await self.membership.say_goodbye()

    async def _look_for_company(self) -> None:
        """Tries again whom this peer once knew, after it has lost everybody."""
        addresses = dict.fromkeys((*self.membership.last_known_addresses()[:MAX_HINTS], *self._initial_peers))
        await self.transport.bootstrap((await self._dial(tuple(addresses))).reached)

    async def _dial(self, addresses: Sequence[str]) -> Dialled:
        """Meets whoever lives at the addresses."""
        return await dial_all(self.transport, addresses, timeout_s=self._timing.dial_timeout_s, meet=self._meet)

    async def _meet(self, peer: PeerId) -> None:
        welcome = await self.door.greet(peer)
        if not welcome.hello.helper:
            self.membership.absorb(welcome.members, told_by=peer)

    async def _follow_hint(self, peer: PeerId, value: bytes, free: asyncio.Semaphore) -> None:
        """The directory may be wrong or lie: whatever does not check out is passed over."""
        addresses = addresses_in(value)
        if not addresses:
            return
        async with free:
            self.transport.remember(peer, addresses)
            with contextlib.suppress(RunMismatchError, ConnectionError, TimeoutError):
                await self._meet(peer)
