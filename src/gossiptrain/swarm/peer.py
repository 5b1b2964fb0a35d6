"""One peer of a swarm: everything it can do, in one object.

Owns the order in which the rooms of this floor are put together, and how a peer first finds the others: it dials the
initial peers, asks them who is there, and keeps an entry in the directory, where it also looks for peers that it has
not met. How it finds those again that it has lost is `reunion`. Does not know processes, trainers or models.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from gossiptrain.config import GossipSettings, TimingSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.core.guards import is_finite
from gossiptrain.errors import GossipError, RunMismatchError
from gossiptrain.net.framing import Message
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.swarm.address_book import peer_of
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.averager import Averager, RoundRules
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.coordinator import Coordinator
from gossiptrain.swarm.dialling import MAX_AT_ONCE, Dialled, dial_all
from gossiptrain.swarm.ending import Farewell, Grace
from gossiptrain.swarm.intake import addresses_in, directory_entry
from gossiptrain.swarm.joining import Joining
from gossiptrain.swarm.matchmaking import A_ROUND, Aim, Matchmaker, Readiness
from gossiptrain.swarm.membership import Change, Membership
from gossiptrain.swarm.messages import SignedHeartbeat
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.reunion import Reunion
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.state import Donate, Donation, ReceivedState, StateServer
from gossiptrain.swarm.supervision import supervised

MAX_HINTS = 64
SETTLED_BEATS = 1.5
"""Heartbeats for which the peers that begin at one moment must be the same before one of them founds the swarm."""
START_PATIENCE = 2.0
"""For how many times the time of a dial an initial peer is tried that does not answer yet."""
REDIAL_S = 0.5
HELD_UP_FOR_LIFETIMES = 20
"""How long it is remembered that a peer held a round up, in terms of `lifetime_s`."""


class AveragedRound(Message):
    """A round in which this peer took part."""

    number: int
    formation_seconds: float
    samples: tuple[int, ...]
    """Of each member of the group that was formed, since its last round."""
    result: RoundResult
    final: bool = False
    """Whether all members had made their last step."""
    ended: bool = False
    """Whether it committed among all that have made their last step, as far as this peer knows: it may leave."""
    follow_up: bool = False
    """Whether all members will take part in one more round."""


@dataclass(frozen=True)
class Environment:
    """What a peer is given from outside, so that a simulator can give it something else."""

    transport: Transport
    rng: random.Random
    incarnation: int
    """Larger than at any earlier start of the same identity."""


class SwarmPeer:
    """A member of one run."""

    def __init__(
        self,
        environment: Environment,
        fingerprint: RunFingerprint,
        *,
        settings: GossipSettings,
        timing: TimingSettings,
        donate: Donate,
        weighs_average: bool = True,
        role: Literal["trainer", "observer"] = "trainer",
        on_change: Callable[[Change, PeerId], None] = lambda change, peer: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """report: is told in words what this peer waits for before it can begin."""
        self.transport = environment.transport
        self.fingerprint = fingerprint
        self._timing = timing
        self._rng = environment.rng
        self._clock = environment.transport.clock
        self.admission = Admission(self.transport, fingerprint, timing=timing, members=self._records)
        self.membership = Membership(
            self.admission,
            rng=environment.rng,
            incarnation=environment.incarnation,
            role=role,
            on_change=self._note_change,
        )
        self._promises = Promises(self._clock, held_up_for_s=HELD_UP_FOR_LIFETIMES * timing.lifetime_s)
        coordinator = Coordinator(
            self.admission, self.membership, settings=settings, rng=environment.rng, promises=self._promises
        )
        self._matchmaker = Matchmaker(
            self.admission, self.membership, coordinator, settings=settings, promises=self._promises
        )
        rules = RoundRules(minimum_members=settings.gossip_min_group_size, weighs_members=weighs_average)
        self._averager = Averager(self.admission, rules)
        self._state_server = StateServer(self.admission, self._guarded(donate))
        self._joining = Joining(
            self.membership,
            self._clock,
            self._state_server.fetch,
            settled_s=SETTLED_BEATS * timing.heartbeat_s,
            look_around=self.consult_directory,
            report=report,
        )
        self._farewell = Farewell(self.membership, self._clock, longest_nap_s=timing.heartbeat_s)
        self._minimum_members = settings.gossip_min_group_size
        self._on_change = on_change
        self.reunion = Reunion(self.admission, self.membership, rng=environment.rng)
        self._last_group = ""
        self._has_known = False
        """Whether this peer has met others in an earlier life."""

    def _records(self) -> tuple[SignedHeartbeat, ...]:
        return self.membership.records()

    def _note_change(self, change: Change, peer: PeerId) -> None:
        self.reunion.note(change, peer)
        self._on_change(change, peer)

    async def open(self) -> None:
        """From now on answers others."""
        for room in (self.admission, self.membership, self._matchmaker, self._averager, self._state_server):
            await room.open()

    async def join(self, initial_peers: Sequence[str], known: Sequence[str] = ()) -> None:
        """Meets the peers at the given addresses, and through them the rest.

        known: addresses of peers that were met in an earlier life; it is no error where none of these answers.
        Raises RunMismatchError where an initial peer takes part in another run, PeerUnreachableError where none
        answers, nor anybody known.
        """
        self.reunion.name(known, initial=False)
        self.reunion.name(initial_peers, initial=True)
        reached = await self.reunion.seek()
        if not reached:
            dialled = await self._dial_until_met(initial_peers)
            if dialled.mismatch is not None or not self.membership.live():
                dialled.check()
            reached = list(dialled.reached)
        self._has_known = bool(known)
        await self.transport.bootstrap(reached)
        await self.consult_directory()
        await self.membership.meet_candidates()
        await self.membership.announce()

    async def run(self) -> None:
        """Keeps the membership and the directory fresh until cancelled. Raises NodeFailedError where that fails."""
        failed: GossipError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, loop in self._loops:
                    tasks.create_task(supervised(loop, name=name, clock=self._clock))
        except* GossipError as errors:
            failed = next(error for error in errors.exceptions if isinstance(error, GossipError))
        if failed is not None:
            raise failed

    @property
    def _loops(self) -> tuple[tuple[str, Callable[[], Coroutine[None, None, None]]], ...]:
        return (
            ("the membership", self.membership.run),
            ("the directory", self._look_around),
            ("the reunion", self.reunion.run),
        )

    async def _look_around(self) -> None:
        while True:
            await self._clock.sleep(self._timing.directory_s)
            await self.consult_directory()

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

    async def take_state(self, into: Vector) -> ReceivedState | None:
        """Takes over the parameters of a living peer. None where this peer is to begin with its own.

        Waits as long as it takes, and says so; `run` has to be under way meanwhile. From then on this peer takes part.
        """
        self.membership.describe(replace(self.membership.own, joined=False))
        received = await self._joining.take_state(into, met_before=self._has_known)
        step = self.membership.own.step if received is None else max(received.step, self.membership.own.step)
        self.membership.describe(replace(self.membership.own, joined=True, step=step))
        await self.membership.meet_everyone()
        return received

    async def average(self, buffers: Buffers, *, samples: int, aim: Aim = A_ROUND) -> AveragedRound | None:
        """One round: finds a group of peers that are ready now and averages with it.

        None where no group was found, or where the snapshot is not finite and therefore not shown to anyone.
        """
        if not is_finite(buffers.snapshot):
            return None
        started_s = self._clock.now()
        assignment = await self._matchmaker.find_group(
            Readiness(samples, self._last_group, aim, self._averager.speeds_seen)
        )
        if assignment is None:
            return None
        formation_seconds = self._clock.now() - started_s
        result = await self._averager.average(assignment, buffers)
        self._remember(result)
        if result.committed:
            self._last_group = assignment.round_id
        return AveragedRound(
            number=assignment.round,
            formation_seconds=formation_seconds,
            samples=assignment.samples,
            result=result,
            final=assignment.final,
            follow_up=assignment.follow_up,
        )

    async def merge(self, buffers: Buffers, *, samples: int) -> AveragedRound | None:
        """One round with everyone that is there; others become ready for it at once."""
        async with self._finishing():
            return await self.average(buffers, samples=samples, aim=Aim("merge"))

    def stop_finding(self) -> None:
        """Ends the search for the group of a round, but not a round that has its group."""
        self._matchmaker.withdraw()

    async def end(
        self, buffers: Buffers, *, samples: int, grace: Grace, patience_s: float, follow_up: bool = False
    ) -> AveragedRound | None:
        """After the last step: waits for others that end as well, and makes one last round with all of them.

        Where it is `ended` afterwards this peer may leave; else others have ended that were not in it. grace: how long
        the others are waited for. patience_s: how long the group may take to form then.
        """
        await self.say_ended()
        if len(self.membership.trainers()) < self._minimum_members:
            return None
        all_have_ended = await self._farewell.wait(grace)
        async with self._finishing():
            averaged = await self.average(buffers, samples=samples, aim=Aim("end", follow_up, patience_s))
        if averaged is None or not averaged.result.committed:
            return averaged
        # A member that still trained may end in the very next moment, with more than it brought to this round.
        nobody_slipped_in = averaged.final or not all_have_ended
        ended = nobody_slipped_in and self.membership.ended() <= set(averaged.result.members)
        return averaged.model_copy(update={"ended": ended})

    def hasten(self) -> None:
        """Ends the waiting for others of an `end` that is under way."""
        self._farewell.hasten()

    async def say_ended(self) -> None:
        """Lets all others know that this peer has made its last step."""
        own = self.membership.own
        if own.ends_in_s != 0:
            self.membership.describe(replace(own, ends_in_s=0.0, ready_in_s=None))
        await self.membership.meet_everyone()

    def _remember(self, result: RoundResult) -> None:
        """So that whoever did not answer, or did not do its part, does not cost the next rounds as much."""
        self._promises.broken_by(result.silent)
        self._promises.held_up_by(result.held_up)
        for peer in sorted(result.silent):
            self.membership.suspect(peer)

    async def leave(self) -> None:
        """Says goodbye, once the others have heard how the last round ended."""
        await self._averager.settle()
        await self.membership.say_goodbye()

    def _guarded(self, donate: Donate) -> Donate:
        """Who has not joined yet has nothing to give."""

        async def give() -> Donation | None:
            return await donate() if self.membership.own.joined else None

        return give

    @asynccontextmanager
    async def _finishing(self) -> AsyncIterator[None]:
        """While it lasts this peer wants a round with everyone, and all others are told at once."""
        self.membership.describe(replace(self.membership.own, finishing=True, ready_in_s=0.0))
        telling = asyncio.create_task(self.membership.meet_everyone())
        try:
            yield
        finally:
            await telling
            self.membership.describe(replace(self.membership.own, finishing=False, ready_in_s=None))

    async def _dial_until_met(self, addresses: Sequence[str]) -> Dialled:
        """Meets the initial peers; where none answers they may be starting just now, and so it is tried again."""
        give_up_at_s = self._clock.now() + START_PATIENCE * self._timing.dial_timeout_s
        while self._clock.now() < give_up_at_s:
            dialled = await self._dial(addresses, self._reach)
            if dialled.reached or dialled.mismatch is not None or not addresses or self.membership.live():
                return dialled
            await self.membership.wait_for_change(REDIAL_S)
        # Once more in the way that says best what is wrong.
        return await self._dial(addresses, self.transport.connect)

    async def _reach(self, address: str) -> PeerId:
        peer = peer_of(address)
        if peer is None:
            return await self.transport.connect(address)
        await self.transport.reach(peer, [address])
        return peer

    async def _dial(self, addresses: Sequence[str], connect: Callable[[str], Awaitable[PeerId]]) -> Dialled:
        """Meets whoever lives at the addresses."""
        timeout_s = self._timing.dial_timeout_s
        return await dial_all(self.transport, addresses, timeout_s=timeout_s, meet=self._meet, connect=connect)

    async def _meet(self, peer: PeerId) -> None:
        welcome = await self.admission.handshake(peer)
        if not welcome.hello.helper:
            self.membership.absorb(welcome.members, told_by=peer)

    async def _follow_hint(self, peer: PeerId, value: bytes, free: asyncio.Semaphore) -> None:
        """The directory may be wrong or lie: whatever does not check out is passed over."""
        addresses = addresses_in(value)
        if addresses and peer in self.reunion.book:
            # Tried again and again anyway, from now on there as well.
            self.reunion.learn(peer, addresses)
            return
        if not addresses:
            return
        async with free:
            self.transport.remember(peer, addresses)
            with contextlib.suppress(RunMismatchError, ConnectionError, TimeoutError):
                await self._meet(peer)
