"""One peer of a swarm: everything it can do, in one object.

Owns the order in which the rooms of this floor are put together, and of the steps at the beginning of a peer's life and
when it leaves. What it does in between is `participation`. Does not know processes, trainers or models.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gossiptrain.config import GossipSettings, TimingSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import GossipError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.averager import Averager, RoundRules
from gossiptrain.swarm.coordinator import Coordinator
from gossiptrain.swarm.corroboration import Comparison
from gossiptrain.swarm.discovery import Discovery
from gossiptrain.swarm.download import Download, ReceivedState
from gossiptrain.swarm.ending import EndingBarrier
from gossiptrain.swarm.group_forming import GroupForming
from gossiptrain.swarm.joining import Joining
from gossiptrain.swarm.last_average import HeldAverage, LastAverage
from gossiptrain.swarm.matchmaking import Matchmaker
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.messages import MAX_COUNT
from gossiptrain.swarm.participation import Participation
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.ranks import Ranks
from gossiptrain.swarm.readying import Readying
from gossiptrain.swarm.recipe import RecipeServer
from gossiptrain.swarm.recipe_messages import Recipe
from gossiptrain.swarm.reunion import Reunion
from gossiptrain.swarm.state import Donate, DonateMoments, Donation, StateServer
from gossiptrain.swarm.status import OwnStatus
from gossiptrain.swarm.supervision import supervised

_logger = logging.getLogger(__package__)
SETTLED_BEATS = 1.5
"""Heartbeats for which the peers that begin at one moment must be the same before one of them founds the swarm."""
HELD_UP_FOR_LIFETIMES = 20
"""How long it is remembered that a peer held a round up, in terms of `lifetime_s`."""

MOST_ASKED = 3
"""Peers that are asked for second moments."""


@dataclass(frozen=True)
class Environment:
    """What a peer is given from outside, so that a simulator can give it something else."""

    transport: Transport
    rng: random.Random
    incarnation: int
    """Larger than at any earlier start of the same identity."""
    access: PrivateAccess | None = None
    """What makes the peer a member of a private swarm; None for an open one."""


async def _has_none(fragment: int) -> None:
    """Of a peer whose optimizer keeps no second moments."""


def _note_missing(donor: PeerId, error: OSError) -> None:
    _logger.info("%s gave no second moments: %s", donor, error)


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
        donate_moments: DonateMoments = _has_none,
        weighs_average: bool = True,
        recipe: Recipe | None = None,
        role: Literal["trainer", "observer"] = "trainer",
        on_change: Callable[[Change, PeerId], None] = lambda change, peer: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """recipe: what newcomers are told of how this peer trains. report: is told in words what this peer waits for
        before it can begin."""
        self.transport = environment.transport
        self.fingerprint = fingerprint
        self._clock = environment.transport.clock
        self.admission = Admission(self.transport, fingerprint, timing=timing, access=environment.access)
        self.membership = Membership(
            self.admission,
            rng=environment.rng,
            incarnation=environment.incarnation,
            role=role,
            on_change=self._note_change,
        )
        self.reunion = Reunion(self.admission, self.membership, rng=environment.rng)
        self._discovery = Discovery(self.admission, self.membership, self.reunion, rng=environment.rng)
        largest_group = settings.gossip_group_size
        self._readying = Readying(self.admission, self.membership, largest_group=largest_group)
        promises = Promises(self._clock, held_up_for_s=HELD_UP_FOR_LIFETIMES * timing.lifetime_s)
        self._matchmaker = self._make_matchmaker(settings, promises, environment.rng)
        # What strangers say of their samples is worth nothing.
        weighs_members = weighs_average and settings.guard != "clip"
        rules = RoundRules(settings.gossip_min_group_size, weighs_members=weighs_members)
        self._averager = Averager(self.admission, rules)
        self.last_average = LastAverage(self._clock)
        self.participation = self._make_participation(settings, promises)
        """Its rounds, once it has taken over the state."""
        self._state_server = StateServer(self.admission, self.last_average, self._guarded(donate), donate_moments)
        self.status = OwnStatus(self.admission)
        """What it shows to whoever watches."""
        self._recipe_server = RecipeServer(self.admission, recipe)
        self._rng = environment.rng
        self._joining = self._make_joining(report)
        self._on_change = on_change
        self._has_known = False
        """Whether this peer has met others in an earlier life."""

    def _make_matchmaker(self, settings: GossipSettings, promises: Promises, rng: random.Random) -> Matchmaker:
        run_key = self.fingerprint.key
        ranks = Ranks(run_key, settings.seed, promises)
        coordinator = Coordinator(
            self.admission,
            self.membership,
            ranks,
            GroupForming(self.transport.peer_id, run_key, settings, ranks, rng=rng),
            promises=promises,
            minimum_members=settings.gossip_min_group_size,
        )
        return Matchmaker(self.admission, self.membership, coordinator, settings=settings, promises=promises)

    def _make_participation(self, settings: GossipSettings, promises: Promises) -> Participation:
        heartbeat_s = self.admission.timing.heartbeat_s
        return Participation(
            self._clock,
            self.membership,
            self._matchmaker,
            self._averager,
            run_key=self.fingerprint.key,
            promises=promises,
            barrier=EndingBarrier(self.membership, self._clock, longest_nap_s=heartbeat_s),
            minimum_members=settings.gossip_min_group_size,
            last_average=self.last_average,
        )

    def _make_joining(self, report: Callable[[str], None]) -> Joining:
        return Joining(
            self.membership,
            self._clock,
            self._download,
            settled_s=SETTLED_BEATS * self.admission.timing.heartbeat_s,
            look_around=self._discovery.consult_directory,
            report=report,
        )

    def _download(self, into: Vector, fragment: int, parameters: int) -> Download:
        comparison = Comparison(parameters, self._rng)
        return Download(self.admission, into, fragment=fragment, comparison=comparison)

    def _note_change(self, change: Change, peer: PeerId) -> None:
        self.reunion.note(change, peer)
        self._on_change(change, peer)

    async def open(self) -> None:
        """From now on answers others."""
        rounds = (self._matchmaker, self._averager, self._state_server)
        for room in (self.admission, self.membership, *rounds, self.status, self._recipe_server):
            await room.open()

    async def join(self, initial_peers: Sequence[str], known: Sequence[str] = ()) -> None:
        """Meets the peers at the given addresses, and through them the rest; see `Discovery.join`."""
        await self._discovery.join(initial_peers, known)
        self._has_known = bool(known)

    async def join_found(self, addresses: Sequence[str]) -> bool:
        """Meets peers that were found, whose addresses are anybody's word; says whether anybody lives."""
        await self._discovery.join((), addresses)
        return bool(self.membership.live())

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
            ("the ways to others", self._readying.run),
        )

    async def take_state(
        self,
        into: Vector,
        *,
        lengths: Sequence[int] = (),
        taken: Callable[[int, ReceivedState], Awaitable[None]] | None = None,
    ) -> ReceivedState | None:
        """Takes over the parameters of a living peer. None where this peer is to begin with its own.

        Waits as long as it takes, and says so; `run` has to be under way meanwhile. From then on this peer takes part.
        lengths: of the fragments that come one after the other into the same memory; empty where all come at once.
        taken: called with each, before the next one is asked for.
        """
        self.membership.describe(replace(self.membership.own, joined=False))
        received: ReceivedState | None = None
        lengths = lengths or (len(into),)
        vectors = max(1, sum(lengths) // self.fingerprint.elements)
        for fragment, length in enumerate(lengths):
            part = await self._joining.take_state(
                into[:length], fragment=fragment, parameters=length // vectors, met_before=self._has_known
            )
            if part is None:
                # Whoever had begun to give the parameters is gone, and so is everybody else.
                break
            if taken is not None:
                await taken(fragment, part)
            received = part if received is None else received.followed_by(part)
        step = self.membership.own.step if received is None else max(received.step, self.membership.own.step)
        self.membership.describe(replace(self.membership.own, joined=True, step=step))
        await self.membership.announce_widely()
        return received

    async def take_moments(
        self,
        into: Vector,
        *,
        lengths: Sequence[int],
        first: PeerId,
        taken: Callable[[int], Awaitable[None]],
    ) -> bool:
        """Takes over the second moments that a living peer keeps of its gradients. False where none of a few gives all
        of them, for which nobody waits: they are worth a better beginning and no more.

        lengths: of the fragments that come one after the other into the same memory. first: whom to ask first. taken:
        called with each fragment, before the next one is asked for.
        """
        asked = [first, *(peer for peer in sorted(self.membership.trainers()) if peer != first)][:MOST_ASKED]
        for fragment, length in enumerate(lengths):
            download = Download(self.admission, into[:length], fragment=fragment, moments=True)
            if await download.run(asked, most_steps=MAX_COUNT, failed=_note_missing) is None:
                return False
            await taken(fragment)
        return True

    async def leave(self) -> None:
        """Says goodbye, once the others have heard how the last round ended."""
        await self._averager.settle()
        await self.membership.say_goodbye(widely=not self.participation.ended_together)

    def _guarded(self, donate: Donate) -> Donate:
        """Who has not joined yet has nothing to give."""

        async def give(held: HeldAverage | None, fragment: int) -> Donation | None:
            return await donate(held, fragment) if self.membership.own.joined else None

        return give
