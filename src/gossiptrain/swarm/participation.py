"""A peer's part in rounds, the last one too: from the wish for one to what it made of it.

Owns the order in which a group is found and averages, what is remembered from one round to the next, which is the group
that this peer was in last and who did not do its part, and the steps after the last step of training. Does not know how
a group is found, how it averages, nor how long others are worth waiting for at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from gossiptrain.core.guards import is_sound
from gossiptrain.net.framing import Message
from gossiptrain.net.transport import Clock, PeerId
from gossiptrain.swarm.averager import Averager, Part
from gossiptrain.swarm.ending import EndingBarrier, Farewell
from gossiptrain.swarm.fragments import Contributions, carried, part_id, together
from gossiptrain.swarm.last_average import HeldAverage, LastAverage
from gossiptrain.swarm.matchmaking import A_ROUND, Aim, Matchmaker, Readiness
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.messages import Assignment
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
        matchmaker: Matchmaker,
        averager: Averager,
        *,
        run_key: str,
        promises: Promises,
        barrier: EndingBarrier,
        minimum_members: int,
        last_average: LastAverage,
    ) -> None:
        """barrier: where this peer waits for others after its last step."""
        self._clock = clock
        self._membership = membership
        self._matchmaker = matchmaker
        self._averager = averager
        self._run_key = run_key
        self._promises = promises
        self._barrier = barrier
        self._minimum_members = minimum_members
        self._last_average = last_average
        self._last_group = ""
        self.ended_together = False
        """Whether all that are there have made their last round with this peer: they leave as well."""

    async def average(self, own: Contributions, *, samples: int, aim: Aim = A_ROUND) -> AveragedRound | None:
        """One round: finds a group of peers that are ready now and averages with it.

        None where no group was found, or where the snapshot is not finite and therefore not shown to anyone. Where it
        committed, the average of the fragment that was carried last is in the buffers.
        """
        if not is_sound(own.buffers.snapshot):
            return None
        started_s = self._clock.now()
        step = self._membership.own.step
        assignment = await self._matchmaker.find_group(
            Readiness(samples, self._last_group, aim, self._averager.speeds_seen)
        )
        if assignment is None:
            return None
        if aim.purpose == "merge":
            # What it asked for it has; who asks again does so for a later round.
            self._membership.describe(replace(self._membership.own, finishing=False))
        own.found()
        formation_seconds = self._clock.now() - started_s
        with self._last_average.written_over():
            result = await self._average_parts(assignment, own)
            if result.committed:
                self._last_group = assignment.round_id
                if own.fragments.count == 1:
                    self._last_average.note(HeldAverage(result.digest, result.members, step, own.buffers.average))
        self._remember(result)
        return AveragedRound(
            number=assignment.round,
            formation_seconds=formation_seconds,
            samples=assignment.samples,
            result=result,
            final=assignment.final,
            follow_up=assignment.follow_up,
        )

    async def _average_parts(self, assignment: Assignment, own: Contributions) -> RoundResult:
        """One fragment after the other, each among those that have committed the one before."""
        parts = carried(assignment, own.fragments, run_key=self._run_key)
        results: list[RoundResult] = []
        members = tuple(map(PeerId, assignment.members))
        for number in parts:
            if number != own.number and not await _brings(own, number, assignment, averaged=bool(results)):
                results.append(RoundResult.abandoned(members, "this peer had nothing to bring in time"))
                break
            result = await self._averager.average(
                assignment, own.buffers, part=Part(part_id(assignment, number, parts), number, members)
            )
            results.append(result)
            members = result.members
            if not result.committed:
                break
        return together(results, [own.fragments.lengths[number] for number in parts])

    async def merge(self, own: Contributions, *, samples: int) -> AveragedRound | None:
        """One round with everyone that is there; others become ready for it at once."""
        async with self._finishing(widely=True):
            return await self.average(own, samples=samples, aim=Aim("merge"))

    async def end(self, own: Contributions, *, samples: int, farewell: Farewell) -> AveragedRound | None:
        """After the last step: waits for others that end as well, and makes one last round with all of them.

        Where it is `ended` afterwards this peer may leave; else others have ended that were not in it, or are about to.
        """
        began_s = self._clock.now()
        await self.say_ended()
        if len(self._membership.trainers()) < self._minimum_members:
            return None
        all_have_ended = await self._barrier.wait(farewell.grace)
        # Where all have ended, all are about to ask for that round, whether they have heard of this or not.
        async with self._finishing(widely=not all_have_ended):
            aim = Aim("end", farewell.follow_up, farewell.patience_s)
            averaged = await self.average(own, samples=samples, aim=aim)
        if averaged is None or not averaged.result.committed:
            return averaged
        self._barrier.note_round(averaged.result.members, final=averaged.final)
        # A member that still trained may end in the very next moment, with more than it brought to this round.
        nobody_slipped_in = averaged.final or not all_have_ended
        all_were_in_it = nobody_slipped_in and self._membership.ended() <= set(averaged.result.members)
        # Somebody else's grace may have been over long before this peer's.
        left = farewell.grace.after(self._clock.now() - began_s)
        self.ended_together = all_were_in_it and not self._barrier.expects_others(left)
        return averaged.model_copy(update={"ended": self.ended_together})

    def hasten(self) -> None:
        """Ends the waiting for others of an `end` that is under way."""
        self._barrier.hasten()

    async def say_ended(self) -> None:
        """Lets the others know at once that this peer has made its last step, where it has not said so already."""
        own = self._membership.own
        if own.ends_in_s != 0:
            self._membership.describe(replace(own, ends_in_s=0.0, ready_in_s=None))
            await self._membership.announce_widely()

    def stop_finding(self) -> None:
        """Ends the search for the group of a round, but not a round that has its group."""
        self._matchmaker.withdraw()

    @asynccontextmanager
    async def _finishing(self, *, widely: bool) -> AsyncIterator[None]:
        """While it lasts this peer wants a round with everyone, and others are told at once: many, or a few."""
        membership = self._membership
        membership.describe(replace(membership.own, finishing=True, ready_in_s=0.0))
        telling = asyncio.create_task(membership.announce_widely() if widely else membership.announce())
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


async def _brings(own: Contributions, number: int, assignment: Assignment, *, averaged: bool) -> bool:
    return await own.bring(number, assignment, averaged=averaged) and is_sound(own.buffers.snapshot)
