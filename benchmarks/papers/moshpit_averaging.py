"""Rounds until many peers agree while some fail: the averaging table of Moshpit SGD (Ryabinin et al. 2021).

    .venv/bin/python -m benchmarks.papers.moshpit_averaging
    .venv/bin/python -m benchmarks.papers.moshpit_averaging --variance 1e-4 --peers 512,768 --json moshpit.json

Every peer begins with a number from N(0, 1). In each round every peer fails with a chance of p, for this round only.
Counted are rounds until the variance among all peers is below a limit, at most 50, as the mean over ten runs. Groups
have up to 32 members, and the paper's grid has 32 x 32 cells.

The first tables compute what the paper's program computes, with its seeds; the others put the package's groupings
beside the paper's Moshpit averaging. Published figures are those that the authors' program printed; for 1024 peers its
output was not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import whole_number
from benchmarks.papers.moshpit_methods import (
    Draws,
    MakeMethod,
    all_reduce,
    moshpit,
    own_grouping,
    push_sum,
    random_groups,
    ring_gossip,
    two_peer_exponential,
)
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from benchmarks.round.__main__ import numbers

PEERS = [512, 768, 900, 1024]
FAILURES = [0.0, 0.001, 0.005, 0.01]
GROUP_SIZE = 32
MOST_ROUNDS = 50
PUBLISHED: dict[tuple[int, float], tuple[tuple[float, float], ...]] = {
    (512, 0.0): ((1.0, 1.0), (50.0, 50.0), (47.6, 15.6), (6.1, 3.0), (8.2, 3.6)),
    (512, 0.001): ((1.6, 1.6), (50.0, 50.0), (47.6, 15.6), (6.3, 3.0), (8.5, 3.3)),
    (512, 0.005): ((10.9, 10.9), (50.0, 50.0), (47.8, 15.6), (6.3, 3.0), (8.8, 3.9)),
    (512, 0.01): ((41.7, 41.7), (50.0, 50.0), (47.8, 15.6), (6.6, 3.0), (8.8, 3.9)),
    (768, 0.0): ((1.0, 1.0), (50.0, 50.0), (43.2, 13.8), (6.2, 3.0), (6.0, 3.0)),
    (768, 0.001): ((1.8, 1.8), (50.0, 50.0), (43.2, 13.8), (6.5, 3.0), (6.0, 3.0)),
    (768, 0.005): ((28.7, 28.7), (50.0, 50.0), (43.2, 14.1), (6.6, 3.0), (6.6, 3.0)),
    (768, 0.01): ((50.0, 50.0), (50.0, 50.0), (43.9, 14.2), (7.0, 3.0), (6.9, 3.0)),
    (900, 0.0): ((1.0, 1.0), (50.0, 50.0), (45.0, 14.7), (6.4, 3.0), (5.0, 2.9)),
    (900, 0.001): ((1.8, 1.8), (50.0, 50.0), (45.0, 14.7), (6.3, 3.0), (5.1, 2.9)),
    (900, 0.005): ((50.0, 50.0), (50.0, 50.0), (45.2, 14.7), (6.7, 3.0), (5.9, 3.1)),
    (900, 0.01): ((50.0, 50.0), (50.0, 50.0), (45.6, 14.9), (7.0, 3.1), (6.5, 3.0)),
}
"""By peers and chance of failure: rounds to a variance of 1e-9 and of 1e-4, in the order of `OF_THE_PAPER`."""
OF_THE_PAPER: dict[str, MakeMethod] = {
    "all-reduce": all_reduce,
    "ring gossip": ring_gossip,
    "SGP": two_peer_exponential,
    "random groups": random_groups(GROUP_SIZE),
    "Moshpit": moshpit(GROUP_SIZE),
}
GROUPINGS: dict[str, MakeMethod] = {
    "grid": own_grouping("grid", GROUP_SIZE),
    "auto": own_grouping("auto", GROUP_SIZE),
    "random": own_grouping("random", GROUP_SIZE),
    "exponential": own_grouping("exponential", GROUP_SIZE),
}
TABLES: tuple[tuple[str, dict[str, MakeMethod], str | None], ...] = (
    ("The paper's methods", OF_THE_PAPER, None),
    ("The package's groupings beside Moshpit", GROUPINGS, "Moshpit"),
    ("Push-sum beside SGP", {"push-sum": push_sum}, "SGP"),
)
LIMITS = (1e-9, 1e-4)
NOTES = """
The paper's methods come back to the digit, since they are drawn from the same seeds. Only Moshpit does not: the paper
draws the cells of its grid without a seed.

