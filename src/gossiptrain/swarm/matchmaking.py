"""How the peers that are ready now become groups.

Owns readiness and the organiser of each round. For every round the living peers rank themselves by (run, round,
seed); whoever comes first collects the ready ones and divides them, so that one round trip is enough when all are
ready. Nobody is a server: the organiser changes with every round, and the next in rank stands in for a dead one.
An organiser that meets a peer of higher rank sends its guests there; one that misses somebody asks that peer for its
view, so that two organisers of one round, where peers see different members, soon become one. Who said it was ready and
does not come is waited for a little, once. Does not know what a group does with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gossiptrain.config import GossipSettings
from gossiptrain.core.grouping import GroupLimits, form_groups, limits_for, organisers
from gossiptrain.net.framing import receive_message, receive_one_of, send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.membership import Membership, Outlook
from gossiptrain.swarm.messages import (
    MAX_MEMBERS,
    Assignment,
    Elsewhere,
    NewerRound,
    NoGroup,
    Purpose,
    Ready,
    Waiting,
    Withdraw,
)
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.speeds import agreed_speeds

_logger = logging.getLogger(__package__)
READY = "/gossiptrain/ready"
MAX_REDIRECTS = 3
"""A peer that was sent on so often for one round stays where it is."""
FREE_TRIES = 4
"""Questions of one search for a group before it pauses between them."""

ValueT = TypeVar("ValueT", bound=str)

Answer = Assignment | NoGroup | NewerRound | Elsewhere


@dataclass(frozen=True)
class Aim:
    """What a peer wants of a group, see `messages.Ready`. patience_s None: as long as the settings say."""

    purpose: Purpose = "round"
    follow_up: bool = False
    patience_s: float | None = None


A_ROUND = Aim()
"""One of many."""


@dataclass(frozen=True)
class Bringing:
    """What a peer tells its organiser of itself.

    samples: by which its contribution weighs, see `messages.Ready`. last_group: name of the one that it averaged in
    last. speeds: of the links of others, as `speeds` measures them. aim: what it wants of the group.
    """

    samples: int
    last_group: str = ""
    aim: Aim = A_ROUND
    speeds: Mapping[PeerId, float] = field(default_factory=dict)


@dataclass
class _Guest:
    ready: Ready
    leaves_at: float
    """When its patience for stragglers is over."""
    answer: asyncio.Future[Answer]


@dataclass
class _Hall:
    """The ready peers of one round, at its organiser."""

    round: int
    guests: dict[PeerId, _Guest] = field(default_factory=dict)
    due_s: dict[PeerId, float] = field(default_factory=dict)
    """Since when peers that are not here should be, by what they said."""
    meetings: dict[PeerId, asyncio.Task[None]] = field(default_factory=dict)
    """Peers that were asked why they do not come."""
    missed: set[PeerId] = field(default_factory=set)
    """Who is not waited for any more."""
    silent: set[PeerId] = field(default_factory=set)
    """Those of them that did not answer either."""

    @property
    def deadline(self) -> float:
        """When the first of them will not wait any longer."""
        return min(guest.leaves_at for guest in self.guests.values())

    @property
    def ends(self) -> bool:
        """Whether somebody is here that has made its last step."""
        return any(guest.ready.purpose == "end" for guest in self.guests.values())

    @property
    def merges(self) -> bool:
        """Whether somebody is here that wants everyone."""
        return any(guest.ready.purpose != "round" for guest in self.guests.values())

    def close(self) -> None:
        """Nobody is waited for any more."""
        for meeting in self.meetings.values():
            meeting.cancel()


@dataclass
class _Search:
    """The course of one search for a group."""

    tries: int = 0
    redirects: int = 0
    sent_to: PeerId | None = None
    insist: bool = False
    silent: set[PeerId] = field(default_factory=set)
    """Organisers that did not answer, or whose answers led nowhere."""


class Matchmaker:
    """Finds a group for this peer, and for others whenever it is their organiser."""

    def __init__(
        self,
        door: Door,
        membership: Membership,
        *,
        settings: GossipSettings,
        rng: random.Random,
        promises: Promises,
    ) -> None:
        self._door = door
        self._clock = door.transport.clock
        self._promises = promises
        self._membership = membership
        self._settings = settings
        self._limits = GroupLimits(settings.gossip_min_group_size, settings.gossip_group_size)
        self._rng = rng
        self._halls: dict[int, _Hall] = {}
        self._withdrawn = asyncio.Event()
        self._left_out = False

    async def open(self) -> None:
        """From now on organises when asked."""
        await self._door.serve(READY, self._serve)

    async def find_group(self, bringing: Bringing) -> Assignment | None:
        """A group of peers that are ready now, this one included; None where there is none in time."""
        search = _Search()
        self._withdrawn.clear()
        self._promises.kept_by(self._not_ready())
        try:
            async with self._clock.timeout(self._patience_s(bringing) + self._door.timing.dial_timeout_s):
                while len(self._membership.trainers()) >= self._limits.minimum and self._is_wanted(bringing.aim):
                    await self._pause(search)
                    ready = self._ready(bringing, insist=search.insist)
                    organiser = search.sent_to or self._organiser(ready.round)
                    answer = await self._ask_organiser(organiser, ready, search.silent)
                    if isinstance(answer, Assignment):
                        self._take(answer)
                        return answer
                    if isinstance(answer, NoGroup):
                        self._left_out = answer.left_out
                        return None
                    self._go_on(search, organiser, answer)
        except TimeoutError:
            pass
        return None

    def withdraw(self) -> None:
        """Ends a search that is under way, unless it has found a group already: the others count on this peer then."""
        self._withdrawn.set()
        for hall in tuple(self._halls.values()):
            self._let_go(hall, self._membership.me)

    def _is_wanted(self, aim: Aim) -> bool:
        """Whether the search is to go on; who has made its last step wants no ordinary round any more."""
        has_ended = self._membership.own.ends_in_s == 0
        return not self._withdrawn.is_set() and (aim.purpose == "end" or not has_ended)

    def _patience_s(self, bringing: Bringing) -> float:
        asked_s = bringing.aim.patience_s
        return self._settings.matchmaking_time if asked_s is None else asked_s

    def _not_ready(self) -> list[str]:
        """Peers that say now that they are not ready; what they say next is a new promise."""
        return [peer for peer, outlook in self._membership.outlooks().items() if outlook.ready_in_s != 0]

    def _ready(self, bringing: Bringing, *, insist: bool) -> Ready:
        return Ready(
            round=self._membership.round,
            samples=bringing.samples,
            urgent=self._left_out,
            codec=self._settings.codec,
            last_group=bringing.last_group,
            purpose=bringing.aim.purpose,
            follow_up=bringing.aim.follow_up,
            patience_s=self._patience_s(bringing),
            speeds={str(peer): speed for peer, speed in bringing.speeds.items()},
            insist=insist,
        )

    def _take(self, assignment: Assignment) -> None:
        self._left_out = False
        self._promises.broken_by(set(assignment.missed) - {self._membership.me})
        self._promises.kept_by(assignment.members)
        for peer in map(PeerId, assignment.silent):
            self._membership.suspect(peer)
        self._membership.reach_round(assignment.round + 1)

    async def _pause(self, search: _Search) -> None:
        """Whatever others answer, this peer does not ask without end and without a pause."""
        search.tries += 1
        if search.tries > FREE_TRIES:
            await self._clock.sleep(self._door.timing.probe_timeout_s / 10)

    def _go_on(self, search: _Search, asked: PeerId, answer: NewerRound | Elsewhere | None) -> None:
        """Whom to ask next, after an answer without a group."""
        if answer is None:
            search.silent.add(asked)
            search.insist = search.insist or search.sent_to is not None
        search.sent_to = None
        if isinstance(answer, Elsewhere):
            search.redirects += 1
            # Whoever this peer has just found dead, it does not try again on another's word.
            lost = self._membership.has_lost(PeerId(answer.organiser))
            search.insist = search.insist or lost or search.redirects > MAX_REDIRECTS
            search.sent_to = None if search.insist else PeerId(answer.organiser)

    def _organiser(self, round_number: int) -> PeerId:
        """Who organises a round, as far as this peer can see."""
        run, seed = self._door.fingerprint.key, self._settings.seed
        ranked = organisers(self._membership.trainers(), run=run, round_number=round_number, seed=seed)
        return PeerId(ranked[0])

    def _outranks(self, organiser: PeerId, ready: Ready, *, but: set[PeerId]) -> PeerId | None:
        """A peer that should organise the round instead, by what this peer has heard meanwhile."""
        first = self._organiser(ready.round)
        if first == organiser or first in but:
            return None
        run, seed = self._door.fingerprint.key, self._settings.seed
        ranked = organisers([first, organiser], run=run, round_number=ready.round, seed=seed)
        return first if ranked[0] == first else None

    async def _ask_organiser(self, organiser: PeerId, ready: Ready, silent: set[PeerId]) -> Answer | None:
        """One attempt; None where the organiser did not answer and another one has to be asked."""
        if organiser == self._membership.me:
            return await self._wait_in_hall(organiser, ready, stream=None)
        try:
            answer = await self._ask(organiser, ready, silent)
        except (ConnectionError, TimeoutError) as error:
            _logger.info("the organiser %s gave no group: %r", organiser, error)
            self._membership.suspect(organiser)
            return None
        if isinstance(answer, NewerRound):
            if answer.round <= ready.round:
                self._membership.suspect(organiser)
                return None
            self._membership.reach_round(answer.round)
        return answer

    async def _ask(self, organiser: PeerId, ready: Ready, silent: set[PeerId]) -> Answer:
        timing = self._door.timing
        within_s = 2 * timing.probe_timeout_s if self._door.has_met(organiser) else timing.dial_timeout_s
        async with self._clock.timeout(within_s):
            stream = await self._door.stream(organiser, READY)
        withdrawing: asyncio.Task[None] | None = None
        try:
            await send_message(stream, ready)
            withdrawing = asyncio.create_task(self._say_withdrawn(stream))
            while True:
                async with self._clock.timeout(timing.probe_timeout_s + self._keepalive_s):
                    answer = await receive_one_of(stream, Waiting, Assignment, NewerRound, NoGroup, Elsewhere)
                if isinstance(answer, Assignment) and not self._is_sound(answer, ready):
                    raise UnreachableError(f"{organiser} gave out a group that cannot be")
                if isinstance(answer, Elsewhere) and ready.insist:
                    raise UnreachableError(f"{organiser} sends this peer on although it cannot go anywhere else")
                if isinstance(answer, NewerRound) and not self._can_follow(answer, ready):
                    raise UnreachableError(f"{organiser} knows of a round that cannot be")
                if isinstance(answer, Answer):
                    return answer
                if better := self._outranks(organiser, ready, but=silent):
                    return Elsewhere(organiser=better)
        finally:
            if withdrawing is not None:
                withdrawing.cancel()
            stream.abort()

    async def _say_withdrawn(self, stream: Stream) -> None:
        await self._withdrawn.wait()
        with contextlib.suppress(ConnectionError):
            await send_message(stream, Withdraw())

    def _can_follow(self, answer: NewerRound, ready: Ready) -> bool:
        return answer.round > ready.round and self._membership.believes(answer.round)

    def _is_sound(self, assignment: Assignment, ready: Ready) -> bool:
        members = assignment.members
        return (
            self._membership.me in members
            and assignment.round == ready.round
            and len(set(members)) == len(members) == len(assignment.samples) == len(assignment.speeds)
            and self._limits.minimum <= len(members) <= limits_for("all", self._limits).maximum
        )

    async def _serve(self, stream: Stream) -> None:
        async with self._clock.timeout(self._door.timing.dial_timeout_s):
            ready = await receive_message(stream, Ready)
        if not self._membership.believes(ready.round):
            stream.abort()
            return
        withdrawing = asyncio.create_task(self._hear_withdrawal(stream, ready.round))
        try:
            answer = await self._wait_in_hall(stream.remote, ready, stream=stream)
        finally:
            withdrawing.cancel()
        await send_message(stream, answer)

    async def _hear_withdrawal(self, stream: Stream, round_number: int) -> None:
        with contextlib.suppress(ConnectionError):
            await receive_message(stream, Withdraw)
            if hall := self._halls.get(round_number):
                self._let_go(hall, stream.remote)

    def _let_go(self, hall: _Hall, peer: PeerId) -> None:
        """Takes out a peer that wants no group any more."""
        guest = hall.guests.pop(peer, None)
        if guest is not None:
            _answer(guest, NoGroup(left_out=False))
            if not hall.guests:
                self._close(hall)

    @property
    def _keepalive_s(self) -> float:
        return self._door.timing.probe_timeout_s / 2

    @property
    def _tick_s(self) -> float:
        """How often an organiser looks whom it still waits for."""
        return min(self._keepalive_s, self._door.timing.heartbeat_s / 2)

    async def _wait_in_hall(self, peer: PeerId, ready: Ready, *, stream: Stream | None) -> Answer:
        if ready.round < self._membership.own.round:
            return NewerRound(round=self._membership.own.round)
        self._membership.reach_round(ready.round)
        hall = self._halls.setdefault(ready.round, _Hall(ready.round))
        guest = _Guest(ready, self._clock.now() + ready.patience_s, asyncio.get_running_loop().create_future())
        hall.guests[peer] = guest
        self._promises.kept_by([peer])
        try:
            while not guest.answer.done():
                if ready.round < self._membership.round:
                    # A newcomer that begins with an old number hears only now how far the others are.
                    return NewerRound(round=self._membership.round)
                organiser = self._organiser(ready.round)
                if organiser not in (self._membership.me, peer) and not ready.insist:
                    return Elsewhere(organiser=organiser)
                self._consider(hall)
                if not guest.answer.done():
                    until_deadline_s = max(0.0, hall.deadline - self._clock.now())
                    await asyncio.wait([guest.answer], timeout=min(self._tick_s, until_deadline_s))
                if stream is not None and not guest.answer.done():
                    await send_message(stream, Waiting())
            return guest.answer.result()
        finally:
            if hall.guests.get(peer) is guest:
                del hall.guests[peer]
                if not hall.guests:
                    self._close(hall)

    def _close(self, hall: _Hall) -> None:
        hall.close()
        if self._halls.get(hall.round) is hall:
            del self._halls[hall.round]

    def _consider(self, hall: _Hall) -> None:
        """Forms the groups as soon as nobody is worth waiting for, or the time for waiting is over."""
        remaining_s = hall.deadline - self._clock.now()
        if len(self._available(hall) | hall.guests.keys()) < self._limits.minimum:
            remaining_s = 0.0
        if remaining_s > 0 and (len(hall.guests) < self._limits.minimum or self._expected(hall, remaining_s)):
            return
        self._dismiss(hall)

    def _available(self, hall: _Hall) -> set[PeerId]:
        """Who may come at all. A peer that has ended waits until it, or another one that has, wants to merge."""
        outlooks = self._membership.outlooks()
        return {peer for peer, outlook in outlooks.items() if hall.ends or outlook.finishing or not outlook.ended}

    def _expected(self, hall: _Hall, remaining_s: float) -> bool:
        """Whether a peer that is not here yet should come in time. One that wants everyone makes all others ready."""
        outlooks = self._membership.outlooks()
        everyone = hall.merges or any(self._finishes(peer, outlook) for peer, outlook in outlooks.items())
        found = False
        for peer in outlooks.keys() - hall.guests.keys():
            outlook = outlooks[peer]
            if outlook.ended and (hall.ends or outlook.finishing):
                found = self._is_awaited(hall, peer, 0.0, as_long_as_it_answers=True) or found
            elif (
                not outlook.ended and outlook.ready_in_s is not None and (everyone or outlook.ready_in_s <= remaining_s)
            ):
                found = self._is_awaited(hall, peer, outlook.ready_in_s) or found
            else:
                hall.due_s.pop(peer, None)
                self._promises.kept_by([peer])
        return found

    def _finishes(self, peer: PeerId, outlook: Outlook) -> bool:
        return outlook.finishing and (peer == self._membership.me or self._promises.is_worth_waiting_for(peer))

    def _is_awaited(self, hall: _Hall, peer: PeerId, ready_in_s: float, *, as_long_as_it_answers: bool = False) -> bool:
        """Whether a peer that has promised to come is still worth waiting for; it is asked once where it is late."""
        if ready_in_s > 0:
            hall.due_s.pop(peer, None)
            self._promises.kept_by([peer])
            return True
        if peer in hall.missed or not self._promises.is_worth_waiting_for(peer):
            return False
        timing = self._door.timing
        late_s = self._clock.now() - hall.due_s.setdefault(peer, self._clock.now())
        if late_s >= timing.heartbeat_s and peer not in hall.meetings and peer != self._membership.me:
            hall.meetings[peer] = asyncio.create_task(self._ask_for_view(hall, peer))
        if late_s >= 2 * timing.heartbeat_s + timing.dial_timeout_s and not as_long_as_it_answers:
            hall.missed.add(peer)
        return peer not in hall.missed

    async def _ask_for_view(self, hall: _Hall, peer: PeerId) -> None:
        """Afterwards both know the same peers, and so the same organiser; and this one how soon the other is ready."""
        if not await self._membership.meet(peer):
            hall.missed.add(peer)
            hall.silent.add(peer)

    def _dismiss(self, hall: _Hall) -> None:
        self._close(hall)
        missed = [peer for peer in hall.due_s if peer not in hall.guests]
        self._promises.broken_by(missed)
        guests, hall.guests = hall.guests, {}
        # Who merges for the last time merges with everyone, so that all who end together end with one model.
        merging = any(guest.ready.purpose != "round" for guest in guests.values())
        how = "all" if merging else self._settings.grouping
        grouping = form_groups(
            guests,
            limits=limits_for(how, self._limits),
            run=self._door.fingerprint.key,
            round_number=hall.round,
            seed=self._settings.seed,
            urgent=[peer for peer, guest in guests.items() if guest.ready.urgent],
            grouping=how,
            last_groups={peer: guest.ready.last_group for peer, guest in guests.items()},
        )
        _logger.info("round %d: groups %s, left out %s", hall.round, grouping.groups, grouping.left_out)
        for group in grouping.groups:
            # Who has held a round up does not lead one.
            members = self._promises.in_order([PeerId(peer) for peer in group])
            readies = [guests[peer].ready for peer in members]
            assignment = Assignment(
                round_id=f"{self._rng.getrandbits(128):032x}",
                round=hall.round,
                members=members,
                samples=tuple(ready.samples for ready in readies),
                speeds=agreed_speeds(members, {peer: _seen(guests[peer].ready) for peer in members}),
                codec=_common([ready.codec for ready in readies]) or "fp32",
                missed=tuple(missed[:MAX_MEMBERS]),
                final=all(ready.purpose == "end" for ready in readies),
                follow_up=all(ready.follow_up for ready in readies),
                silent=tuple(sorted(hall.silent)[:MAX_MEMBERS]),
            )
            for member in members:
                _answer(guests[member], assignment)
        for peer in grouping.left_out:
            _answer(guests[PeerId(peer)], NoGroup(left_out=bool(grouping.groups)))
        if grouping.groups:
            self._membership.reach_round(hall.round + 1)


def _answer(guest: _Guest, answer: Answer) -> None:
    if not guest.answer.done():
        guest.answer.set_result(answer)


def _seen(ready: Ready) -> dict[PeerId, float]:
    return {PeerId(peer): speed for peer, speed in ready.speeds.items()}


def _common(values: Sequence[ValueT]) -> ValueT | None:
    """What all of them are, or None."""
    return values[0] if len(set(values)) == 1 else None
