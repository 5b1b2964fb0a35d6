"""Who is there: soft state that every peer holds for itself.

Owns heartbeats, their spreading and their expiry. Every heartbeat is signed by the peer it speaks of, so it may be
passed on by anyone. A peer counts as alive once this one has heard it itself, having reached it or been reached by it;
from then on it lives while its counter is seen to grow within `lifetime_s`, on the observer's own clock, whoever passes
its heartbeats on. Does not know how members are first found, nor what they do together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from gossiptrain.core.recent import Recent
from gossiptrain.net.framing import (
    MESSAGE_LIMIT_BYTES,
    decode_message,
    encode_message,
    receive_message,
    send_message,
)
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.candidates import Candidates
from gossiptrain.swarm.intake import as_count, as_seconds, farthest_round, records_that_fit, tellable_addresses
from gossiptrain.swarm.messages import BEATS_LIMIT_BYTES, Heartbeat, HeartbeatBatch, SignedHeartbeat

_logger = logging.getLogger(__package__)
HEARTBEATS = "/gossiptrain/heartbeats"
FANOUT = 3
"""Peers that hear from this one directly in each period; the others hear through them, in about log(N) periods."""
MAX_KNOWN = 1024
"""Members that are remembered, living or not."""
MAX_SEEN = 4096
MAX_TRIES = 8
"""Peers that are only heard of, of which so many are tried at once."""

ResultT = TypeVar("ResultT")
Change = Literal["joined", "moved", "left", "lost", "finishing"]


@dataclass
class _Member:
    heartbeat: Heartbeat
    record: SignedHeartbeat
    advanced_at_s: float
    met_at: float
    """When the peer itself was last heard."""
    live: bool
    times_told: int = 0
    """How often this heartbeat was passed on."""


@dataclass(frozen=True)
class OwnState:
    """What this peer tells others of itself."""

    round: int = 0
    step: int = 0
    ready_in_s: float | None = None
    joined: bool = True
    finishing: bool = False
    ends_in_s: float | None = None


@dataclass(frozen=True)
class Outlook:
    """What a trainer has said of the rounds to come.

    ready_in_s: None where it cannot say. ends_in_s: until it has made its last step; None where it cannot say, 0.0
    where it is late. ended: whether it has made it; it then comes to a round only where it, or another one that has
    ended, is `finishing`, which is to want one with everyone.
    """

    ready_in_s: float | None
    ends_in_s: float | None
    ended: bool
    finishing: bool


class Membership:
    """The members that this peer believes to be alive, itself included."""

    def __init__(
        self,
        admission: Admission,
        *,
        rng: random.Random,
        incarnation: int,
        role: Literal["trainer", "observer"] = "trainer",
        on_change: Callable[[Change, PeerId], None] = lambda change, peer: None,
    ) -> None:
        self._admission = admission
        self._transport = admission.transport
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._rng = rng
        self._incarnation = incarnation
        self._role: Literal["trainer", "observer"] = role
        self._on_change = on_change
        self._members: dict[PeerId, _Member] = {}
        self._run_key = admission.fingerprint.key
        self._seen: Recent[str, PeerId] = Recent(MAX_SEEN)
        """Signatures of the records that were checked last, of which the same ones come again and again, and whose."""
        self._candidates = Candidates(
            rng, period_s=admission.timing.heartbeat_s, lifetime_s=admission.timing.lifetime_s
        )
        self._counter = 0
        self._leaving = False
        self._own = OwnState()
        self._own_record = self._sign()
        self._changed = asyncio.Event()

    @property
    def me(self) -> PeerId:
        """This peer."""
        return self._transport.peer_id

    async def open(self) -> None:
        """From now on takes in the heartbeats that others pass on."""
        await self._admission.serve(HEARTBEATS, self._receive)

    def live(self) -> dict[PeerId, Heartbeat]:
        """The others that live, by peer."""
        return {peer: member.heartbeat for peer, member in self._members.items() if member.live}

    def trainers(self) -> set[PeerId]:
        """All living peers that hold the swarm's parameters, with this one if it does: any may coordinate a round."""
        found = {peer for peer, heartbeat in self.live().items() if _trains(heartbeat)}
        return found | {self.me} if self._role == "trainer" and self._own.joined else found

    def outlooks(self) -> dict[PeerId, Outlook]:
        """What is to be expected of each of the trainers, as of now; in the same order in every run."""
        return {peer: self._outlook(peer) for peer in sorted(self.trainers())}

    def _outlook(self, peer: PeerId) -> Outlook:
        said: Heartbeat | OwnState = self._own
        age_s = 0.0
        if peer != self.me:
            member = self._members[peer]
            said, age_s = member.heartbeat, self._clock.now() - member.advanced_at_s
        return Outlook(_left(said.ready_in_s, age_s), _left(said.ends_in_s, age_s), said.ends_in_s == 0, said.finishing)

    def ended(self) -> set[PeerId]:
        """The other trainers that have made their last step."""
        return {peer for peer, outlook in self.outlooks().items() if outlook.ended and peer != self.me}

    def joiners(self) -> dict[PeerId, int]:
        """The steps of the other living peers that do not hold the swarm's parameters yet."""
        heartbeats = self.live().items()
        return {peer: heartbeat.step for peer, heartbeat in heartbeats if _is_joining(heartbeat)}

    def others_end_in_s(self) -> dict[PeerId, float | None]:
        """Seconds until each of the other living trainers that still train has made its last step, as of now.

        None where it cannot say; 0.0 where it is late.
        """
        outlooks = self.outlooks().items()
        return {peer: outlook.ends_in_s for peer, outlook in outlooks if not outlook.ended and peer != self.me}

    async def wait_for_change(self, longest_s: float) -> None:
        """Until any other peer says something new or is lost, and no longer than this."""
        try:
            async with self._clock.timeout(longest_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """Ends all waiting for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def round(self) -> int:
        """The number of the next round, as far as any living peer knows and most of them make it believable."""
        farthest = self._farthest_round()
        heard = (heartbeat.round for heartbeat in self.live().values())
        return max(number for number in (0, self._own.round, *heard) if number <= farthest)

    def believes(self, number: int) -> bool:
        """Whether the next round can have this number, going by what the living peers say."""
        return number <= self._farthest_round()

    def reach_round(self, number: int) -> None:
        """Notes that the round before `number` is over, where that can be."""
        number = as_count(number)
        if number > self._own.round and self.believes(number):
            self.describe(replace(self._own, round=number))

    def _farthest_round(self) -> int:
        heard = (heartbeat.round for heartbeat in self.live().values() if _trains(heartbeat))
        return farthest_round(self._own.round, heard, lifetime_s=self._timing.lifetime_s)

    @property
    def own(self) -> OwnState:
        """What this peer says of itself."""
        return self._own

    def describe(self, state: OwnState) -> None:
        """Changes what this peer says of itself from now on, to whoever asks or hears its next heartbeat."""
        self._own = replace(
            state,
            round=as_count(state.round),
            step=as_count(state.step),
            ready_in_s=as_seconds(state.ready_in_s),
            ends_in_s=as_seconds(state.ends_in_s),
        )
        self._beat()

    def records(self, *, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> tuple[SignedHeartbeat, ...]:
        """The own heartbeat, as of now, and of the others as many as fit in one message of `limit_bytes`.

        Where not all of them fit, those come first that this peer has passed on least often, and of these the latest:
        so each is passed on a few times before others are passed on once more.
        """
        living = sorted((m for m in self._members.values() if m.live), key=lambda m: (m.times_told, -m.advanced_at_s))
        records = records_that_fit(self._own_record, (member.record for member in living), limit_bytes=limit_bytes)
        for member in living[: len(records) - 1]:
            member.times_told += 1
        return records

    def absorb(self, records: Iterable[SignedHeartbeat], *, told_by: PeerId | None = None) -> None:
        """Takes in heartbeats; forged, foreign and old ones change nothing.

        told_by: who passed them on. Its own counts as heard from itself; of the others only those that were heard
        before live on by it.
        """
        for record in records:
            seen_of = self._seen.get(record.signature)
            if seen_of is not None and seen_of != told_by:
                continue
            heartbeat = self._checked(record)
            if heartbeat is None:
                continue
            self._seen[record.signature] = PeerId(heartbeat.peer)
            peer = PeerId(heartbeat.peer)
            known = self._members.get(peer)
            if peer == told_by or (known is not None and (known.live or heartbeat.leaving)):
                self._advance(heartbeat, record, known, met=peer == told_by)
            elif not heartbeat.leaving:
                self._candidates.hear(heartbeat, now_s=self._clock.now())

    def _checked(self, record: SignedHeartbeat) -> Heartbeat | None:
        """The heartbeat in a record, if it is of this run, new, and signed by the peer that it speaks of."""
        try:
            heartbeat = decode_message(record.body.encode(), Heartbeat)
            signature = bytes.fromhex(record.signature)
        except (ConnectionError, ValueError):
            return None
        if heartbeat.run_key != self._run_key or heartbeat.peer == self.me:
            return None
        known = self._members.get(PeerId(heartbeat.peer))
        if known is not None and not heartbeat.newer_than(known.heartbeat):
            return None
        is_signed = self._transport.verify(PeerId(heartbeat.peer), record.body.encode(), signature)
        return heartbeat if is_signed else None

    def has_lost(self, peer: PeerId) -> bool:
        """Whether the peer was once known and does not live as far as this one can see."""
        return peer in self._members and not self._members[peer].live

    def suspect(self, peer: PeerId) -> None:
        """Counts a peer as gone until it is met again, on direct evidence that it does not answer."""
        member = self._members.get(peer)
        if member is not None and member.live:
            self._remove(peer, member, "lost")

    async def run(self) -> None:
        """Sends heartbeats until cancelled."""
        calls: dict[PeerId, asyncio.Task[bool]] = {}
        tries: dict[PeerId, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._beat()
                self._expire()
                calls, tries = _unfinished(calls), _unfinished(tries)
                for peer in self._targets():
                    if peer not in calls:
                        calls[peer] = tasks.create_task(self._exchange(peer))
                for peer in self._candidates.due(now_s=self._clock.now()):
                    if peer not in tries and len(tries) < MAX_TRIES:
                        tries[peer] = tasks.create_task(self._try(peer))
                await self._clock.sleep(self._timing.heartbeat_s * self._rng.uniform(0.9, 1.1))

    async def meet_candidates(self) -> None:
        """Tries everybody who is only heard of, a few at once; waits no longer than `dial_timeout_s`."""
        waiting = list(self._candidates.due(now_s=self._clock.now()))

        async def work() -> None:
            while waiting:
                await self._try(waiting.pop(0))

        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(self._timing.dial_timeout_s):
                await asyncio.gather(*(work() for _ in range(MAX_TRIES)))

    async def announce(self) -> None:
        """Tells a few peers at once, out of turn, what this peer now says of itself."""
        self._beat()
        await asyncio.gather(*(self._exchange(peer) for peer in self._targets()))

    async def say_goodbye(self) -> None:
        """Tells as many peers as possible that this one leaves; waits no longer than `probe_timeout_s`."""
        self._leaving = True
        await self.meet_everyone()

    async def meet(self, peer: PeerId) -> bool:
        """Tells one peer at once what this one says of itself and knows of others, and hears the same.

        False where it does not answer within `probe_timeout_s`.
        """
        self._beat()
        try:
            async with self._clock.timeout(self._timing.probe_timeout_s):
                return await self._exchange(peer)
        except TimeoutError:
            return False

    async def meet_everyone(self) -> None:
        """Tells all others what this peer now says of itself, and hears the same of them.

        Waits no longer than `probe_timeout_s`; more than a heartbeat costs, so for the few moments when it matters.
        """
        self._beat()
        try:
            async with self._clock.timeout(self._timing.probe_timeout_s):
                await asyncio.gather(*(self._exchange(peer) for peer in self.live()))
        except TimeoutError:
            return

    def _advance(self, heartbeat: Heartbeat, record: SignedHeartbeat, known: _Member | None, *, met: bool) -> None:
        peer, now_s = PeerId(heartbeat.peer), self._clock.now()
        was_live = known is not None and known.live
        if known is not None and heartbeat.incarnation != known.heartbeat.incarnation:
            self._admission.forget(peer)
        if known is None:
            self._make_room()
        met_at = now_s if met or known is None else known.met_at
        self._members[peer] = _Member(heartbeat, record, now_s, met_at, live=not heartbeat.leaving)
        self._candidates.forget(peer)
        moved = known is not None and heartbeat.addresses != known.heartbeat.addresses
        if known is None or moved or not was_live:
            # Only then: a transport dials anew after each note.
            self._transport.remember(peer, heartbeat.addresses)
        if heartbeat.leaving and was_live:
            _logger.info("%s said goodbye", peer)
            self._on_change("left", peer)
        elif not heartbeat.leaving and not was_live:
            _logger.info("%s is here, at step %d", peer, heartbeat.step)
            self._on_change("joined", peer)
        elif moved and not heartbeat.leaving:
            self._on_change("moved", peer)
        if heartbeat.finishing and not heartbeat.leaving and not (known is not None and known.heartbeat.finishing):
            self._on_change("finishing", peer)
        self.wake()

    def _make_room(self) -> None:
        """Where too many members are remembered, drops one that is gone, or the one that was met longest ago."""
        if len(self._members) < MAX_KNOWN:
            return
        peer, member = min(self._members.items(), key=lambda item: (item[1].live, item[1].met_at))
        if member.live:
            self._remove(peer, member, "lost")
        del self._members[peer]

    def _expire(self) -> None:
        now = self._clock.now()
        for peer, member in list(self._members.items()):
            silent_s = now - member.advanced_at_s
            if member.live and silent_s > self._timing.lifetime_s:
                _logger.info("lost %s: no heartbeat for %.1f s", peer, silent_s)
                self._remove(peer, member, "lost")
            elif not member.live and silent_s > 20 * self._timing.lifetime_s:
                # Kept until then so that old heartbeats still on their way do not bring the peer back.
                del self._members[peer]

    def _remove(self, peer: PeerId, member: _Member, change: Change) -> None:
        member.live = False
        self._candidates.hear(member.heartbeat, now_s=self._clock.now())
        self._admission.forget(peer)
        self._on_change(change, peer)
        self.wake()

    def _beat(self) -> None:
        # Goes along with the others, and comes back to them where it was led astray while it knew only liars.
        self._own = replace(self._own, round=self.round)
        self._counter += 1
        self._own_record = self._sign()

    def _sign(self) -> SignedHeartbeat:
        heartbeat = Heartbeat(
            peer=self.me,
            run_key=self._run_key,
            incarnation=self._incarnation,
            counter=self._counter,
            role=self._role,
            addresses=tellable_addresses(self._transport.addresses),
            round=self._own.round,
            step=self._own.step,
            ready_in_s=self._own.ready_in_s,
            joined=self._own.joined,
            finishing=self._own.finishing,
            ends_in_s=self._own.ends_in_s,
            leaving=self._leaving,
        )
        body = encode_message(heartbeat).decode()
        return SignedHeartbeat(body=body, signature=self._transport.sign(body.encode()).hex())

    def _targets(self) -> list[PeerId]:
        live = sorted(self.live())
        return live if len(live) <= FANOUT else self._rng.sample(live, FANOUT)

    async def _try(self, peer: PeerId) -> None:
        """Calls a peer that is only heard of; where it does not answer, it is tried later."""
        self._transport.remember(peer, self._candidates.addresses(peer))
        await self._exchange(peer)
        self._candidates.failed(peer, now_s=self._clock.now())  # unless it was met and is none any more

    async def _exchange(self, peer: PeerId) -> bool:
        """Passes heartbeats to and fro; says whether the peer answered."""
        try:
            async with self._clock.timeout(self._timing.dial_timeout_s):
                stream = await self._admission.stream(peer, HEARTBEATS)
                try:
                    await self._tell(stream)
                    await self._hear(stream)
                finally:
                    await stream.close()
                return True
        except UnreachableError as error:
            _logger.info("%s cannot be reached: %s", peer, error)
            self.suspect(peer)
        except (ConnectionError, TimeoutError) as error:
            _logger.debug("no heartbeats from %s: %r", peer, error)
            # The link broke or is slow; the peer's lifetime decides. It may have started anew and not know this peer.
            self._admission.forget(peer)
        return False

    async def _receive(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            await self._hear(stream)
            await self._tell(stream)

    async def _tell(self, stream: Stream) -> None:
        beats = HeartbeatBatch(records=self.records(limit_bytes=BEATS_LIMIT_BYTES))
        await send_message(stream, beats, limit_bytes=BEATS_LIMIT_BYTES)

    async def _hear(self, stream: Stream) -> None:
        beats = await receive_message(stream, HeartbeatBatch, limit_bytes=BEATS_LIMIT_BYTES)
        self.absorb(beats.records, told_by=stream.remote)


def _trains(heartbeat: Heartbeat) -> bool:
    return heartbeat.role == "trainer" and heartbeat.joined


def _is_joining(heartbeat: Heartbeat) -> bool:
    return heartbeat.role == "trainer" and not heartbeat.joined


def _left(said_s: float | None, age_s: float) -> float | None:
    """What is left of a wait that was told `age_s` ago."""
    return None if said_s is None else max(0.0, said_s - age_s)


def _unfinished(calls: dict[PeerId, asyncio.Task[ResultT]]) -> dict[PeerId, asyncio.Task[ResultT]]:
    return {peer: call for peer, call in calls.items() if not call.done()}
