"""Who was heard of through others and has not been met.

Owns what they said last, how many there may be, and when each is tried while others go on speaking of it; whom nobody
speaks of any more is forgotten here within its lifetime, and tried for as long as the `address_book` says. Identities
are free: whoever has not been reached, and has not reached this peer, counts for nothing, and makes room for others
when there are too many. Does not know what meeting one means.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.messages import Heartbeat

MAX_CANDIDATES = 256
MAX_UNTRIED = 64
"""Who has so many to try wants to hear of no more."""
FEW_UNTRIED = 8
"""As long as there are more, nobody is asked for others while they are tried."""
LEAST_NEW = 4
"""But for a few, by chance, so that nobody shuts others out by names that it makes up."""
LONGEST_PAUSE = 32
"""Between two tries of one, in the periods in which the others are tried."""


@dataclass
class _Candidate:
    heartbeat: Heartbeat
    heard_s: float
    due_s: float
    failures: int = 0


class Candidates:
    """Those that may be worth a try."""

    def __init__(self, rng: random.Random, *, period_s: float, lifetime_s: float) -> None:
        """period_s: first pause after a try in vain. lifetime_s: who is not heard of for so long is forgotten."""
        self._rng = rng
        self._period_s = period_s
        self._lifetime_s = lifetime_s
        self._heard: dict[PeerId, _Candidate] = {}
        self._untried: set[PeerId] = set()
        """Those of them that were not tried in vain."""

    def __len__(self) -> int:
        return len(self._heard)

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._heard

    @property
    def most_new(self) -> int:
        """Of how many more this peer is to hear in one exchange."""
        return max(MAX_UNTRIED - len(self._untried), LEAST_NEW)

    @property
    def suffice(self) -> bool:
        """Whether there are so many to try that it is not worth hearing of more."""
        return len(self._untried) > FEW_UNTRIED

    def hear(self, heartbeat: Heartbeat, *, now_s: float) -> None:
        """Notes what somebody said, and drops another one where there is no room."""
        peer = PeerId(heartbeat.peer)
        known = self._heard.get(peer)
        if known is None:
            if len(self._heard) >= MAX_CANDIDATES:
                self.forget(self._least_promising())
            self._heard[peer] = _Candidate(heartbeat, now_s, due_s=now_s)
            self._untried.add(peer)
            return
        if not heartbeat.newer_than(known.heartbeat):
            return
        if heartbeat.addresses != known.heartbeat.addresses or heartbeat.incarnation != known.heartbeat.incarnation:
            known.due_s = min(known.due_s, now_s + self._period_s)
        known.heartbeat, known.heard_s = heartbeat, now_s

    def forget(self, peer: PeerId) -> None:
        """The peer was met, has said goodbye, or is spoken of no more."""
        self._heard.pop(peer, None)
        self._untried.discard(peer)

    def failed(self, peer: PeerId, *, now_s: float) -> None:
        """A try was in vain; the next one is later each time."""
        candidate = self._heard.get(peer)
        if candidate is not None:
            self._untried.discard(peer)
            candidate.failures += 1
            candidate.due_s = now_s + self._period_s * min(2 ** min(candidate.failures, 10), LONGEST_PAUSE)

    def due(self, *, now_s: float) -> Iterator[PeerId]:
        """Who may be tried now, those before others that were not tried in vain."""
        for peer, candidate in list(self._heard.items()):
            if now_s - candidate.heard_s > self._lifetime_s:
                self.forget(peer)
        waiting = [peer for peer, candidate in self._heard.items() if candidate.due_s <= now_s]
        yield from sorted(waiting, key=lambda peer: self._heard[peer].failures)

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        """Where it says that it lives."""
        found = self._heard.get(peer)
        return () if found is None else found.heartbeat.addresses

    def _least_promising(self) -> PeerId:
        """One of those that were tried in vain most often; by chance, so that no flood pushes out a certain one."""
        most = max(candidate.failures for candidate in self._heard.values())
        return self._rng.choice([peer for peer, candidate in self._heard.items() if candidate.failures == most])