By grouping grid the package lays the tightest grid, 16 x 32 for 512 peers and 24 x 32 for 768, where the paper's is
half or a quarter empty, and deals it anew after every two rounds. auto takes the grid where it would fill 70 % of
32 x 32 and random groups below. exponential meets in pairs: exact after log2 N rounds of a power of two, with a
sixteenth of the members.

What the paper calls SGP is the mean with two peers a round, without push-sum's weights. Push-sum with one peer a round,
as Assran et al. (2019) describe it, is exact after log2 N rounds of a power of two, too. Neither shuffles its peers, so
other numbers keep a slow direction.
"""


@dataclass(frozen=True)
class Setting:
    """What is varied and what is not. variance: below which the peers count as agreed."""

    peers: int
    failure: float
    variance: float = 1e-9
    runs: int = 10

    @property
    def row(self) -> str:
        """Its name in the tables."""
        return f"{self.peers} peers, p = {self.failure:g}"


def mean_rounds(make: MakeMethod, setting: Setting) -> float:
    """Rounds until the peers agree, at most `MOST_ROUNDS`, as the mean over all runs."""
    return float(np.mean([rounds_of_run(make, setting, seed=seed) for seed in range(setting.runs)]))


def rounds_of_run(make: MakeMethod, setting: Setting, *, seed: int) -> int:
    """The same for one run."""
    draws = Draws(seed, np.random.RandomState(seed))
    values = draws.generator.normal(0, 1, setting.peers)
    method = make(setting.peers, draws)
    rounds = 0
    while rounds < MOST_ROUNDS and values.var() >= setting.variance:
        rounds += 1
        alive = draws.generator.uniform(0, 1, setting.peers) >= setting.failure
        values = method(values, alive, rounds)
    return rounds


def measure(setting: Setting, methods: Mapping[str, MakeMethod], *, beside_of: str | None = None) -> list[Figure]:
    """One row, each method beside the paper's method of its name, or all beside one of them."""
    figures = []
    for name, make in methods.items():
        published = published_rounds(setting, beside_of or name)
        figures.append(beside(setting.row, name, published=published, ours=mean_rounds(make, setting)))
    return figures


def published_rounds(setting: Setting, method: str) -> float | None:
    """The figure of the paper, if it has one."""
    row = PUBLISHED.get((setting.peers, setting.failure))
    if row is None or setting.variance not in LIMITS:
        return None
    return row[list(OF_THE_PAPER).index(method)][LIMITS.index(setting.variance)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument(
        "--peers", type=numbers(64, GROUP_SIZE**2), default=PEERS, metavar="N,N", help="sizes (512 to 1024)"
    )
    own.add_argument("--runs", type=whole_number(1), default=10, metavar="N", help="runs, with seeds from 0 (10)")
    own.add_argument("--variance", type=float, choices=LIMITS, default=LIMITS[0], help="what counts as agreed (1e-9)")
    given = own.parse_args(arguments)
    settings = [Setting(peers, failure, given.variance, given.runs) for peers in given.peers for failure in FAILURES]
    figures = []
    for title, methods, beside_of in TABLES:
        found = [figure for setting in settings for figure in measure(setting, methods, beside_of=beside_of)]
        show_figures(f"{title}: rounds to {given.variance:g}", found)
        figures += found
    show_notes(NOTES)
    write_figures(given.json, benchmark="moshpit_averaging", figures=figures)


if __name__ == "__main__":
    main()
