"""When a grid is worth it: disagreement of peers that meet on a grid beside that of peers in random groups.

    .venv/bin/python -m benchmarks.papers.grouping_choice
    .venv/bin/python -m benchmarks.papers.grouping_choice --sizes 8 --peers 40,48,56,64 --json choice.json

Every peer drifts by noise between two rounds, as in training; compared is the squared disagreement that remains after a
round, on average over the rounds. A share below 1: the grid keeps peers closer together. In each round every peer is
away with a chance of 0, 10 or 30 %. `left` and `random` are what schedule and random groups leave of a disagreement
after as many rounds as the grid has axes, nobody away and nothing new: a full grid leaves nothing.

Ryabinin et al. (2021) found a half-empty grid worse than random groups. Here the grid is always laid as tightly as it
can be, so what counts is how near its lines are to the largest group: N / k^d for d axes, called occupancy. `auto`
takes the grid from `core.grouping.WORTHWHILE_OCCUPANCY` on. Groups of two are exponential pairs beside random pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.papers.mixing import Meetings, mixing_matrix, steady_disagreement, variance_left
from benchmarks.papers.tables import parser, show_notes
from benchmarks.round import numbers
from gossiptrain.config import GroupingName
from gossiptrain.core.averaging import expected_contraction
from gossiptrain.core.grouping import WORTHWHILE_OCCUPANCY, GroupLimits, group_sizes
from gossiptrain.core.schedules import exponential_turns, grid_occupancy, grid_sides

SIZES = [2, 4, 8, 16]
PEERS = [9, 12, 14, 16, 20, 24, 27, 30, 32, 36, 40, 42, 45, 48, 51, 54, 56, 60, 63, 64]
ABSENCES = (0.0, 0.1, 0.3)
RANDOM: GroupingName = "random"
NOTES = f"""
auto takes the grid from an occupancy of {WORTHWHILE_OCCUPANCY:.0%} on. From there it costs at most 15 % of disagreement
in the long run and at best saves 12 %; after a cycle it leaves less than a fifth of what random groups leave, or
nothing, which makes a merge exact. Below, its small groups cost up to five times. Where peers come and go between
rounds the lines of a cycle no longer fit together, and the grid is at best as good as random groups. Exponential pairs
are at least as good as random ones.
"""


@dataclass(frozen=True)
class Choice:
    """One row. sides: of the grid; empty for pairs. steady: by chance of absence, schedule relative to random groups.

    after_a_cycle: what the schedule leaves of the variance in one cycle; random_after_a_cycle: random groups, as long.
    """

    peers: int
    size: int
    sides: tuple[int, ...]
    occupancy: float
    steady: tuple[float, ...]
    after_a_cycle: float
    random_after_a_cycle: float

    @property
    def auto_takes_schedule(self) -> bool:
        """Whether the package's `auto` follows the grid, or the pairs."""
        return not self.sides or self.occupancy >= WORTHWHILE_OCCUPANCY


def measure(peers: int, size: int, *, rounds: int) -> Choice | None:
    """None where one group is enough, or no grid fits."""
    if peers <= size:
        return None
    sides = grid_sides(peers, shortest=2, longest=size) if size > 2 else ()
    if sides is None:
        return None
    schedule: GroupingName = "grid" if sides else "exponential"
    cycle = len(sides) or exponential_turns(peers)
    steady = tuple(_steady_share(peers, Meetings(schedule, size), absence, rounds) for absence in ABSENCES)
    left = _left_after(peers, Meetings(schedule, size), cycle)
    groups = group_sizes(peers, GroupLimits(2, size))
    at_random = expected_contraction(peers=peers, groups=len(groups) + peers - sum(groups)) ** cycle
    occupancy = grid_occupancy(peers, axes=len(sides), longest=size) if sides else 1.0
    return Choice(peers, size, sides, round(occupancy, 3), steady, left, round(at_random, 6))


def _steady_share(peers: int, meetings: Meetings, absence: float, rounds: int) -> float:
    own = steady_disagreement(peers, meetings, absence=absence, rounds=rounds)
    return round(own / steady_disagreement(peers, Meetings(RANDOM, meetings.size), absence=absence, rounds=rounds), 3)


def _left_after(peers: int, meetings: Meetings, rounds: int) -> float:
    product = np.eye(peers)
    for number in range(rounds):
        product = mixing_matrix(peers, meetings.groups(range(peers), number)) @ product
    return round(variance_left(product), 6)


def show(choices: Sequence[Choice]) -> None:
    """One table."""
    rows = [
        [
            f"{choice.size}, {choice.peers}",
            " x ".join(map(str, choice.sides)) or "pairs",
            f"{choice.occupancy:.0%}" if choice.sides else "–",
            *(f"{share:.2f}" for share in choice.steady),
            f"{choice.after_a_cycle:.4f}",
            f"{choice.random_after_a_cycle:.4f}",
            ("pairs" if not choice.sides else "grid") if choice.auto_takes_schedule else "random",
        ]
        for choice in choices
    ]
    header = ["k, N", "schedule", "filled", *(f"{absence:.0%}" for absence in ABSENCES), "left", "random", "auto"]
    show_table("Disagreement relative to random groups while some are away", header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--sizes", type=numbers(2, 64), default=SIZES, metavar="K,K", help="group sizes (2,4,8,16)")
    own.add_argument("--peers", type=numbers(3, 256), default=PEERS, metavar="N,N", help="sizes of swarms (9 to 64)")
    own.add_argument("--rounds", type=whole_number(12), default=120, metavar="N", help="rounds of each run (120)")
    given = own.parse_args(arguments)
    where = machine()
    found = [measure(peers, size, rounds=given.rounds) for size in given.sizes for peers in given.peers]
    choices = [choice for choice in found if choice is not None]
    show(choices)
    show_notes(NOTES)
    if given.json is not None:
        write_json(given.json, benchmark="grouping_choice", measured_on=where, results=choices)


if __name__ == "__main__":
    main()
