"""One peer of a swarm: everything it can do, in one object.

Owns the order in which the rooms of this floor are put together, and of the steps at the beginning and at the end of a
peer's life. Does not know processes, trainers or models.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gossiptrain.config import GossipSettings, TimingSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import GossipError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.averager import Averager, RoundRules
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.coordinator import Coordinator
from gossiptrain.swarm.discovery import Discovery
from gossiptrain.swarm.download import Download, ReceivedState
from gossiptrain.swarm.ending import EndingBarrier, Grace
from gossiptrain.swarm.joining import Joining
from gossiptrain.swarm.last_average import HeldAverage, LastAverage
from gossiptrain.swarm.matchmaking import Aim, Matchmaker
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.participation import AveragedRound, Participation
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.reunion import Reunion
from gossiptrain.swarm.state import Donate, Donation, StateServer
from gossiptrain.swarm.supervision import supervised

SETTLED_BEATS = 1.5
"""Heartbeats for which the peers that begin at one moment must be the same before one of them founds the swarm."""
HELD_UP_FOR_LIFETIMES = 20
"""How long it is remembered that a peer held a round up, in terms of `lifetime_s`."""


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
        self._clock = environment.transport.clock
        self.admission = Admission(self.transport, fingerprint, timing=timing)
        self.membership = Membership(
            self.admission,
            rng=environment.rng,
            incarnation=environment.incarnation,
            role=role,
            on_change=self._note_change,
        )
        self.reunion = Reunion(self.admission, self.membership, rng=environment.rng)
        self._discovery = Discovery(self.admission, self.membership, self.reunion, rng=environment.rng)
        promises = Promises(self._clock, held_up_for_s=HELD_UP_FOR_LIFETIMES * timing.lifetime_s)
        coordinator = Coordinator(
            self.admission, self.membership, settings=settings, rng=environment.rng, promises=promises
        )
        self._matchmaker = Matchmaker(
            self.admission, self.membership, coordinator, settings=settings, promises=promises
        )
        rules = RoundRules(minimum_members=settings.gossip_min_group_size, weighs_members=weighs_average)
        self._averager = Averager(self.admission, rules)
        self.last_average = LastAverage(self._clock)
        self._participation = Participation(
            self._clock, self.membership, promises, self._matchmaker, self._averager, last_average=self.last_average
        )
        self._state_server = StateServer(self.admission, self.last_average, self._guarded(donate))
        self._joining = Joining(
            self.membership,
            self._clock,
            lambda into: Download(self.admission, into),
            settled_s=SETTLED_BEATS * timing.heartbeat_s,
            look_around=self._discovery.consult_directory,
            report=report,
        )
        self._ending_barrier = EndingBarrier(self.membership, self._clock, longest_nap_s=timing.heartbeat_s)
        self._minimum_members = settings.gossip_min_group_size
        self._on_change = on_change
        self._has_known = False
        """Whether this peer has met others in an earlier life."""

    def _note_change(self, change: Change, peer: PeerId) -> None:
        self.reunion.note(change, peer)
        self._on_change(change, peer)

    async def open(self) -> None:
        """From now on answers others."""
        for room in (self.admission, self.membership, self._matchmaker, self._averager, self._state_server):
            await room.open()

    async def join(self, initial_peers: Sequence[str], known: Sequence[str] = ()) -> None:
        """Meets the peers at the given addresses, and through them the rest; see `Discovery.join`."""
        await self._discovery.join(initial_peers, known)
        self._has_known = bool(known)

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
            ("the directory", self._discovery.run),
            ("the reunion", self.reunion.run),
        )

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

    async def average(self, buffers: Buffers, *, samples: int) -> AveragedRound | None:
        """One round with peers that are ready now; see `Participation.average`."""
        return await self._participation.average(buffers, samples=samples)

    async def merge(self, buffers: Buffers, *, samples: int) -> AveragedRound | None:
        """One round with everyone that is there; others become ready for it at once."""
        return await self._participation.merge(buffers, samples=samples)

    def stop_finding(self) -> None:
        """Ends the search for the group of a round, but not a round that has its group."""
        self._participation.stop_finding()

    async def end(
        self, buffers: Buffers, *, samples: int, grace: Grace, patience_s: float, follow_up: bool = False
    ) -> AveragedRound | None:
        """After the last step: waits for others that end as well, and makes one last round with all of them.

        Where it is `ended` afterwards this peer may leave; else others have ended that were not in it, or are about to.
        grace: how long the others are waited for. patience_s: how long the group may take to form then.
        """
        began_s = self._clock.now()
        await self.say_ended()
        if len(self.membership.trainers()) < self._minimum_members:
            return None
        all_have_ended = await self._ending_barrier.wait(grace)
        async with self._participation.finishing():
            averaged = await self._participation.average(
                buffers, samples=samples, aim=Aim("end", follow_up, patience_s)
            )
        if averaged is None or not averaged.result.committed:
            return averaged
        self._ending_barrier.note_round(averaged.result.members)
        # A member that still trained may end in the very next moment, with more than it brought to this round.
        nobody_slipped_in = averaged.final or not all_have_ended
        all_were_in_it = nobody_slipped_in and self.membership.ended() <= set(averaged.result.members)
        # Somebody else's grace may have been over long before this peer's.
        left = grace.after(self._clock.now() - began_s)
        return averaged.model_copy(update={"ended": all_were_in_it and not self._ending_barrier.expects_others(left)})

    def hasten(self) -> None:
        """Ends the waiting for others of an `end` that is under way."""
        self._ending_barrier.hasten()

    async def say_ended(self) -> None:
        """Lets all others know at once that this peer has made its last step, where it has not said so already."""
        own = self.membership.own
        if own.ends_in_s != 0:
            self.membership.describe(replace(own, ends_in_s=0.0, ready_in_s=None))
            await self.membership.meet_everyone()

    async def leave(self) -> None:
        """Says goodbye, once the others have heard how the last round ended."""
        await self._averager.settle()
        await self.membership.say_goodbye()

    def _guarded(self, donate: Donate) -> Donate:
        """Who has not joined yet has nothing to give."""

        async def give(held: HeldAverage | None) -> Donation | None:
            return await donate(held) if self.membership.own.joined else None

        return give
