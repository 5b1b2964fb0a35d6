"""One question to a coordinator after the other: which group is this peer in?

Owns the protocol as the asking side sees it, and the judgement whether an answer can be: a group that holds this peer,
within the limits and led by right; a later round that can be believed. Does not know whom to ask, nor what follows from
an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from gossiptrain.core.grouping import LARGEST_GROUP
from gossiptrain.net.framing import receive_one_of, send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.coordinator import READY, Coordinator
from gossiptrain.swarm.membership import Life, Membership
from gossiptrain.swarm.messages import Assignment, NoGroup, Ready, Redirect, StaleRound, Waiting, Withdraw
from gossiptrain.swarm.pending_round import Answer


class GroupRequests:
    """Asks coordinators for this peer, one at a time."""

    def __init__(
        self, admission: Admission, membership: Membership, coordinator: Coordinator, *, minimum_members: int
    ) -> None:
        """coordinator: this peer's own, which knows the ranks of the others as this peer sees them."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._membership = membership
        self._coordinating = coordinator
        self._minimum_members = minimum_members
        self._withdrawn = asyncio.Event()
        self._broken_off: tuple[PeerId, float] | None = None
        """The coordinator that had not answered when the search was over, and for how long."""

    @property
    def withdrawn(self) -> bool:
        """Whether this peer wants no group any more."""
        return self._withdrawn.is_set()

    def begin(self) -> None:
        """This peer wants a group."""
        self._withdrawn.clear()
        self._broken_off = None

    def withdraw(self) -> None:
        """It wants none any more, and says so to whomever it is asking."""
        self._withdrawn.set()

    def stalling(self, *, patience_s: float) -> PeerId | None:
        """The coordinator that was being asked when the search was over, where it has let this peer wait for too long.

        An honest one answers, one way or the other, when the first that asked it has no patience left. One that still
        says "waiting" a good while after that would cost every round that it coordinates this much.
        """
        coordinator, waited_s = self._broken_off or (None, 0.0)
        # One that is silent is given up within that time; so this one has said something after its time was over.
        return coordinator if waited_s >= patience_s + self._longest_silence_s else None

    @property
    def _longest_silence_s(self) -> float:
        return self._admission.timing.probe_timeout_s + self._coordinating.keepalive_s

    async def ask(self, coordinator: PeerId, ready: Ready, *, but: Collection[Life]) -> Answer:
        """What becomes of this peer, once the coordinator or what is heard meanwhile says so.

        but: coordinators to which it is not sent on in this life of theirs. Raises ConnectionError or TimeoutError
        where the coordinator does not answer, or answers what cannot be.
        """
        async with self._clock.timeout(self._admission.opening_s(coordinator)):
            stream = await self._admission.stream(coordinator, READY)
        withdrawing: asyncio.Task[None] | None = None
        asked_s = self._clock.now()
        try:
            await send_message(stream, ready)
            asked_s = self._clock.now()
            withdrawing = asyncio.create_task(self._say_withdrawn(stream))
            while True:
                async with self._clock.timeout(self._longest_silence_s):
                    answer = await receive_one_of(stream, Waiting, Assignment, StaleRound, NoGroup, Redirect)
                if isinstance(answer, Assignment) and not self._is_sound(answer, ready, coordinator):
                    raise UnreachableError(f"{coordinator} gave out a group that cannot be")
                if isinstance(answer, Redirect) and ready.no_redirect:
                    raise UnreachableError(f"{coordinator} sends this peer on although it cannot go anywhere else")
                if isinstance(answer, StaleRound) and not self._can_follow(answer, ready):
                    raise UnreachableError(f"{coordinator} knows of a round that cannot be")
                if isinstance(answer, Answer):
                    return answer
                if better := self._outranks(coordinator, ready, but=but):
                    return Redirect(coordinator=better)
        except asyncio.CancelledError:
            self._broken_off = coordinator, self._clock.now() - asked_s
            raise
        finally:
            if withdrawing is not None:
                withdrawing.cancel()
            stream.abort()

    async def _say_withdrawn(self, stream: Stream) -> None:
        await self._withdrawn.wait()
        with contextlib.suppress(ConnectionError):
            await send_message(stream, Withdraw())

    def _can_follow(self, answer: StaleRound, ready: Ready) -> bool:
        return answer.round > ready.round and self._membership.believes(answer.round)

    def _is_sound(self, assignment: Assignment, ready: Ready, coordinator: PeerId) -> bool:
        members = list(map(PeerId, assignment.members))
        return (
            self._membership.me in members
            and assignment.round == ready.round
            and len(set(members)) == len(members) == len(assignment.samples) == len(assignment.speeds)
            and self._minimum_members <= len(members) <= LARGEST_GROUP
            and self._coordinating.ranks.are_fair(members, ready.round, coordinator=coordinator)
        )

    def _outranks(self, coordinator: PeerId, ready: Ready, *, but: Collection[Life]) -> PeerId | None:
        """A peer that should coordinate the round instead, by what this peer has heard meanwhile."""
        first = self._coordinating.first_in_rank(ready.round)
        if first == coordinator or self._membership.life_of(first) in but:
            return None
        ranked = self._coordinating.ranked([first, coordinator], ready.round)
        return first if ranked[0] == first else None
