"""What the living members said last, kept at hand in the forms in which it is asked for.

Owns these views, which are asked for far more often than anything in them changes. Does not know who lives, nor why:
the table of members makes them anew where somebody comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.messages import Heartbeat, SignedHeartbeat
from gossiptrain.swarm.versions import Version, key_of


class LivingMembers:
    """All but the trainers in the order in which the members were given."""

    def __init__(self, members: Iterable[tuple[PeerId, Heartbeat, SignedHeartbeat]]) -> None:
        self.heartbeats: dict[PeerId, Heartbeat] = {}
        self.rounds: dict[PeerId, int] = {}
        """The round that each would take part in next."""
        self.trainers: dict[PeerId, None] = {}
        self.versions: dict[str, Version] = {}
        """By the keys of `versions`."""
        self.records: dict[str, SignedHeartbeat] = {}
        """By the same keys."""
        for peer, heartbeat, record in members:
            self.renew(peer, heartbeat, record)

    def renew(self, peer: PeerId, heartbeat: Heartbeat, record: SignedHeartbeat) -> None:
        """One of them has said something new, and keeps its place; or a new one stands last."""
        key = key_of(peer)
        self.heartbeats[peer] = heartbeat
        self.rounds[peer] = heartbeat.round
        if heartbeat.trains:
            self.trainers[peer] = None
        else:
            self.trainers.pop(peer, None)
        self.versions[key] = heartbeat.version
        self.records[key] = record
