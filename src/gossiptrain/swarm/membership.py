"""Who is there: soft state that every peer holds for itself.

Owns heartbeats, their spreading and their expiry. Every heartbeat is signed by the peer it speaks of, so it may be
passed on by anyone; a peer lives while its counter is seen to grow within `lifetime_s`, on the observer's own clock.
Does not know how members are first found, nor what they do together.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from gossiptrain.net.framing import decode_message, encode_message, receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.messages import MAX_RECORDS, Beats, Heartbeat, SignedHeartbeat

_logger = logging.getLogger(__package__)
HEARTBEATS = "/gossiptrain/heartbeats"
FANOUT = 3
"""Peers that hear from this one directly in each period; the others hear through them, in about log(N) periods."""
MAX_KNOWN = 4096

Change = Literal["joined", "left", "lost", "finishing"]


@dataclass
class _Member:
    heartbeat: Heartbeat
    record: SignedHeartbeat
    advanced_at: float
    live: bool


@dataclass(frozen=True)
class OwnState:
    """What this peer tells others of itself."""

    round: int = 0
    step: int = 0
    ready_in_s: float | None = None
    finishing: bool = False
    ends_in_s: float | None = None


class Membership:
    """The members that this peer believes to be alive, itself included."""

    def __init__(
        self,
        door: Door,
        *,
        rng: random.Random,
        incarnation: int,
        role: Literal["trainer", "observer"] = "trainer",
        on_change: Callable[[Change, PeerId], None] = lambda change, peer: None,
    ) -> None:
        self._door = door
        self._transport = door.transport
        self._clock = door.transport.clock
        self._timing = door.timing
        self._rng = rng
        self._incarnation = incarnation
        self._role: Literal["trainer", "observer"] = role
        self._on_change = on_change
        self._members: dict[PeerId, _Member] = {}
        self._counter = 0
        self._leaving = False
        self._own = OwnState()
        self._own_record = self._sign()

    @property
    def me(self) -> PeerId:
        """This peer."""
        return self._transport.peer_id

    async def open(self) -> None:
        """From now on takes in the heartbeats that others pass on."""
        await self._door.serve(HEARTBEATS, self._receive)

    def live(self) -> dict[PeerId, Heartbeat]:
        """The others that live, by peer."""
        return {peer: member.heartbeat for peer, member in self._members.items() if member.live}

    def trainers(self) -> set[PeerId]:
        """All living peers that take part in rounds, with this one if it does.

        Who has made all its steps waits for others to make theirs, and takes part again when it wants to merge.
        """
        found = {
            peer
            for peer, heartbeat in self.live().items()
            if heartbeat.role == "trainer" and (heartbeat.ends_in_s != 0 or heartbeat.finishing)
        }
        return found | {self.me} if self._role == "trainer" else found

    def ready_in_s(self, peer: PeerId) -> float | None:
        """Seconds until a peer expects to be ready for a round, as of now; None where it cannot say."""
        if peer == self.me:
            return self._own.ready_in_s
        member = self._members[peer]
        if member.heartbeat.ready_in_s is None:
            return None
        return max(0.0, member.heartbeat.ready_in_s - (self._clock.now() - member.advanced_at))

    def others_end_in_s(self) -> tuple[float, ...]:
        """Of all other living trainers that still train and can say until when, the seconds that they will need."""
        now_s = self._clock.now()
        found = []
        for member in self._members.values():
            ends_in_s = member.heartbeat.ends_in_s
            if member.live and member.heartbeat.role == "trainer" and ends_in_s:
                found.append(max(0.0, ends_in_s - (now_s - member.advanced_at)))
        return tuple(found)

    @property
    def round(self) -> int:
        """The number of the next round, as far as any living peer knows."""
        return max([self._own.round, *(heartbeat.round for heartbeat in self.live().values())])

    def reach_round(self, number: int) -> None:
        """Notes that the round before `number` is over."""
        if number > self._own.round:
            self.describe(replace(self._own, round=number))

    @property
    def own(self) -> OwnState:
        """What this peer says of itself."""
        return self._own

    def describe(self, state: OwnState) -> None:
        """Changes what this peer says of itself from now on, to whoever asks or hears its next heartbeat."""
        self._own = state
        self._beat()

    def records(self) -> tuple[SignedHeartbeat, ...]:
        """The own heartbeat, as of now, and the freshest ones of others, as many as fit in one message."""
        fresh = sorted((m for m in self._members.values() if m.live), key=lambda m: -m.advanced_at)
        return (self._own_record, *(member.record for member in fresh[: MAX_RECORDS - 1]))

    def absorb(self, records: Iterable[SignedHeartbeat]) -> None:
        """Takes in heartbeats, whoever passed them on; forged, foreign and old ones change nothing."""
        for record in records:
            try:
                heartbeat = decode_message(record.body.encode(), Heartbeat)
                signature = bytes.fromhex(record.signature)
            except (ConnectionError, ValueError):
                continue
            if heartbeat.run_key != self._door.fingerprint.key or heartbeat.peer == self.me:
                continue
            known = self._members.get(PeerId(heartbeat.peer))
            if known is not None and not heartbeat.newer_than(known.heartbeat):
                continue
            if known is None and len(self._members) >= MAX_KNOWN:
                continue
            if self._transport.verify(PeerId(heartbeat.peer), record.body.encode(), signature):
                self._advance(heartbeat, record, known)

    def last_known_addresses(self) -> tuple[str, ...]:
        """One address of each peer that was once known and has not said goodbye, the latest first."""
        known = [member for member in self._members.values() if not member.heartbeat.leaving]
        latest_first = sorted(known, key=lambda member: -member.advanced_at)
        return tuple(member.heartbeat.addresses[0] for member in latest_first if member.heartbeat.addresses)

    def has_lost(self, peer: PeerId) -> bool:
        """Whether the peer was once known and does not live as far as this one can see."""
        return peer in self._members and not self._members[peer].live

    def suspect(self, peer: PeerId) -> None:
        """Counts a peer as gone until its next heartbeat, on direct evidence that it does not answer."""
        member = self._members.get(peer)
        if member is not None and member.live:
            self._remove(peer, member, "lost")

    async def run(self) -> None:
        """Beats until cancelled."""
        calls: dict[PeerId, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._beat()
                self._expire()
                for peer in self._targets():
                    if peer not in calls or calls[peer].done():
                        calls[peer] = tasks.create_task(self._exchange(peer))
                await self._clock.sleep(self._timing.heartbeat_s * self._rng.uniform(0.9, 1.1))

    async def announce(self) -> None:
        """Tells a few peers at once, out of turn, what this peer now says of itself."""
        self._beat()
        await asyncio.gather(*(self._exchange(peer) for peer in self._targets()))

    async def say_goodbye(self) -> None:
        """Tells as many peers as possible that this one leaves; waits no longer than `probe_timeout_s`."""
        self._leaving = True
        await self.meet_everyone()

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

    def _advance(self, heartbeat: Heartbeat, record: SignedHeartbeat, known: _Member | None) -> None:
        peer = PeerId(heartbeat.peer)
        was_live = known is not None and known.live
        if known is not None and heartbeat.incarnation != known.heartbeat.incarnation:
            self._door.forget(peer)
        self._members[peer] = _Member(heartbeat, record, self._clock.now(), live=not heartbeat.leaving)
        if known is None or heartbeat.addresses != known.heartbeat.addresses or not was_live:
            # Only then: a transport dials anew after each note.
            self._transport.remember(peer, heartbeat.addresses)
        if heartbeat.leaving and was_live:
            _logger.info("%s said goodbye", peer)
            self._on_change("left", peer)
        elif not heartbeat.leaving and not was_live:
            _logger.info("%s is here, at step %d", peer, heartbeat.step)
            self._on_change("joined", peer)
        if heartbeat.finishing and not heartbeat.leaving and not (known is not None and known.heartbeat.finishing):
            self._on_change("finishing", peer)

    def _expire(self) -> None:
        now = self._clock.now()
        for peer, member in list(self._members.items()):
            silent_s = now - member.advanced_at
            if member.live and silent_s > self._timing.lifetime_s:
                _logger.info("lost %s: no heartbeat for %.1f s", peer, silent_s)
                self._remove(peer, member, "lost")
            elif not member.live and silent_s > 20 * self._timing.lifetime_s:
                # Kept until then so that old heartbeats still on their way do not bring the peer back.
                del self._members[peer]

    def _remove(self, peer: PeerId, member: _Member, change: Change) -> None:
        member.live = False
        self._door.forget(peer)
        self._on_change(change, peer)

    def _beat(self) -> None:
        self._counter += 1
        self._own_record = self._sign()

    def _sign(self) -> SignedHeartbeat:
        heartbeat = Heartbeat(
            peer=self.me,
            run_key=self._door.fingerprint.key,
            incarnation=self._incarnation,
            counter=self._counter,
            role=self._role,
            addresses=self._transport.addresses[:16],
            round=self._own.round,
            step=self._own.step,
            ready_in_s=self._own.ready_in_s,
            finishing=self._own.finishing,
            ends_in_s=self._own.ends_in_s,
            leaving=self._leaving,
        )
        body = encode_message(heartbeat).decode()
        return SignedHeartbeat(body=body, signature=self._transport.sign(body.encode()).hex())

    def _targets(self) -> list[PeerId]:
        live = sorted(self.live())
        return live if len(live) <= FANOUT else self._rng.sample(live, FANOUT)

    async def _exchange(self, peer: PeerId) -> None:
        try:
            async with self._clock.timeout(self._timing.dial_timeout_s):
                stream = await self._door.stream(peer, HEARTBEATS)
                try:
                    await send_message(stream, Beats(records=self.records()))
                    self.absorb((await receive_message(stream, Beats)).records)
                finally:
                    await stream.close()
        except UnreachableError as error:
            _logger.info("%s cannot be reached: %s", peer, error)
            self.suspect(peer)
        except (ConnectionError, TimeoutError) as error:
            _logger.debug("no heartbeats from %s: %r", peer, error)
            # The link broke or is slow; the peer's lifetime decides. It may have started anew and not know this peer.
            self._door.forget(peer)

    async def _receive(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            self.absorb((await receive_message(stream, Beats)).records)
            await send_message(stream, Beats(records=self.records()))
