"""What a peer that dies, restarts or freezes in a round costs the others, at every instant of the round.

    .venv/bin/python -m benchmarks.interruptions
    .venv/bin/python -m benchmarks.interruptions --faults freeze --every-ms 4 --json interruptions.json

Four peers average round after round with the waits of the preset `local`. In one round one of them, which is the
coordinator, the leader or neither, is interrupted: at instants that are `--every-ms` apart, from the beginning of an
undisturbed round to its end, and at as many random ones as `--random` says. Who coordinates and leads, and who stands
in for whom, follows from the name of the run; so all is repeated with `--runs` names. The cost is the time until all
others have two rounds that committed, beyond what two undisturbed ones take over the same links.

The peers are the swarm's own code on the network in memory, under virtual time, with vectors of 1000 values and 2 ms
from one peer to the other: no figure depends on this computer.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tests.swarm.interrupted_rounds import LINKS, Course, Links, Role, instants_s, undisturbed
from tests.swarm.interruptions import Fault

from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json

ROUNDS = {"later": True, "first": False}
"""Whether there were rounds before, from which the peers know how long links take."""


@dataclass(frozen=True)
class Row:
    """One line of the table. cost_s: over all instants. worst_at_s: from the beginning of the round."""

    role: Role
    fault: Fault
    links: str
    round: str
    cost_s: Summary
    worst_at_s: float


@dataclass(frozen=True)
class Spread:
    """Which instants of a round."""

    every_s: float
    random_ones: int
    runs: int

    def instants_s(self, links: Links, *, experienced: bool) -> list[float]:
        """From the beginning of an undisturbed round to its end."""
        length_s = undisturbed(links, experienced=experienced).first_s
        even = math.ceil(length_s / self.every_s)
        return instants_s(links, even=even, random_ones=self.random_ones, experienced=experienced)


def measure(role: Role, fault: Fault, *, links: str, round_name: str, spread: Spread) -> Row:
    """One line: the same interruption at all instants."""
    experienced = ROUNDS[round_name]
    costs_s = [
        (Course(role, at_s, fault, links=LINKS[links], experienced=experienced, run=f"run {run}").cost_s(), at_s)
        for at_s in spread.instants_s(LINKS[links], experienced=experienced)
        for run in range(spread.runs)
    ]
    return Row(role, fault, links, round_name, summary([cost_s for cost_s, _ in costs_s]), max(costs_s)[1])


def show(results: list[Row]) -> None:
    """A table, one row for each kind of interruption."""
    rows = [
        [
            f"{row.role}, {row.fault}",
            row.links,
            row.round,
            f"{row.cost_s.maximum:.2f} s",
            f"{1000 * row.worst_at_s:.1f} ms",
            f"{row.cost_s.median:.2f} s",
            str(row.cost_s.samples),
        ]
        for row in results
    ]
    columns = ["", "links", "round", "worst", "at", "median", "instants"]
    show_table("What an interrupted peer costs the others", columns, rows)


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=get_args(Fault), default=get_args(Fault), help="(all)")
    parser.add_argument("--links", nargs="+", choices=list(LINKS), default=list(LINKS), help="(all)")
    parser.add_argument("--every-ms", type=whole_number(1), default=1, metavar="MS", help="between instants (1)")
    parser.add_argument("--random", type=whole_number(0), default=16, metavar="N", help="random instants (16)")
    parser.add_argument("--runs", type=whole_number(1), default=4, metavar="N", help="names of the run (4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where, results = machine(), []
    spread = Spread(given.every_ms / 1000, given.random, given.runs)
    for round_name, links, fault, role in itertools.product(ROUNDS, given.links, given.faults, get_args(Role)):
        results.append(measure(role, fault, links=links, round_name=round_name, spread=spread))
        if given.json is not None:
            write_json(given.json, benchmark="interruptions", measured_on=where, results=results)
    show(results)


if __name__ == "__main__":
    main()
