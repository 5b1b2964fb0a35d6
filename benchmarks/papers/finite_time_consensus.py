"""After how many rounds peers agree exactly: the one-peer exponential graph, the Base-(k+1) graph, grids, a ring.

    .venv/bin/python -m benchmarks.papers.finite_time_consensus
    .venv/bin/python -m benchmarks.papers.finite_time_consensus --peers 8,25,100 --json finite.json

Rounds are matrices, and nothing is drawn: peers agree exactly when the product of the matrices gives everyone the mean,
to 1e-28 of the variance of independent values. What the papers promise stands beside it:

    one-peer    one-peer exponential graph (Ying et al. 2021): log2 N rounds if N is a power of two
    pairs       the package's grouping exponential: the same graph made of pairs, so a group of two is enough
    grid        Moshpit averaging (Ryabinin et al. 2021): 2 rounds if N is a square, with groups of its root
    Base-b      Base-(k+1) graph with k = b - 1 (Takezawa et al. 2023): at most 2 log_b N + 2 rounds for every N
    ring        everyone takes the mean of itself and its two neighbours: no promise
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.papers.base_graph import base_graph
from benchmarks.papers.mixing import Meetings, Values, mixing_matrix, variance_left
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from benchmarks.round.__main__ import numbers

PEERS = [4, 5, 6, 7, 8, 9, 12, 16, 20, 25, 27, 32, 36, 48, 50, 63, 64]
EXACT = 1e-28
COMPARED = ("one-peer", "pairs", "Base-2", "ring")
"""Those with one partner a round, and the ring."""
NOTES = """
All promises are kept. The package's pairs are exact when the one-peer graph is, and leave exactly as much after log2 N
rounds of an even number; of an odd one the last joins a pair. Positions are dealt anew after each cycle, so in every
cycle what is left shrinks by the same factor again.

Base-2 is exact for every number with one partner a round, like the pairs, but takes up to twice as long, holds next to
nothing before it is done, and needs weights other than those of a mean. A full grid is at least as fast, in groups.
"""

RoundOf = Callable[[int], Values]
"""The matrix of a round, by its number."""


def one_peer_exponential(peers: int) -> RoundOf:
    """Everyone hears from the peer 1, 2, 4, ... places further on, and takes the mean with it."""
    turns = max(1, (peers - 1).bit_length())
    return lambda number: (np.eye(peers) + np.roll(np.eye(peers), 2 ** (number % turns), axis=1)) / 2


def ring(peers: int) -> RoundOf:
    """The mean with both neighbours."""
    own = np.eye(peers)
    matrix: Values = (own + np.roll(own, 1, axis=1) + np.roll(own, -1, axis=1)) / 3
    return lambda number: matrix


def package_rounds(meetings: Meetings, peers: int) -> RoundOf:
    """As the package's coordinators divide peers that are all there."""
    return lambda number: mixing_matrix(peers, meetings.groups(range(peers), number))


def base(peers: int, degree: int) -> RoundOf:
    """Cycle after cycle of the Base-(k+1) graph."""
    cycle = base_graph(peers, degree)
    return lambda number: cycle[number % len(cycle)]


def schemes(peers: int) -> dict[str, tuple[RoundOf, float | None]]:
    """All schemes by name, with the rounds that their paper promises at most."""
    power_of_two = peers & (peers - 1) == 0
    side = math.isqrt(peers - 1) + 1
    doubling = math.log2(peers) if power_of_two else None
    return {
        "one-peer": (one_peer_exponential(peers), doubling),
        "pairs": (package_rounds(Meetings("exponential", 3), peers), doubling),
        "grid": (package_rounds(Meetings("grid", side), peers), 2.0 if side**2 == peers else None),
        **{f"Base-{own}": (base(peers, own - 1), longest_cycle(peers, own)) for own in (2, 3, 5)},
        "ring": (ring(peers), None),
    }


def longest_cycle(peers: int, base: int) -> int:
    """Rounds in which the Base-(k+1) graph promises to be exact: 2 log_base(peers) + 2, rounded down."""
    return math.floor(2 * math.log(peers, base) + 2 + 1e-9)


def left_after(round_of: RoundOf, rounds: int) -> float:
    """Share of the variance that is left after so many rounds."""
    product = round_of(0)
    for number in range(1, rounds):
        product = round_of(number) @ product
    return variance_left(product)


def rounds_to_exact(round_of: RoundOf, most: int) -> int | None:
    """Rounds until everyone holds the mean; None where it takes more than `most`."""
    exact = (number for number in range(1, most + 1) if left_after(round_of, number) < EXACT)
    return next(exact, None)


def measure_rounds(peers: int) -> list[Figure]:
    """One row: when each scheme is exact. Never means: not within 2 log2 N + 2 rounds, the longest promise."""
    most = longest_cycle(peers, 2)
    return [
        beside(f"N = {peers}", name, published=promised, ours=rounds_to_exact(round_of, most))
        for name, (round_of, promised) in schemes(peers).items()
    ]


def measure_left(peers: int) -> list[Figure]:
    """One row: what is left after ceil(log2 N) rounds, where a power of two may be exact."""
    rounds = (peers - 1).bit_length()
    figures = []
    for name in COMPARED:
        round_of, promised = schemes(peers)[name]
        published = 0.0 if promised is not None and promised <= rounds else None
        figures.append(beside(f"N = {peers}", name, published=published, ours=left_after(round_of, rounds)))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--peers", type=numbers(3, 256), default=PEERS, metavar="N,N", help="sizes (4 to 64)")
    given = own.parse_args(arguments)
    rounds = [figure for peers in given.peers for figure in measure_rounds(peers)]
    show_figures("Rounds until all agree exactly", rounds, digits=0)
    left = [figure for peers in given.peers for figure in measure_left(peers)]
    show_figures("What is left of the variance after log2 N rounds", left, digits=4)
    show_notes(NOTES)
    write_figures(given.json, benchmark="finite_time_consensus", figures=rounds + left)


if __name__ == "__main__":
    main()
