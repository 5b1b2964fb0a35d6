"""What a peer that watches sees of the swarm: who lives, where each stands, and what each has shown of itself.

Owns when that is told, and in what form. Does not know who looks at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, NoReturn

from gossiptrain.events import Met, PeerSeen, Shown
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.messages import Heartbeat
from gossiptrain.swarm.own_heartbeat import Role
from gossiptrain.swarm.peer import SwarmPeer
from gossiptrain.swarm.status_messages import MemberStatus
from gossiptrain.swarm.watching import Watch

TELL_S = 1.0
MOST_SHOWN = 16
"""Peers of which something new is told at once, so that an event stays short; the rest follow a second later."""
State = Literal["joining", "training", "ending", "watching"]


class Lookout:
    """Watches for one peer until it is cancelled."""

    def __init__(self, peer: SwarmPeer, tell: Callable[[tuple[PeerSeen, ...]], None], *, trains: bool = True) -> None:
        """trains: whether this peer is one of those that are seen."""
        self._membership = peer.membership
        self._status = peer.status
        self._trains = trains
        self._watch = Watch(peer.admission, peer.membership)
        self._tell = tell

    async def run(self) -> NoReturn:
        """Tells what is to be seen, about once a second."""
        asking = asyncio.create_task(self._watch.run())
        try:
            while True:
                await asyncio.sleep(TELL_S)
                if asking.done():
                    asking.result()
                self._tell(self.seen())
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def seen(self) -> tuple[PeerSeen, ...]:
        """All that live now; what they have shown is told once."""
        shown = self._watch.take(MOST_SHOWN)
        live = self._membership.live()
        others = tuple(_seen(peer, live[peer], shown.get(peer, [])) for peer in sorted(live))
        return (self._me(), *others) if self._trains else others

    def _me(self) -> PeerSeen:
        """The own peer, whose events tell of rounds, and of steps only where a trainer tells them."""
        own = self._membership.own
        shown = Shown(loss=self._status.loss, rounds=0, bytes_sent=0, bytes_per_s=0.0)
        state = _state("trainer", joined=own.joined, ends_in_s=own.ends_in_s)
        return PeerSeen(peer_id=self._membership.me, state=state, step=own.step, round=own.round, shown=(shown,))


def _seen(peer: PeerId, heartbeat: Heartbeat, statuses: list[MemberStatus]) -> PeerSeen:
    return PeerSeen(
        peer_id=peer,
        state=_state(heartbeat.role, joined=heartbeat.joined, ends_in_s=heartbeat.ends_in_s),
        step=heartbeat.step,
        round=heartbeat.round,
        shown=tuple(map(_shown, statuses)),
    )


def _state(role: Role, *, joined: bool, ends_in_s: float | None) -> State:
    if role == "observer":
        return "watching"
    if not joined:
        return "joining"
    return "ending" if ends_in_s == 0 else "training"


def _shown(status: MemberStatus) -> Shown:
    return Shown(
        loss=status.loss,
        rounds=status.rounds,
        bytes_sent=status.bytes_sent,
        bytes_per_s=status.bytes_per_s,
        met=tuple(
            Met(round=meeting.round, members=meeting.members, disagreement=meeting.disagreement)
            for meeting in status.meetings
        ),
        losses=status.losses,
        disagreements=status.disagreements,
    )
