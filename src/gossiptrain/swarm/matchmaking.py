"""How the peers that are ready now become groups.

Owns readiness and the organiser of each round. For every round the living peers rank themselves by (run, round,
seed); whoever comes first collects the ready ones and divides them, so that one round trip is enough when all are
ready. Nobody is a server: the organiser changes with every round, and the next in rank stands in for a dead one.
An organiser that meets a peer of higher rank sends its guests there. Two organisers at once, where peers see different
members, cost larger groups and nothing else. Does not know what a group does with itself.
"""

from __future__ import annotations

import asyncio
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
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.messages import Assignment, Elsewhere, NewerRound, NoGroup, Ready, Waiting
from gossiptrain.swarm.speeds import agreed_speeds

_logger = logging.getLogger(__package__)
READY = "/gossiptrain/ready"

ValueT = TypeVar("ValueT", bound=str)

Answer = Assignment | NoGroup | NewerRound | Elsewhere


@dataclass(frozen=True)
class Bringing:
    """What a peer tells its organiser of itself.

    samples: by which its contribution weighs, see `messages.Ready`. last_group: name of the one that it averaged in
    last. speeds: of the links of others, as `speeds` measures them. final: whether this is its last round.
    """

    samples: int
    last_group: str = ""
    final: bool = False
    speeds: Mapping[PeerId, float] = field(default_factory=dict)


@dataclass
class _Guest:
    ready: Ready
    answer: asyncio.Future[Answer]


@dataclass
class _Hall:
    """The ready peers of one round, at its organiser."""

    round: int
    opened_at: float
    guests: dict[PeerId, _Guest] = field(default_factory=dict)


