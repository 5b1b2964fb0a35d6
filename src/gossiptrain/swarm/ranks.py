"""Who comes first in a round: as its coordinator, and as the leader of a group.

Owns the two orders, which follow from run, round and seed, so that all peers compute the same; and what this peer's own
memory changes in them. A coordinator that has let this peer wait for too long is the last to be asked. Whoever held a
round up comes last in the groups that this peer forms, and so does not lead; the one exception is the coordinator
itself, which never stands before its rank: nobody can make itself the leader. Does not know who lives, nor how groups
are formed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gossiptrain.core.grouping import coordinators, first_coordinator, leaders
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.promises import Promises


class Ranks:
    """The orders of one run, as one peer computes them."""

    def __init__(self, run_key: str, seed: int, promises: Promises) -> None:
        self._run_key = run_key
        self._seed = seed
        self._promises = promises

    def coordinators(self, peers: Collection[PeerId], round_number: int) -> list[PeerId]:
        """In the order in which they coordinate a round, one in place of the other; those that stall come last."""
        ranked = coordinators(peers, run=self._run_key, round_number=round_number, seed=self._seed)
        return [PeerId(peer) for peer in sorted(ranked, key=self._promises.stalls)]

    def first_coordinator(self, peers: Collection[PeerId], round_number: int) -> PeerId:
        """The first of these; it is asked for far more often than the others. Raises ValueError where there is none."""
        able = set(peers) - self._promises.stalling() or peers
        return PeerId(first_coordinator(able, run=self._run_key, round_number=round_number, seed=self._seed))

    def in_order(self, group: Collection[PeerId], round_number: int, *, coordinator: PeerId) -> tuple[PeerId, ...]:
        """The members of a group as its coordinator, this peer, has them take the lead."""
        ranked = self._leaders(group, round_number)
        order = list(self._promises.in_order([peer for peer in ranked if peer != coordinator]))
        if coordinator in ranked:
            order.insert(ranked.index(coordinator), coordinator)
        return tuple(order)

    def are_fair(self, members: Sequence[PeerId], round_number: int, *, coordinator: PeerId) -> bool:
        """Whether the coordinator has not put itself before its rank in the group that it gave out."""
        ranked = self._leaders(members, round_number)
        return coordinator not in ranked or members.index(coordinator) >= ranked.index(coordinator)

    def _leaders(self, group: Collection[PeerId], round_number: int) -> list[PeerId]:
        ranked = leaders(group, run=self._run_key, round_number=round_number, seed=self._seed)
        return [PeerId(peer) for peer in ranked]
