"""How fast the links of others are, as this peer has seen them, and what a group makes of all that its members saw.

Owns the measure. The owner of a slice reads from all members in turn, chunk by chunk, so the time it waits for each of
them tells whose link holds the others up. The links of the fast ones remain unknown beyond that they are faster, which
is enough: a peer that is twice as slow as the rest should reduce nothing at all. What a single peer says is not
trusted; the median of what the members saw of each other is. Does not know links, nor how slices follow from speeds.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from gossiptrain.net.transport import PeerId

REMEMBERED_PEERS = 64
SLOWING = 0.12
"""Every link begins as a fast one; one that holds up ten rounds in a row then counts as slow. After eight, links whose
rates differ by chance, by up to a fifth, were taken for unequal in two of a thousand rounds."""
RECOVERING = 0.5
"""One that holds nobody up in a single round counts as fast again. In a group of equals somebody is always the last,
by however little, and everybody then waits for it alone; but not for the same one in each round."""
SHORTEST_WAIT = 1 / 16
"""A wait counts as at least this share of the whole time; below, it says nothing about the link."""
AS_FAST = 1 / 3
"""A link with at least this share of the speed of the fastest one counts as equal; noise makes as much."""
FULL_SPEED = 255


class SpeedsSeen:
    """By peer, the speed of its link relative to the fastest that this peer has seen in the same round."""

    def __init__(self) -> None:
        self._seen: OrderedDict[PeerId, float] = OrderedDict()

    def note(self, loads: Mapping[PeerId, int], waits_s: Mapping[PeerId, float], *, whole_s: float) -> None:
        """Learns from one round: what each other peer had to send in all, and how long it was waited for.

        loads: in any unit. whole_s: how long the reduction took. A single other peer cannot be compared to anything.
        """
        if len(loads) < 2 or whole_s <= 0 or not all(loads.values()):
            return
        speeds = {peer: load / max(waits_s[peer], SHORTEST_WAIT * whole_s) for peer, load in loads.items()}
        fastest = max(speeds.values())
        for peer, speed in speeds.items():
            now = speed / fastest
            before = self._seen.pop(peer, 1.0)
            self._seen[peer] = before + (SLOWING if now < before else RECOVERING) * (now - before)
        while len(self._seen) > REMEMBERED_PEERS:
            self._seen.popitem(last=False)

    def relative(self) -> dict[PeerId, float]:
        """What this peer tells others; speeds from 0 to 1."""
        return dict(self._seen)


def agreed_speeds(members: Sequence[PeerId], seen: Mapping[PeerId, Mapping[PeerId, float]]) -> tuple[int, ...]:
    """The speed of each member, from 1 to `FULL_SPEED`, by what the others say. Who says nothing says full speed."""
    speeds = []
    for member in members:
        words = [seen.get(other, {}).get(member, 1.0) for other in members if other != member]
        speed = statistics.median(words) if words else 1.0
        speeds.append(FULL_SPEED if speed >= AS_FAST else max(1, round(speed * FULL_SPEED)))
    return tuple(speeds)
