"""Who meets whom: the division of the peers that are ready into groups.

Owns group sizes, the seeded choice of groups and the order in which peers act as organiser. Knows peers only as
strings and time only as the number of the round; every function is pure, so all peers that are asked agree.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GroupLimits:
    """Sizes that a group may have, both inclusive."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 2 <= self.minimum <= self.maximum:
            raise ValueError(f"a group needs 2 <= minimum <= maximum, not {self.minimum} and {self.maximum}")


@dataclass(frozen=True)
class Grouping:
    """The groups of one round, and the peers that no group could take."""

    groups: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]


def ranking(peers: Collection[str], *, key: str) -> list[str]:
    """The peers in an order that depends on `key` alone and looks random (rendezvous hashing)."""
    return sorted(peers, key=lambda peer: (_draw(key, peer), peer))


def organisers(peers: Collection[str], *, run: str, round_number: int, seed: int) -> list[str]:
    """Who collects the ready peers of a round: the first that lives; the others stand in, in this order."""
    return ranking(peers, key=f"organiser/{run}/{seed}/{round_number}")


def group_sizes(ready: int, limits: GroupLimits) -> list[int]:
    """Sizes of the groups into which `ready` peers are divided, largest first; balanced, as few groups as possible.

    Their sum is less than `ready` only where no division within the limits takes everyone.
    """
    if ready < limits.minimum:
        return []
    groups = math.ceil(ready / limits.maximum)
    if groups * limits.minimum <= ready:
        return [ready // groups + (index < ready % groups) for index in range(groups)]
    return [limits.maximum] * (ready // limits.maximum)


def form_groups(
    ready: Collection[str],
    *,
    limits: GroupLimits,
    run: str,
    round_number: int,
    seed: int,
    urgent: Collection[str] = (),
) -> Grouping:
    """Divides the ready peers into groups by (run, round, seed), not by the order in which they arrived.

    Everyone meets everyone where one group is enough. Otherwise peers are placed on a grid, dealt anew after each
    full cycle, and meet along one axis a round: a full grid agrees exactly after as many rounds as it has axes
    (Moshpit SGD, Ryabinin et al. 2021). Where no grid fits the limits, groups are random. `urgent` peers, which an
    earlier round left out, are placed before all others.
    """
    sizes = group_sizes(len(ready), limits)
    chosen, left_out = _choose(ready, sum(sizes), urgent=urgent, key=f"place/{run}/{seed}/{round_number}")
    if len(sizes) > 1:
        sides = grid_sides(len(chosen), limits)
        if sides is not None:
            return Grouping(_along_axis(chosen, sides, run=run, round_number=round_number, seed=seed), left_out)
    order = ranking(chosen, key=f"group/{run}/{seed}/{round_number}")
    groups = []
    start = 0
    for size in sizes:
        groups.append(tuple(order[start : start + size]))
        start += size
    return Grouping(tuple(groups), left_out)


def grid_sides(peers: int, limits: GroupLimits) -> tuple[int, ...] | None:
    """Lengths of the axes of the tightest grid that holds `peers`, or None where a line would break the limits."""
    axes = 2
    while limits.maximum**axes < peers:
        axes += 1
    sides = _tightest_sides(peers, axes, limits.maximum)
    shortest = min(len(line) for axis in range(axes) for line in _lines(peers, sides, axis))
    return sides if shortest >= limits.minimum else None


def _tightest_sides(peers: int, axes: int, longest: int) -> tuple[int, ...]:
    """`axes` lengths of 2 to `longest` with the smallest product of at least `peers`; of equals the most even ones."""
    candidates = []
    for leading in itertools.product(range(2, longest + 1), repeat=axes - 1):
        last = max(2, math.ceil(peers / math.prod(leading)))
        if last <= longest:
            candidates.append((*leading, last))
    return min(candidates, key=lambda sides: (math.prod(sides), max(sides) - min(sides), sides))


def _lines(peers: int, sides: Sequence[int], axis: int) -> list[list[int]]:
    """Positions 0 to peers - 1 of the grid, divided into the lines along one axis."""
    stride = math.prod(sides[:axis])
    lines: dict[int, list[int]] = {}
    for position in range(peers):
        coordinate = (position // stride) % sides[axis]
        lines.setdefault(position - coordinate * stride, []).append(position)
    return list(lines.values())


def _along_axis(
    chosen: Sequence[str], sides: Sequence[int], *, run: str, round_number: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    cycle, axis = divmod(round_number, len(sides))
    order = ranking(chosen, key=f"grid/{run}/{seed}/{cycle}")
    return tuple(tuple(order[position] for position in line) for line in _lines(len(chosen), sides, axis))


def _choose(
    ready: Collection[str], places: int, *, urgent: Collection[str], key: str
) -> tuple[list[str], tuple[str, ...]]:
    order = ranking(ready, key=key)
    order.sort(key=lambda peer: peer not in urgent)
    return order[:places], tuple(order[places:])


def _draw(key: str, peer: str) -> bytes:
    return hashlib.blake2b(f"{key}\0{peer}".encode(), digest_size=16).digest()


def survivors(
    members: Sequence[str], *, answered: Collection[str], complaints: Collection[tuple[str, str]]
) -> tuple[str, ...]:
    """Who goes on after a failed attempt: those that answered, less the fewest whose links do not work.

    `complaints` holds (accuser, accused) pairs. Of two peers that cannot reach each other one has to go: the one in
    most complaints, of equals the one that is accused more often, since silence is seen by those who wait for it, and
    then the later member. So one bad peer cannot expel the group.
    """
    alive = [member for member in members if member in answered]
    open_complaints = {pair for pair in complaints if pair[0] in alive and pair[1] in alive and pair[0] != pair[1]}
    while open_complaints:
        involved = {member: sum(member in pair for pair in open_complaints) for member in alive}
        accused = {member: sum(pair[1] == member for pair in open_complaints) for member in alive}
        worst = max(alive, key=lambda member: (involved[member], accused[member], members.index(member)))
        alive.remove(worst)
        open_complaints = {pair for pair in open_complaints if worst not in pair}
    return tuple(alive)
