"""Who meets whom: the division of the peers that are ready into groups.

Owns group sizes, the seeded choice of groups and the orders in which peers act as coordinator and as leader. Knows
peers only as strings and time only as the number of the round; every function is pure, so all peers that are asked
agree. Which positions of a grid meet is for `core/schedules.py` to say.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from gossiptrain.config import GroupingName
from gossiptrain.core.schedules import (
    exponential_pairs,
    exponential_turns,
    grid_lines,
    grid_sides,
)

LARGEST_GROUP = 64
"""Most members of a group, whatever the settings are."""


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
    return sorted(peers, key=_by_draw(key))


def coordinators(peers: Collection[str], *, run: str, round_number: int, seed: int) -> list[str]:
    """Who collects the ready peers of a round: the first that lives; the others stand in, in this order."""
    return ranking(peers, key=_coordinator_key(run, round_number, seed))


def first_coordinator(peers: Collection[str], *, run: str, round_number: int, seed: int) -> str:
    """The first of them, without the others in their order. Raises ValueError where there is none."""
    return min(peers, key=_by_draw(_coordinator_key(run, round_number, seed)))


def _by_draw(key: str) -> Callable[[str], tuple[bytes, str]]:
    return lambda peer: (_draw(key, peer), peer)


def _coordinator_key(run: str, round_number: int, seed: int) -> str:
    return f"coordinator/{run}/{seed}/{round_number}"


def leaders(members: Collection[str], *, run: str, round_number: int, seed: int) -> list[str]:
    """Who leads the round of a group: the first that answers; the others stand in, in this order.

    It follows from what all members know before they are told of their group, so whoever formed it has no say in it.
    """
    return ranking(members, key=f"leader/{run}/{seed}/{round_number}")


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
    grouping: GroupingName = "auto",
    last_groups: Mapping[str, str] = MappingProxyType({}),
) -> Grouping:
    """Divides the ready peers into groups by (run, round, seed), not by the order in which they arrived.

    grouping: `random` groups of balanced sizes; `crossed` groups, the same but for taking as few as possible from each
    group of before, which `last_groups` names for each peer; the lines of a `grid` (Moshpit SGD, Ryabinin et al. 2021),
    random where no grid fits the limits; `exponential` pairs (Ying et al. 2021), random where the limits forbid pairs;
    `all` in one group. Except in pairs, everyone meets everyone where one group is enough. Grids and pairs are dealt
    anew after each full cycle; see `schedules` for what a cycle achieves. `auto` is crossed: in the long run peers are
    then as close as in any other way or closer, also where some are away (`benchmarks/papers/grouping_choice.py`).
    `urgent` peers, which an earlier round left out, are placed before all others.
    """
    deal = _Deal(run, seed, round_number)
    limits = limits_for(grouping, limits)
    if _meet_in_pairs(grouping, limits):
        chosen, left_out = _choose(ready, _places_in_pairs(len(ready), limits), urgent=urgent, deal=deal)
        return Grouping(_pairs(chosen, deal), left_out)
    sizes = group_sizes(len(ready), limits)
    chosen, left_out = _choose(ready, sum(sizes), urgent=urgent, deal=deal)
    if grouping == "grid" and len(sizes) > 1:
        sides = grid_sides(len(chosen), shortest=limits.minimum, longest=limits.maximum)
        if sides is not None:
            return Grouping(_lines(chosen, sides, deal), left_out)
    if grouping in ("auto", "crossed"):
        return Grouping(_crossed_groups(chosen, sizes, deal, last_groups), left_out)
    return Grouping(_random_groups(chosen, sizes, deal), left_out)


def limits_for(grouping: GroupingName, limits: GroupLimits) -> GroupLimits:
    """The limits that hold for a grouping: `all` may form the largest groups that can be."""
    return GroupLimits(limits.minimum, LARGEST_GROUP) if grouping == "all" else limits


@dataclass(frozen=True)
class _Deal:
    """What the places of a round depend on."""

    run: str
    seed: int
    round_number: int

    def order(self, purpose: str, peers: Collection[str], *, cycle: int | None = None) -> list[str]:
        """The peers as they are dealt for `purpose` in this round, or in all rounds of a cycle."""
        return ranking(peers, key=f"{purpose}/{self.run}/{self.seed}/{self.round_number if cycle is None else cycle}")


def _choose(
    ready: Collection[str], places: int, *, urgent: Collection[str], deal: _Deal
) -> tuple[list[str], tuple[str, ...]]:
    order = deal.order("place", ready)
    order.sort(key=lambda peer: peer not in urgent)
    return order[:places], tuple(order[places:])


def _random_groups(chosen: Sequence[str], sizes: Sequence[int], deal: _Deal) -> tuple[tuple[str, ...], ...]:
    order = iter(deal.order("group", chosen))
    return tuple(tuple(itertools.islice(order, size)) for size in sizes)


def _crossed_groups(
    chosen: Sequence[str], sizes: Sequence[int], deal: _Deal, last_groups: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Deals those who were together last one after the other, so that each group has as few of them as can be."""
    together: dict[str, list[str]] = {}
    for peer in deal.order("group", chosen):
        together.setdefault(last_groups.get(peer, ""), []).append(peer)
    dealt = [peer for members in together.values() for peer in members]
    return tuple(tuple(dealt[group :: len(sizes)]) for group in range(len(sizes)))


def _lines(chosen: Sequence[str], sides: Sequence[int], deal: _Deal) -> tuple[tuple[str, ...], ...]:
    cycle, axis = divmod(deal.round_number, len(sides))
    order = deal.order("grid", chosen, cycle=cycle)
    return tuple(tuple(order[position] for position in line) for line in grid_lines(len(chosen), sides, axis))


def _meet_in_pairs(grouping: GroupingName, limits: GroupLimits) -> bool:
    return limits.minimum == 2 and grouping == "exponential"


def _places_in_pairs(ready: int, limits: GroupLimits) -> int:
    """How many of the ready peers find a place: all, but for an odd one where no group may have three members."""
    if ready < limits.minimum:
        return 0
    return ready - ready % 2 if limits.maximum == 2 else ready


def _pairs(chosen: Sequence[str], deal: _Deal) -> tuple[tuple[str, ...], ...]:
    cycle, turn = divmod(deal.round_number, exponential_turns(len(chosen)))
    order = deal.order("pairs", chosen, cycle=cycle)
    return tuple(tuple(order[position] for position in pair) for pair in exponential_pairs(len(chosen), turn))


@lru_cache(maxsize=4096)  # one round is asked for many times, of the same peers
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
