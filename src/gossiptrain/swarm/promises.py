"""Who keeps its word: which peers are worth waiting for, and which have held others up.

Owns this peer's memory of both. A peer that said it was ready and was waited for in vain is not waited for again until
it has taken part in a round or has said in between that it is not ready, so an untrue word costs one round and not
every one. A peer that held up a round it was in comes last in the order of its groups for a while, and so does not
lead; one that as coordinator let this peer wait for longer than it may is not asked for a group for as long. Does not
know how long waits are, nor messages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from gossiptrain.net.transport import Clock

REMEMBERED_PEERS = 1024

PeerT = TypeVar("PeerT", bound=str)


class Promises:
    """What became of the promises of others. All memories are bounded; the oldest entries make room."""

    def __init__(self, clock: Clock, *, held_up_for_s: float) -> None:
        """held_up_for_s: how long it is remembered that a peer held up a round, or those that asked it for a group."""
        self._clock = clock
        self._held_up_for_s = held_up_for_s
        self._broken: OrderedDict[str, None] = OrderedDict()
        self._held_up_s: OrderedDict[str, float] = OrderedDict()
        self._stalled_s: OrderedDict[str, float] = OrderedDict()

    def is_worth_waiting_for(self, peer: str) -> bool:
        """Whether the peer has come, or has taken its word back, since it was last waited for in vain."""
        return peer not in self._broken

    def broken_by(self, peers: Iterable[str]) -> None:
        """These were waited for in vain."""
        for peer in peers:
            _remember(self._broken, peer, None)

    def kept_by(self, peers: Iterable[str]) -> None:
        """These have come, or say no more that they are ready."""
        for peer in peers:
            self._broken.pop(peer, None)

    def held_up_by(self, peers: Iterable[str]) -> None:
        """A round of these and this peer went on only after it had given them up."""
        for peer in peers:
            _remember(self._held_up_s, peer, self._clock.now())

    def holds_up(self, peer: str) -> bool:
        """Whether the peer has held up a round of late."""
        return self._is_recent(self._held_up_s.get(peer))

    def stalled_by(self, coordinator: str) -> None:
        """It let this peer wait for a group beyond the time in which an honest one answers."""
        _remember(self._stalled_s, coordinator, self._clock.now())

    def stalls(self, coordinator: str) -> bool:
        """Whether the peer, as coordinator, has let this one wait for too long of late."""
        return self._is_recent(self._stalled_s.get(coordinator))

    def stalling(self) -> set[str]:
        """All of which that is so."""
        return {peer for peer, since_s in self._stalled_s.items() if self._is_recent(since_s)}

    def _is_recent(self, since_s: float | None) -> bool:
        return since_s is not None and self._clock.now() - since_s < self._held_up_for_s

    def in_order(self, peers: Sequence[PeerT]) -> tuple[PeerT, ...]:
        """The peers as they are, those that hold rounds up last."""
        return tuple(sorted(peers, key=self.holds_up))


ValueT = TypeVar("ValueT")


def _remember(memory: OrderedDict[str, ValueT], peer: str, value: ValueT) -> None:
    memory[peer] = value
    memory.move_to_end(peer)
    while len(memory) > REMEMBERED_PEERS:
        memory.popitem(last=False)
