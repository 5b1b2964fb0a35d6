"""Whom the coordinator of a round still waits for.

Owns the judgement who may come at all, who should come in time, and for how long somebody is waited for that said it
was ready and is not here: it is asked once for its view, so that two coordinators of one round, where peers see
different members, soon become one; and it is waited for a little, once. Does not know what follows when nobody is worth
waiting for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gossiptrain.core.grouping import LARGEST_GROUP
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.outlook import Outlook
from gossiptrain.swarm.pending_round import PendingRound
from gossiptrain.swarm.promises import Promises

FEW_READY = 16
"""Up to so many that are ready, each of them has all considered anew whenever it looks."""
MANY_READY = 4 * LARGEST_GROUP
"""So many that are ready get their groups at once, whoever else is expected: each of them holds a stream open here, of
which there is room for twice as many (`net/handlers.py`), and they fill several of the largest groups."""
LOOKS_PER_HEARTBEAT = 32
"""Beyond that the work would grow with the square of the swarm: a thousand looks, each at a thousand outlooks."""


class Stragglers:
    """Those that are not here yet, by what they said of themselves."""

    def __init__(
        self, admission: Admission, membership: Membership, promises: Promises, *, minimum_members: int
    ) -> None:
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._membership = membership
        self._promises = promises
        self._minimum_members = minimum_members

    def are_awaited(self, pending: PendingRound) -> bool:
        """Whether the round is still to wait: there is time left, and it needs or expects somebody."""
        if len(pending.ready_peers) >= MANY_READY:
            return False
        remaining_s = pending.deadline_s - self._clock.now()
        if remaining_s > 0 and self._is_still_so(pending):
            return True
        outlooks = self._membership.outlooks()
        if len(_available(pending, outlooks) | pending.ready_peers.keys()) < self._minimum_members:
            remaining_s = 0.0
        if remaining_s <= 0:
            return False
        if len(pending.ready_peers) < self._minimum_members:
            return True
        pending.awaited = self._expected(pending, outlooks, remaining_s)
        pending.considered_s = self._clock.now()
        return bool(pending.awaited)

    def _is_still_so(self, pending: PendingRound) -> bool:
        """Whether somebody was awaited a moment ago who is not here yet, and many are ready."""
        if len(pending.ready_peers) <= FEW_READY or pending.awaited <= pending.ready_peers.keys():
            return False
        return self._clock.now() - pending.considered_s < self._timing.heartbeat_s / LOOKS_PER_HEARTBEAT

    def _expected(self, pending: PendingRound, outlooks: Mapping[PeerId, Outlook], remaining_s: float) -> set[PeerId]:
        """Peers that are not here yet and should come in time. One that wants everyone makes all others ready."""
        ends = pending.ends
        everyone = pending.merges or any(self._finishes(peer, outlook) for peer, outlook in outlooks.items())
        found = set()
        for peer in sorted(outlooks.keys() - pending.ready_peers.keys()):
            outlook = outlooks[peer]
            if outlook.ended and (ends or outlook.finishing):
                is_awaited = self._is_awaited(pending, peer, 0.0, as_long_as_it_answers=True)
            elif (
                not outlook.ended and outlook.ready_in_s is not None and (everyone or outlook.ready_in_s <= remaining_s)
            ):
                is_awaited = self._is_awaited(pending, peer, outlook.ready_in_s)
            else:
                is_awaited = False
                pending.due_s.pop(peer, None)
                self._promises.kept_by([peer])
            if is_awaited:
                found.add(peer)
        return found

    def _finishes(self, peer: PeerId, outlook: Outlook) -> bool:
        return outlook.finishing and (peer == self._membership.me or self._promises.is_worth_waiting_for(peer))

    def _is_awaited(
        self, pending: PendingRound, peer: PeerId, ready_in_s: float, *, as_long_as_it_answers: bool = False
    ) -> bool:
        """Whether a peer that has promised to come is still worth waiting for; it is asked once where it is late."""
        if ready_in_s > 0:
            pending.due_s.pop(peer, None)
            self._promises.kept_by([peer])
            return True
        if peer in pending.missed or not self._promises.is_worth_waiting_for(peer):
            return False
        timing = self._timing
        late_s = self._clock.now() - pending.due_s.setdefault(peer, self._clock.now())
        if late_s >= timing.heartbeat_s and peer not in pending.meetings and peer != self._membership.me:
            pending.meetings[peer] = asyncio.create_task(self._ask_for_view(pending, peer))
        if late_s >= 2 * timing.heartbeat_s + timing.dial_timeout_s and not as_long_as_it_answers:
            pending.missed.add(peer)
        return peer not in pending.missed

    async def _ask_for_view(self, pending: PendingRound, peer: PeerId) -> None:
        """Afterwards both know the same peers, and so the same coordinator; and this one how soon the other is
        ready."""
        if not await self._membership.meet(peer, within_s=self._timing.probe_timeout_s):
            pending.missed.add(peer)
            pending.silent.add(peer)


def _available(pending: PendingRound, outlooks: Mapping[PeerId, Outlook]) -> set[PeerId]:
    """Who may come at all. A peer that has ended waits until it, or another one that has, wants to merge."""
    ends = pending.ends
    return {peer for peer, outlook in outlooks.items() if ends or outlook.finishing or not outlook.ended}