class Matchmaker:
    """Finds a group for this peer, and for others whenever it is their organiser."""

    def __init__(self, door: Door, membership: Membership, *, settings: GossipSettings, rng: random.Random) -> None:
        self._door = door
        self._clock = door.transport.clock
        self._membership = membership
        self._settings = settings
        self._limits = GroupLimits(settings.gossip_min_group_size, settings.gossip_group_size)
        self._rng = rng
        self._halls: dict[int, _Hall] = {}
        self._left_out = False

    async def open(self) -> None:
        """From now on organises when asked."""
        await self._door.serve(READY, self._serve)

    async def find_group(self, bringing: Bringing) -> Assignment | None:
        """A group of peers that are ready now, this one included; None where there is none in `matchmaking_time`."""
        sent_to: PeerId | None = None
        insist = False
        try:
            async with self._clock.timeout(self._settings.matchmaking_time + self._door.timing.dial_timeout_s):
                while len(self._membership.trainers()) >= self._limits.minimum:
                    ready = Ready(
                        round=self._membership.round,
                        samples=bringing.samples,
                        urgent=self._left_out,
                        codec=self._settings.codec,
                        last_group=bringing.last_group,
                        final=bringing.final,
                        speeds={str(peer): speed for peer, speed in bringing.speeds.items()},
                        insist=insist,
                    )
                    answer = await self._ask_organiser(sent_to or self._organiser(ready.round), ready)
                    if isinstance(answer, Assignment):
                        self._left_out = False
                        self._membership.reach_round(answer.round + 1)
                        return answer
                    if isinstance(answer, NoGroup):
                        self._left_out = answer.left_out
                        return None
                    insist = insist or (answer is None and sent_to is not None)
                    sent_to = None
                    if isinstance(answer, Elsewhere):
                        # Whoever this peer has just found dead, it does not try again on another's word.
                        insist = insist or self._membership.has_lost(PeerId(answer.organiser))
                        sent_to = None if insist else PeerId(answer.organiser)
        except TimeoutError:
            pass
        return None

    def _organiser(self, round_number: int) -> PeerId:
        """Who organises a round, as far as this peer can see."""
        run, seed = self._door.fingerprint.key, self._settings.seed
        return PeerId(organisers(self._membership.trainers(), run=run, round_number=round_number, seed=seed)[0])

    async def _ask_organiser(self, organiser: PeerId, ready: Ready) -> Answer | None:
        """One attempt; None where the organiser did not answer and another one has to be asked."""
        if organiser == self._membership.me:
            return await self._wait_in_hall(organiser, ready, stream=None)
        try:
            answer = await self._ask(organiser, ready)
        except (ConnectionError, TimeoutError) as error:
            _logger.info("the organiser %s gave no group: %r", organiser, error)
            self._membership.suspect(organiser)
            return None
        if isinstance(answer, NewerRound):
            self._membership.reach_round(answer.round)
        return answer

    async def _ask(self, organiser: PeerId, ready: Ready) -> Answer:
        timing = self._door.timing
        async with self._clock.timeout(timing.dial_timeout_s):
            stream = await self._door.stream(organiser, READY)
        try:
            await send_message(stream, ready)
            while True:
                async with self._clock.timeout(timing.probe_timeout_s + self._keepalive_s):
                    answer = await receive_one_of(stream, Waiting, Assignment, NewerRound, NoGroup, Elsewhere)
                if isinstance(answer, Assignment) and not self._is_sound(answer):
                    raise UnreachableError(f"{organiser} gave out a group that cannot be")
                if isinstance(answer, Answer):
                    return answer
        finally:
            stream.abort()

    def _is_sound(self, assignment: Assignment) -> bool:
        members = assignment.members
        return (
            self._membership.me in members
            and len(set(members)) == len(members) == len(assignment.samples) == len(assignment.speeds)
            and self._limits.minimum <= len(members) <= limits_for("all", self._limits).maximum
        )

    async def _serve(self, stream: Stream) -> None:
        async with self._clock.timeout(self._door.timing.dial_timeout_s):
            ready = await receive_message(stream, Ready)
        answer = await self._wait_in_hall(stream.remote, ready, stream=stream)
        await send_message(stream, answer)

    @property
    def _keepalive_s(self) -> float:
        return self._door.timing.probe_timeout_s / 2

    async def _wait_in_hall(self, peer: PeerId, ready: Ready, *, stream: Stream | None) -> Answer:
        if ready.round < self._membership.own.round:
            return NewerRound(round=self._membership.own.round)
        self._membership.reach_round(ready.round)
        hall = self._halls.setdefault(ready.round, _Hall(ready.round, self._clock.now()))
        guest = _Guest(ready, asyncio.get_running_loop().create_future())
        hall.guests[peer] = guest
        try:
            while not guest.answer.done():
                if ready.round < self._membership.round:
                    # A newcomer that begins with an old number hears only now how far the others are.
                    return NewerRound(round=self._membership.round)
                organiser = self._organiser(ready.round)
                if organiser not in (self._membership.me, peer) and not ready.insist:
                    return Elsewhere(organiser=organiser)
                self._consider(hall)
                until_deadline_s = max(0.0, hall.opened_at + self._settings.matchmaking_time - self._clock.now())
                await asyncio.wait([guest.answer], timeout=min(self._keepalive_s, until_deadline_s))
                if stream is not None and not guest.answer.done():
                    await send_message(stream, Waiting())
            return guest.answer.result()
        finally:
            if hall.guests.get(peer) is guest:
                del hall.guests[peer]
                if not hall.guests:
                    self._halls.pop(hall.round, None)

    def _consider(self, hall: _Hall) -> None:
        """Forms the groups as soon as nobody is worth waiting for, or the time for waiting is over."""
        remaining_s = hall.opened_at + self._settings.matchmaking_time - self._clock.now()
        if len(self._membership.trainers() | hall.guests.keys()) < self._limits.minimum:
            remaining_s = 0.0
        if remaining_s > 0 and (len(hall.guests) < self._limits.minimum or self._expected(hall, remaining_s)):
            return
        self._dismiss(hall)

    def _expected(self, hall: _Hall, remaining_s: float) -> bool:
        """Whether a peer that is not here yet should be ready in time. One that wants to merge makes all others so."""
        heartbeats = self._membership.live().values()
        merging = self._membership.own.finishing or any(heartbeat.finishing for heartbeat in heartbeats)
        for peer in self._membership.trainers() - hall.guests.keys():
            ready_in_s = self._membership.ready_in_s(PeerId(peer))
            if ready_in_s is not None and (merging or ready_in_s <= remaining_s):
                return True
        return False

    def _dismiss(self, hall: _Hall) -> None:
        self._halls.pop(hall.round, None)
        guests, hall.guests = hall.guests, {}
        # Who merges for the last time merges with everyone, so that all who end together end with one model.
        merging = any(guest.ready.final for guest in guests.values())
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
            members = [PeerId(peer) for peer in group]
            readies = [guests[peer].ready for peer in members]
            assignment = Assignment(
                round_id=f"{self._rng.getrandbits(128):032x}",
                round=hall.round,
                members=group,
                samples=tuple(ready.samples for ready in readies),
                speeds=agreed_speeds(members, {peer: _seen(guests[peer].ready) for peer in members}),
                codec=_common([ready.codec for ready in readies]) or "fp32",
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
