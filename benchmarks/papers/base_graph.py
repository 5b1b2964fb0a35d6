"""The Base-(k+1) graph (Takezawa et al. 2023): exact agreement of any number of peers that hear from k others a round.

Owns its rounds, as matrices by which the peers' values are multiplied. They are symmetric and their rows sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.papers.mixing import Values, mixing_matrix
from gossiptrain.core.schedules import grid_lines


def base_graph(peers: int, degree: int) -> list[Values]:
    """The rounds of one cycle: the shorter of the simple graph, and of one for a factor of `peers` with a grid.

    `peers` is a product of factors up to degree + 1, and of a rest. As many simple graphs as that product run side by
    side, each among a rest; then those in the same place of each meet on a full grid.
    """
    simple = simple_base_graph(peers, degree)
    copies, rest = _without_small_factors(peers, degree + 1)
    if rest in (1, peers):
        return simple
    side_by_side = [_beside([matrix] * copies) for matrix in simple_base_graph(rest, degree)]
    across = [np.kron(matrix, np.eye(rest)).astype(np.float64) for matrix in _full_grid(copies, degree + 1)]
    return min(simple, side_by_side + across, key=len)


def simple_base_graph(peers: int, degree: int) -> list[Values]:
    """The graph that follows the digits of `peers` in base degree + 1, see `_Part`.

    First every part agrees within itself. Then each part in turn trades with all smaller ones, with weights such that
    those that have traded with all larger parts hold the mean of everyone as soon as they agree among themselves; and
    the halves, thirds, ... of the larger part all have the same mean, so each only has to agree within itself.
    """
    base = degree + 1
    if _without_small_factors(peers, base)[1] == 1:
        return _full_grid(peers, base)
    parts = _parts(peers, base)
    within = [_full_grid(part.size, base) for part in parts]
    rounds = [_beside([own[turn % len(own)] for own in within]) for turn in range(len(within[0]))]
    for turn in range(parts[0].power + 1):
        matrix = _beside([_settle(part, base, turn - 1 - place) for place, part in enumerate(parts)])
        rounds.append(matrix @ _trade(parts, turn))
    return rounds


class _Part:
    """One digit: `times` sections of base^power peers each."""

    def __init__(self, times: int, power: int, base: int, first: int) -> None:
        self.times = times
        self.power = power
        self.section = base**power
        self.size = times * self.section
        self.first = first
        """Position of its first peer."""


def _parts(peers: int, base: int) -> list[_Part]:
    """The digits of `peers` that are not zero, largest first."""
    parts = []
    first = 0
    power = 0
    while base ** (power + 1) <= peers:
        power += 1
    for exponent in range(power, -1, -1):
        times = (peers - first) // base**exponent
        if times:
            parts.append(_Part(times, exponent, base, first))
            first += parts[-1].size
    return parts


def _trade(parts: Sequence[_Part], turn: int) -> Values:
    """Part number `turn` with all after it: each of their peers with one of its own in each section of that part."""
    peers = sum(part.size for part in parts)
    matrix = np.eye(peers)
    if turn >= len(parts) - 1:
        return matrix
    part = parts[turn]
    weight = part.size / (peers - part.first) / part.times
    for offset, smaller in enumerate(range(part.first + part.size, peers)):
        for section in range(part.times):
            partner = part.first + section * part.section + offset
            matrix[smaller, partner] = matrix[partner, smaller] = weight
            matrix[partner, partner] -= weight
            matrix[smaller, smaller] -= weight
    return matrix


def _settle(part: _Part, base: int, turn: int) -> Values:
    """A turn in which each section of a part agrees within itself; none before its trades and after it is done."""
    if not 0 <= turn < part.power:
        return np.eye(part.size)
    return _beside([_full_grid(part.section, base)[turn]] * part.times)


def _full_grid(peers: int, longest: int) -> list[Values]:
    """Rounds along the axes of a full grid with sides of up to `longest` (there, the k-peer hyper-hypercube)."""
    sides = []
    rest = peers
    for side in range(longest, 1, -1):
        while rest % side == 0:
            sides.append(side)
            rest //= side
    lines = [grid_lines(peers, sides, axis) for axis in range(len(sides))]
    return [mixing_matrix(peers, [np.array(line) for line in along]) for along in lines] or [np.eye(peers)]


def _without_small_factors(peers: int, largest: int) -> tuple[int, int]:
    """`peers` as a product: of factors up to `largest`, and of what has no such factor."""
    rest = peers
    for factor in range(2, largest + 1):
        while rest % factor == 0:
            rest //= factor
    return peers // rest, rest


def _beside(blocks: Sequence[Values]) -> Values:
    """Matrices of separate peers as one matrix of all."""
    peers = sum(len(block) for block in blocks)
    matrix = np.zeros((peers, peers))
    first = 0
    for block in blocks:
        matrix[first : first + len(block), first : first + len(block)] = block
        first += len(block)
    return matrix
