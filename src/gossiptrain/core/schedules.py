"""Schedules of meetings after which peers agree exactly: grids and exponential pairs.

Owns which positions meet in which turn. Knows positions 0 to n - 1 only, not who stands there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def grid_sides(peers: int, *, shortest: int, longest: int) -> tuple[int, ...] | None:
    """Lengths of the axes of the tightest grid that holds `peers` on lines of `shortest` to `longest`; None: no grid.

    It has the fewest axes, at least two, with which lines of `longest` could hold everyone.
    """
    axes = 2
    while longest**axes < peers:
        axes += 1
    sides = _tightest_sides(peers, axes, longest)
    fewest = min(len(line) for axis in range(axes) for line in grid_lines(peers, sides, axis))
    return sides if fewest >= shortest else None


def grid_lines(peers: int, sides: Sequence[int], axis: int) -> list[list[int]]:
    """The positions of the grid, divided into the lines along one axis.

    If every peer meets its line along one axis after the other, a full grid agrees exactly after as many rounds as it
    has axes (Moshpit SGD, Ryabinin et al. 2021).
    """
    stride = math.prod(sides[:axis])
    lines: dict[int, list[int]] = {}
    for position in range(peers):
        coordinate = (position // stride) % sides[axis]
        lines.setdefault(position - coordinate * stride, []).append(position)
    return list(lines.values())


def grid_occupancy(peers: int, *, axes: int, longest: int) -> float:
    """Share of a grid with `axes` sides of `longest` that `peers` would fill."""
    return peers / float(longest**axes)


def exponential_turns(peers: int) -> int:
    """Turns of one cycle of exponential pairs: the smallest m with 2^m of at least `peers`, at least one."""
    return max(1, (peers - 1).bit_length())


def exponential_pairs(peers: int, turn: int) -> list[list[int]]:
    """Who meets in a turn of the one-peer exponential graph (Ying et al. 2021), made symmetric so that pairs suffice.

    Turn 0 pairs neighbours, 2i and 2i + 1. Then every value is held twice, once by an even position, and these pairs of
    equals form a ring. In turn t each even position meets the odd one whose value comes from 2^(t - 1) places further
    on this ring. 2^m peers agree exactly after the m turns of a cycle; other numbers come close. An odd last position
    joins a pair, another one each turn, so there are three in it.
    """
    ring = peers // 2
    ahead = 2**turn - 1
    pairs = [[2 * place, 2 * ((place + ahead) % ring) + 1] for place in range(ring)]
    if peers % 2 and pairs:
        pairs[turn % ring].append(peers - 1)
    return pairs


def _tightest_sides(peers: int, axes: int, longest: int) -> tuple[int, ...]:
    """`axes` lengths of 2 to `longest` with the smallest product of at least `peers`; of equals the most even ones."""
    candidates = []
    for leading in itertools.product(range(2, longest + 1), repeat=axes - 1):
        last = max(2, math.ceil(peers / math.prod(leading)))
        if last <= longest:
            candidates.append((*leading, last))
    return min(candidates, key=lambda sides: (math.prod(sides), max(sides) - min(sides), sides))
