"""Asks the members of the swarm, one after the other, what they show of themselves.

Owns whom this peer asks when, so that all that travels for it, what it asks and what it is asked, stays below 1 KB/s
however large the swarm is; only the first answers, with their histories, come at once, out of an allowance. Who has
fallen silent is asked first, and counts as gone where nothing listens any more, so that whoever watches sees it sooner
than others have to know it. Does not know what is made of the answers. What members say of themselves is believed by
nobody; it is shown.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from gossiptrain.net.framing import encode_message, receive_message, send_message
from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.status import STATUS, STATUS_LIMIT_BYTES
from gossiptrain.swarm.status_messages import MemberStatus, StatusRequest

_logger = logging.getLogger(__package__)
RATE_BYTES_PER_S = 450.0
"""For asking. Where all others ask as well, as much again is spent on answering."""
SAVED_BYTES = 2 << 10
"""Most of that rate that is saved up while there is nobody to ask."""
ALLOWANCE_BYTES = 64 << 10
"""For the first answers of members, once."""
BESIDE_BYTES = 120
"""What a question costs beside the two messages: the stream is opened and closed."""
PERIOD_S = 1.0
"""No member is asked more often."""
SILENT_BEATS = 2.0
"""Periods of heartbeats after which a member of which none came is asked out of turn."""


@dataclass
class _Asked:
    at_s: float
    rounds: int = 0
    incarnation: int = 0


class Watch:
    """Hears from all members in turn; `take` gives what was heard since the last time."""

    def __init__(self, admission: Admission, membership: Membership) -> None:
        self._admission = admission
        self._membership = membership
        self._clock = admission.transport.clock
        self._asked: dict[PeerId, _Asked] = {}
        self._heard: dict[PeerId, list[MemberStatus]] = {}
        self._allowance = ALLOWANCE_BYTES
        self._saved = 0.0
        self.bytes_moved = 0
        """In all, both ways."""

    def take(self, most: int) -> dict[PeerId, list[MemberStatus]]:
        """Of at most so many peers, what they have shown since they were last taken, oldest first."""
        taken = {peer: self._heard[peer] for peer in list(self._heard)[:most]}
        self._heard = {peer: heard for peer, heard in self._heard.items() if peer not in taken}
        return taken

    async def run(self) -> None:
        """Asks until cancelled."""
        before_s = self._clock.now()
        while True:
            now_s = self._clock.now()
            self._saved = min(SAVED_BYTES, self._saved + (now_s - before_s) * RATE_BYTES_PER_S)
            before_s = now_s
            peer = self._next(now_s)
            if peer is None:
                await self._clock.sleep(0.1)
            else:
                await self._ask(peer, now_s)

    def _next(self, now_s: float) -> PeerId | None:
        """The member that was not asked for longest, if that is not too soon for it and for the rate."""
        live = self._membership.participants()
        self._asked = {peer: asked for peer, asked in self._asked.items() if peer in live}
        if self._allowance > 0:
            unasked = sorted(live.keys() - self._asked.keys())
            if unasked:
                return unasked[0]
        due = [peer for peer in live if now_s - self._asked_s(peer) >= PERIOD_S]
        longest = max(due, key=lambda peer: (self._membership.silent_s(peer), peer), default=None)
        if longest is not None and self._is_silent(longest):
            return longest if self._saved > -SAVED_BYTES else None
        return min(due, key=lambda peer: (self._asked_s(peer), peer)) if due and self._saved > 0 else None

    def _is_silent(self, peer: PeerId) -> bool:
        return self._membership.silent_s(peer) > SILENT_BEATS * self._admission.timing.heartbeat_s

    def _asked_s(self, peer: PeerId) -> float:
        return self._asked[peer].at_s if peer in self._asked else -math.inf

    async def _ask(self, peer: PeerId, now_s: float) -> None:
        incarnation = self._membership.live()[peer].incarnation
        is_first = peer not in self._asked
        asked = self._asked.setdefault(peer, _Asked(now_s))
        if asked.incarnation != incarnation:
            asked.rounds = 0  # it has started anew, and with it its histories
        asked.at_s, asked.incarnation = now_s, incarnation
        request = StatusRequest(rounds=asked.rounds)
        spent = BESIDE_BYTES + len(encode_message(request))
        try:
            async with self._clock.timeout(self._admission.timing.probe_timeout_s):
                stream = await self._admission.stream(peer, STATUS)
                try:
                    await send_message(stream, request)
                    status = await receive_message(stream, MemberStatus, limit_bytes=STATUS_LIMIT_BYTES)
                finally:
                    await stream.close()
        except UnreachableError as error:
            _logger.info("%s cannot be asked: %s", peer, error)
            if peer in self._membership.live() and self._is_silent(peer):
                self._membership.suspect(peer)
        except (ConnectionError, TimeoutError) as error:
            _logger.debug("%s shows nothing: %r", peer, error)
        else:
            spent += len(encode_message(status))
            asked.rounds = status.rounds
            self._heard.setdefault(peer, []).append(status)
            del self._heard[peer][:-4]
        if is_first and self._allowance > 0:
            self._allowance -= spent
        else:
            self._saved -= spent
        self.bytes_moved += spent
