"""The ways of averaging that the Moshpit paper compares, and the package's own.

Owns one round of each, among peers of which some fail. A failed peer keeps its value, and nobody hears from it. What is
said of "the paper" holds for the program that the authors published with it (Ryabinin et al. 2021); a round is
numbered from 1 as there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.papers.mixing import Meetings, Peers, Values, averaged
from gossiptrain.config import GroupingName

Alive = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """Where chance comes from: the old generator of numpy, since the paper's figures were drawn from it."""

    seed: int
    generator: np.random.RandomState


class Method(Protocol):
    """What one round makes of the values."""

    def __call__(self, values: Values, alive: Alive, round_number: int) -> Values: ...


MakeMethod = Callable[[int, Draws], Method]
"""Makes a method for a number of peers; values and failures are drawn from the same generator."""


def all_reduce(peers: int, draws: Draws) -> Method:
    """One group of all, which fails with any of its members."""

    def one_round(values: Values, alive: Alive, round_number: int) -> Values:
        return np.full_like(values, values.mean()) if alive.all() else values

    return one_round


def ring_gossip(peers: int, draws: Draws) -> Method:
    """Everyone takes the mean of itself and its two neighbours on a ring."""
    own = np.arange(peers)
    return _mean_over_links([(own, (own + shift) % peers) for shift in (0, 1, -1)])


def two_peer_exponential(peers: int, draws: Draws) -> Method:
    """What the paper calls SGP: the mean of the own value and those 2^t and 2^(t + 1) places away, without push-sum.

    The paper's program shifts its matrix of links as one long row, so the last places are linked one row further on.
    That costs next to nothing, but without it the figures would not be the same.
    """
    own = np.arange(peers)
    hops = int(np.floor(np.log2(peers - 1)))
    rounds = []
    for hop in range(hops):
        links = [(own, own)]
        for shift in (2**hop, 2 ** (hop + 1)):
            flat = (own * (peers + 1) + shift) % peers**2
            links.append((flat // peers, flat % peers))
        rounds.append(_mean_over_links(links))
    return lambda values, alive, round_number: rounds[round_number % hops](values, alive, round_number)


def random_groups(size: int) -> MakeMethod:
    """As many whole groups of `size` as there can be; the rest joins them one by one."""

    def make(peers: int, draws: Draws) -> Method:
        def one_round(values: Values, alive: Alive, round_number: int) -> Values:
            order = np.flatnonzero(alive)
            draws.generator.shuffle(order)
            groups = max(1, len(order) // size)
            whole = [order[index * size : (index + 1) * size] for index in range(groups)]
            rest = order[groups * size :]
            return averaged(values, [np.append(group, rest[index::groups]) for index, group in enumerate(whole)])

        return one_round

    return make


def moshpit(size: int) -> MakeMethod:
    """Each peer in a cell of its own of a square grid with sides of `size`; it stays there, and meets row or column."""

    def make(peers: int, draws: Draws) -> Method:
        # Of its own, since the paper draws the cells before it seeds its generator.
        cells = np.random.default_rng(draws.seed).permutation(size**2)[:peers]

        def one_round(values: Values, alive: Alive, round_number: int) -> Values:
            lines = cells % size if round_number % 2 == 0 else cells // size
            return averaged(values, [np.flatnonzero(alive & (lines == line)) for line in np.unique(lines[alive])])

        return one_round

    return make


def push_sum(peers: int, draws: Draws) -> Method:
    """Stochastic gradient push's own averaging (Assran et al. 2019) on the directed one-peer exponential graph.

    Everyone sends half of its value and of its weight 2^t places on, and reads the quotient. A peer that fails neither
    sends nor receives, and what would have gone to it stays with the sender, so nothing is lost.
    """
    turns = (peers - 1).bit_length()
    sums = np.empty(0)
    weights = np.ones(peers)
    own = np.arange(peers)

    def one_round(values: Values, alive: Alive, round_number: int) -> Values:
        nonlocal sums, weights
        sums = sums if len(sums) else values.copy()
        target = (own + 2 ** ((round_number - 1) % turns)) % peers
        sent = np.where(alive & alive[target], 0.5, 0.0)
        received = np.zeros(peers), np.zeros(peers)
        received[0][target] = sent * sums
        received[1][target] = sent * weights
        sums = (1 - sent) * sums + received[0]
        weights = (1 - sent) * weights + received[1]
        return sums / weights

    return one_round


def own_grouping(grouping: GroupingName, size: int) -> MakeMethod:
    """The package's groups among the peers that are there; those that fail do so before the groups are formed."""

    def make(peers: int, draws: Draws) -> Method:
        meetings = Meetings(grouping, size, seed=draws.seed)

        def one_round(values: Values, alive: Alive, round_number: int) -> Values:
            return averaged(values, meetings.groups(np.flatnonzero(alive).tolist(), round_number - 1))

        return one_round

    return make


def _mean_over_links(links: list[tuple[Peers, Peers]]) -> Method:
    """links: pairs of who hears and who is heard."""
    hearing = np.concatenate([pair[0] for pair in links])
    heard = np.concatenate([pair[1] for pair in links])

    def one_round(values: Values, alive: Alive, round_number: int) -> Values:
        counts = np.bincount(hearing, weights=alive[heard], minlength=len(values))
        sums = np.bincount(hearing, weights=(values * alive)[heard], minlength=len(values))
        return np.where(alive, sums / np.maximum(counts, 1), values)

    return one_round
