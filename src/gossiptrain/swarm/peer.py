"""One peer of a swarm: everything it can do, in one object.

Owns the order in which the rooms of this floor are put together, and how a peer first finds the others: it dials the
initial peers, asks them who is there, and keeps an entry in the directory, where it also looks for peers that it has
not met. How it finds those again that it has lost is `reunion`. Does not know processes, trainers or models.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gossiptrain.config import GossipSettings, TimingSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.core.guards import is_finite
from gossiptrain.errors import PeerUnreachableError, RunMismatchError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.swarm.averager import Averager, RoundRules
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.matchmaking import Bringing, Matchmaker
from gossiptrain.swarm.membership import Change, Membership
from gossiptrain.swarm.messages import SignedHeartbeat
from gossiptrain.swarm.reunion import Reunion
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.state import Donate, ReceivedState, StateDesk

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
        self._clock = surroundings.transport.clock
        self.door = Door(self.transport, fingerprint, timing=timing, members=self._records)
        self.membership = Membership(
            self.door,
            rng=surroundings.rng,
            incarnation=surroundings.incarnation,
            role=role,
            on_change=self._note_change,
        )
        self._on_change = on_change
        self.reunion = Reunion(self.door, self.membership, rng=surroundings.rng)
        self._matchmaker = Matchmaker(self.door, self.membership, settings=settings, rng=surroundings.rng)
        rules = RoundRules(minimum_members=settings.gossip_min_group_size, weighs_members=weighs_average)
        self._averager = Averager(self.door, rules)
        self._state_desk = StateDesk(self.door, donate)
        self._last_group = ""

    def _records(self) -> tuple[SignedHeartbeat, ...]:
        return self.membership.records()

    def _note_change(self, change: Change, peer: PeerId) -> None:
        self.reunion.note(change, peer)
        self._on_change(change, peer)

    async def open(self) -> None:
        """From now on answers others."""
        for room in (self.door, self.membership, self._matchmaker, self._averager, self._state_desk):
            await room.open()

    async def join(self, initial_peers: Sequence[str], known: Sequence[str] = ()) -> None:
        """Meets the peers at the given addresses, and through them the rest.

        known: addresses of peers that were met in an earlier life; it is no error where none of these answers.
        Raises RunMismatchError where an initial peer takes part in another run, PeerUnreachableError where none
        answers, nor anybody known.
        """
        self.reunion.name(known, initial=False)
        self.reunion.name(initial_peers, initial=True)
        reached, failures = await self.reunion.seek(), list[str]()
        if not reached:
            reached, failures = await self._dial(initial_peers)
        if initial_peers and not reached:
            raise PeerUnreachableError(
                "None of the initial peers answers:\n  " + "\n  ".join(failures),
                cause="They have left, their address has changed, or a firewall stands between.",
                remedy="Use the address of any peer that is alive now; each prints its own when it starts.",
            )
        await self.transport.bootstrap(reached)
        await self.consult_directory()
        await self.membership.announce()

    async def run(self) -> None:
        """Keeps the membership and the directory fresh until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.membership.run())
            tasks.create_task(self.reunion.run())
            while True:
                await self._clock.sleep(self._timing.directory_s)
                await self.consult_directory()

    async def consult_directory(self) -> None:
        """Renews the own entry, and meets peers that the directory knows and this one does not."""
        directory, key = self.transport.directory, self.fingerprint.key
        entry = json.dumps(self.transport.addresses[:4]).encode()
        await directory.put(key, self.transport.peer_id, entry, lifetime_s=3 * self._timing.directory_s)
        known = self.membership.live().keys() | {self.transport.peer_id}
        strangers = {peer: value for peer, value in (await directory.get(key)).items() if peer not in known}
        hints = sorted(strangers.items())[:MAX_HINTS]
        await asyncio.gather(*(self._follow_hint(PeerId(peer), value) for peer, value in hints))

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

    async def _dial(self, addresses: Sequence[str]) -> tuple[list[PeerId], list[str]]:
        """Meets whoever lives at the addresses: those who answer, and why the others do not, in words."""
        reached: list[PeerId] = []
        failures: list[str] = []
        for address in addresses:
            try:
                async with self._clock.timeout(self._timing.dial_timeout_s):
                    peer = await self.transport.connect(address)
                await self._meet(peer)
                reached.append(peer)
            except (ConnectionError, TimeoutError) as error:
                failures.append(f"{address}: {str(error) or 'no answer in time'}")
        return reached, failures

    async def _meet(self, peer: PeerId) -> None:
        welcome = await self.door.greet(peer)
        if not welcome.hello.helper:
            self.membership.absorb(welcome.members)

    async def _follow_hint(self, peer: PeerId, value: bytes) -> None:
        """The directory may be wrong or lie: whatever does not check out is passed over."""
        try:
            addresses = json.loads(value)
        except (ValueError, RecursionError):
            return
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            return
        if peer in self.reunion.book:
            # Tried again and again anyway, from now on there as well.
            self.reunion.learn(peer, addresses[:4])
            return
        self.transport.remember(peer, addresses[:4])
        try:
            await self._meet(peer)
        except (RunMismatchError, ConnectionError, TimeoutError):
            return
