"""The other members: what each of them said last, and who of them lives.

Owns the table of heartbeats and their expiry. Every heartbeat is signed by the peer it speaks of, so it may be passed
on by anyone. A peer counts as alive once this one has heard it itself, having reached it or been reached by it; from
then on it lives while its counter is seen to grow within its lifetime, on the observer's own clock, whoever passes its
heartbeats on. Does not know how heartbeats travel, nor what is made of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gossiptrain.core.recent import Recent
from gossiptrain.net.framing import decode_message
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.candidates import Candidates
from gossiptrain.swarm.living_members import LivingMembers
from gossiptrain.swarm.messages import MAX_KNOWN, Heartbeat, SignedHeartbeat
from gossiptrain.swarm.versions import Version

_logger = logging.getLogger(__package__)
MAX_SEEN = 4096
MAX_DECODED = 2 * MAX_KNOWN
"""Texts of heartbeats whose meaning is kept: the same ones come from several sides."""
AT_FULL_PACE = 256
"""Members of whom all are heard of within a period or two. As no message holds more than `MAX_RECORDS` heartbeats, news
of each member of a larger swarm comes less often, and each has a longer lifetime to the same extent."""
KEPT_LIFETIMES = 20
"""How long a member that is gone is kept, so that old heartbeats still on their way do not bring it back."""

Change = Literal["joined", "moved", "left", "lost", "ready", "finishing"]


@dataclass
class _Member:
    heartbeat: Heartbeat
    record: SignedHeartbeat
    advanced_at_s: float
    met_at_s: float
    """When the peer itself was last heard."""
    live: bool


class MemberTable:
    """The others of the run, by peer."""

    def __init__(
        self, admission: Admission, candidates: Candidates, *, on_change: Callable[[Change, PeerId], None]
    ) -> None:
        """candidates: takes those that are only heard of, and those that are lost."""
        self._admission = admission
        self._transport = admission.transport
        self._clock = admission.transport.clock
        self._lifetime_s = admission.timing.lifetime_s
        self._run_key = admission.fingerprint.key
        self._candidates = candidates
        self._on_change = on_change
        self._members: dict[PeerId, _Member] = {}
        self._living_now: LivingMembers | None = None
        """None where somebody has come or gone since it was asked for."""
        self._seen: Recent[str, PeerId] = Recent(MAX_SEEN)
        """Signatures of the records that were checked last, of which the same ones come again and again, and whose."""
        self._changed = asyncio.Event()
        self._is_awaited = False
        """Whether anybody may be waiting for a change; there are thousands in a second of a large swarm."""

    def __len__(self) -> int:
        return len(self._members)

    def live(self) -> dict[PeerId, Heartbeat]:
        """Those that live, by peer."""
        return self._living().heartbeats.copy()

    def trainers(self) -> set[PeerId]:
        """Those of them that take part in rounds."""
        return set(self._living().trainers)

    def rounds(self, *, of_trainers: bool = False) -> list[int]:
        """The rounds that those that live, or only those of them that train, would take part in next."""
        living = self._living()
        return [living.rounds[peer] for peer in living.trainers] if of_trainers else list(living.rounds.values())

    def said_by(self, peer: PeerId) -> Heartbeat | None:
        """What a living one said last; None where the peer does not live."""
        member = self._members.get(peer)
        return member.heartbeat if member is not None and member.live else None

    def age_s(self, peer: PeerId) -> float:
        """Seconds since the last heartbeat of a member came."""
        return self._clock.now() - self._members[peer].advanced_at_s

    def ages_s(self) -> dict[PeerId, float]:
        """The same for all that live."""
        now_s = self._clock.now()
        return {peer: now_s - self._members[peer].advanced_at_s for peer in self._living().heartbeats}

    def has_lost(self, peer: PeerId) -> bool:
        """Whether the peer was once known and does not live as far as this one can see."""
        return peer in self._members and not self._members[peer].live

    def only_watches(self, peer: PeerId) -> bool:
        """Whether a peer that was once known trains nothing, whether it lives or not."""
        return peer in self._members and self._members[peer].heartbeat.role == "observer"

    async def wait_for_change(self, longest_s: float) -> None:
        """Until any member says something new or is lost, and no longer than this."""
        try:
            async with self._clock.timeout(longest_s):
                self._is_awaited = True
                await self._changed.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """Ends all waiting for a change."""
        if self._is_awaited:
            self._is_awaited = False
            self._changed.set()
            self._changed = asyncio.Event()

    def versions(self) -> dict[str, Version]:
        """Of the living members, what was heard last, by the keys of `versions`."""
        return self._living().versions.copy()

    def records_of(self, keys: Iterable[str]) -> Iterator[SignedHeartbeat]:
        """The heartbeats of the living members with these keys, in their order."""
        living = self._living().records
        return (living[key] for key in keys if key in living)

    def absorb(self, records: Iterable[SignedHeartbeat], *, told_by: PeerId | None = None) -> None:
        """Takes in heartbeats; forged, foreign and old ones change nothing.

        told_by: who passed them on. Its own counts as heard from itself; of the others only those that were heard
        before live on by it.
        """
        now_s = self._clock.now()
        for record in records:
            seen_of = self._seen.get(record.signature)
            if seen_of is not None and seen_of != told_by:
                continue
            heartbeat = self._checked(record)
            if heartbeat is None or self._admission.is_revoked(PeerId(heartbeat.peer)):
                continue
            if heartbeat.role == "trainer" and self._admission.may_only_watch(PeerId(heartbeat.peer)):
                continue
            self._seen[record.signature] = PeerId(heartbeat.peer)
            peer = PeerId(heartbeat.peer)
            known = self._members.get(peer)
            if peer == told_by or (known is not None and (known.live or heartbeat.leaving)):
                self._advance(heartbeat, record, known, met=peer == told_by, now_s=now_s)
            elif not heartbeat.leaving:
                self._candidates.hear(heartbeat, now_s=now_s)

    def suspect(self, peer: PeerId) -> None:
        """Counts a peer as gone until it is met again, on direct evidence that it does not answer."""
        member = self._members.get(peer)
        if member is not None and member.live:
            self._remove(peer, member, "lost")

    def forget(self, peer: PeerId) -> None:
        """From now on nothing is known of the peer, until it is heard again."""
        member = self._members.pop(peer, None)
        if member is not None and member.live:
            self._living_now = None

    def expire(self) -> None:
        """Gives up those that were silent for longer than their lifetime."""
        now_s = self._clock.now()
        lifetime_s = self._lifetime_s * max(1.0, len(self._living().heartbeats) / AT_FULL_PACE)
        for peer, member in list(self._members.items()):
            silent_s = now_s - member.advanced_at_s
            if member.live and silent_s > lifetime_s:
                _logger.info("lost %s: no heartbeat for %.1f s", peer, silent_s)
                self._remove(peer, member, "lost")
            elif not member.live and silent_s > KEPT_LIFETIMES * lifetime_s:
                self.forget(peer)

    def _checked(self, record: SignedHeartbeat) -> Heartbeat | None:
        """The heartbeat in a record, if it is of this run, new, and signed by the peer that it speaks of."""
        try:
            heartbeat = _said_in(record.body)
            signature = bytes.fromhex(record.signature)
        except (ConnectionError, ValueError):
            return None
        if heartbeat.run_key != self._run_key or heartbeat.peer == self._transport.peer_id:
            return None
        known = self._members.get(PeerId(heartbeat.peer))
        if known is not None and not heartbeat.newer_than(known.heartbeat):
            return None
        is_signed = self._transport.verify(PeerId(heartbeat.peer), record.body.encode(), signature)
        return heartbeat if is_signed else None

    def _advance(
        self, heartbeat: Heartbeat, record: SignedHeartbeat, known: _Member | None, *, met: bool, now_s: float
    ) -> None:
        peer = PeerId(heartbeat.peer)
        was_live = known is not None and known.live
        if known is not None and heartbeat.incarnation != known.heartbeat.incarnation:
            self._admission.forget(peer)
        if known is None:
            self._make_room()
        met_at_s = now_s if met or known is None else known.met_at_s
        self._members[peer] = _Member(heartbeat, record, now_s, met_at_s, live=not heartbeat.leaving)
        self._note_living(peer, self._members[peer], was_live=was_live, is_new=known is None)
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
        if not heartbeat.leaving:
            before = known.heartbeat if known is not None and was_live else None
            if heartbeat.trains and not (before is not None and before.trains):
                self._on_change("ready", peer)
            if _wants_to_merge(heartbeat, before):
                self._on_change("finishing", peer)
        self.wake()

    def _living(self) -> LivingMembers:
        if self._living_now is None:
            members = self._members.items()
            self._living_now = LivingMembers(
                (peer, member.heartbeat, member.record) for peer, member in members if member.live
            )
        return self._living_now

    def _note_living(self, peer: PeerId, member: _Member, *, was_live: bool, is_new: bool) -> None:
        """A living one keeps its place, and a new one stands last, as in the table itself."""
        if not (member.live and (was_live or is_new)):
            self._living_now = None
        elif self._living_now is not None:
            self._living_now.renew(peer, member.heartbeat, member.record)

    def _make_room(self) -> None:
        """Where too many members are remembered, drops one that is gone, or the one that was met longest ago."""
        if len(self._members) < MAX_KNOWN:
            return
        peer, member = min(self._members.items(), key=lambda item: (item[1].live, item[1].met_at_s))
        if member.live:
            self._remove(peer, member, "lost")
        self.forget(peer)

    def _remove(self, peer: PeerId, member: _Member, change: Change) -> None:
        member.live = False
        self._living_now = None
        self._candidates.hear(member.heartbeat, now_s=self._clock.now())
        self._admission.forget(peer)
        self._on_change(change, peer)
        self.wake()


@lru_cache(maxsize=MAX_DECODED)
def _said_in(body: str) -> Heartbeat:
    """What a record says, once for each text. Raises ProtocolViolationError, and ValueError where it is no text."""
    return decode_message(body.encode(), Heartbeat)


def _wants_to_merge(heartbeat: Heartbeat, before: Heartbeat | None) -> bool:
    """Whether the peer says something new by `finishing`.

    Merges may follow each other so quickly that nobody hears of the moment between them: who asks for one in a later
    round asks anew. Who has made its last step goes on asking until it leaves.
    """
    if before is None or not before.finishing:
        return heartbeat.finishing
    return heartbeat.finishing and heartbeat.round > before.round and heartbeat.ends_in_s != 0
