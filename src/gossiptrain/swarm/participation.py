"""A peer's part in rounds: from the wish for one to what it made of it.

Owns the order in which a group is found and averages, and what is remembered from one round to the next: the group that
this peer was in last, and who did not do its part. Does not know how a group is found, nor how it averages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from gossiptrain.core.guards import is_finite
from gossiptrain.net.framing import Message
from gossiptrain.net.transport import Clock
from gossiptrain.swarm.averager import Averager
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.last_average import HeldAverage, LastAverage
from gossiptrain.swarm.matchmaking import A_ROUND, Aim, Matchmaker, Readiness
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.round import RoundResult


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


class Participation:
    """The rounds of one peer, one after the other."""

    def __init__(
        self,
        clock: Clock,
        membership: Membership,
        promises: Promises,
        matchmaker: Matchmaker,
        averager: Averager,
        *,
        last_average: LastAverage,
    ) -> None:
        self._clock = clock
        self._membership = membership
        self._promises = promises
        self._matchmaker = matchmaker
        self._averager = averager
        self._last_average = last_average
        self._last_group = ""

    async def average(self, buffers: Buffers, *, samples: int, aim: Aim = A_ROUND) -> AveragedRound | None:
        """One round: finds a group of peers that are ready now and averages with it.

        None where no group was found, or where the snapshot is not finite and therefore not shown to anyone.
        """
        if not is_finite(buffers.snapshot):
            return None
        started_s = self._clock.now()
        step = self._membership.own.step
        assignment = await self._matchmaker.find_group(
            Readiness(samples, self._last_group, aim, self._averager.speeds_seen)
        )
        if assignment is None:
            return None
        formation_seconds = self._clock.now() - started_s
        with self._last_average.written_over():
            result = await self._averager.average(assignment, buffers)
            if result.committed:
                self._last_group = assignment.round_id
                self._last_average.note(HeldAverage(result.digest, result.members, step, buffers.average))
        self._remember(result)
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
        async with self.finishing():
            return await self.average(buffers, samples=samples, aim=Aim("merge"))

    def stop_finding(self) -> None:
        """Ends the search for the group of a round, but not a round that has its group."""
        self._matchmaker.withdraw()

    @asynccontextmanager
    async def finishing(self) -> AsyncIterator[None]:
        """While it lasts this peer wants a round with everyone, and all others are told at once."""
        self._membership.describe(replace(self._membership.own, finishing=True, ready_in_s=0.0))
        telling = asyncio.create_task(self._membership.meet_everyone())
        try:
            yield
        finally:
            await telling
            self._membership.describe(replace(self._membership.own, finishing=False, ready_in_s=None))

    def _remember(self, result: RoundResult) -> None:
        """So that whoever did not answer, or did not do its part, does not cost the next rounds as much."""
        self._promises.broken_by(result.silent)
        self._promises.held_up_by(result.held_up)
        for peer in sorted(result.silent):
            self._membership.suspect(peer)
