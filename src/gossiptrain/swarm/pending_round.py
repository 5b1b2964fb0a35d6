"""A round that has no groups yet, at its coordinator: who is ready for it, and who is still to come.

Owns what is noted of both while the round is pending. Does not know who is worth waiting for, nor how groups are
formed.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.messages import Assignment, NoGroup, Ready, Redirect, StaleRound

Answer = Assignment | NoGroup | StaleRound | Redirect
"""What becomes of a peer that is ready."""


@dataclass
class ReadyPeer:
    """One that waits for its group."""

    ready: Ready
    leaves_at_s: float
    """When its patience for stragglers is over."""
    answer: asyncio.Future[Answer]

    def settle(self, answer: Answer) -> None:
        """Gives the answer, where there is none yet."""
        if not self.answer.done():
            self.answer.set_result(answer)


@dataclass
class PendingRound:
    """The ready peers of one round."""

    round: int
    ready_peers: dict[PeerId, ReadyPeer] = field(default_factory=dict)
    due_s: dict[PeerId, float] = field(default_factory=dict)
    """Since when peers that are not here should be, by what they said."""
    meetings: dict[PeerId, asyncio.Task[None]] = field(default_factory=dict)
    """Peers that were asked why they do not come."""
    missed: set[PeerId] = field(default_factory=set)
    """Who is not waited for any more."""
    silent: set[PeerId] = field(default_factory=set)
    """Those of them that did not answer either."""
    awaited: set[PeerId] = field(default_factory=set)
    """For whom it was to wait when that was last considered."""
    considered_s: float = -math.inf
    """When that was."""

    @property
    def deadline_s(self) -> float:
        """When the first of them will not wait any longer."""
        return min(ready_peer.leaves_at_s for ready_peer in self.ready_peers.values())

    @property
    def ends(self) -> bool:
        """Whether somebody is here that has made its last step."""
        return any(ready_peer.ready.purpose == "end" for ready_peer in self.ready_peers.values())

    @property
    def merges(self) -> bool:
        """Whether somebody is here that wants everyone."""
        return any(ready_peer.ready.purpose != "round" for ready_peer in self.ready_peers.values())

    def late(self) -> list[PeerId]:
        """Who should be here, by what it said, and is not."""
        return [peer for peer in self.due_s if peer not in self.ready_peers]

    def close(self) -> None:
        """Nobody is waited for any more."""
        for meeting in self.meetings.values():
            meeting.cancel()
