"""Which grouping keeps peers closest: crossed groups, a grid and exponential pairs, beside random groups.

    .venv/bin/python -m benchmarks.papers.grouping_choice
    .venv/bin/python -m benchmarks.papers.grouping_choice --sizes 8 --peers 40,48,56,64 --json choice.json

Every peer drifts by noise between two rounds, as in training; compared is the squared disagreement that remains after a
round, on average over the rounds. A share below 1: peers are closer together than in random groups. In each round every
peer is away with a chance of 0, 10 or 30 %. The schedule is a grid (Moshpit SGD, Ryabinin et al. 2021), laid as tightly
as it can be, or for groups of two exponential pairs (Ying et al. 2021). `filled`: N / k^d for a grid of d axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.papers.mixing import Meetings, steady_disagreement
from benchmarks.papers.tables import parser, show_notes
from benchmarks.round.__main__ import numbers
from gossiptrain.config import GroupingName
from gossiptrain.core.schedules import grid_occupancy, grid_sides

SIZES = [2, 4, 8, 16]
PEERS = [6, 8, 12, 14, 16, 20, 24, 32, 48, 63, 64]
ABSENCES = (0.0, 0.1, 0.3)
NOTES = """
Groups that take as few as possible from each group of before are never worse than random ones, and at least as good as
a full grid in all but single cases, where some are away in all. A grid that is not full costs up to five times the
disagreement. So `auto` is crossed groups, whatever the numbers are; a grid and pairs remain for those who need exact
agreement after a fixed number of rounds.
"""


@dataclass(frozen=True)
class Choice:
    """One row. sides: of the grid; empty for pairs, None where no grid fits.

    crossed, schedule: squared disagreement relative to random groups, by chance of absence.
    """

    peers: int
    size: int
    sides: tuple[int, ...] | None
    filled: float | None
    crossed: tuple[float, ...]
    schedule: tuple[float, ...]


def measure(peers: int, size: int, *, rounds: int) -> Choice | None:
    """None where one group is enough."""
    if peers <= size:
        return None
    sides = grid_sides(peers, shortest=2, longest=size) if size > 2 else ()
    scheduled: GroupingName = "grid" if sides else "exponential"

    def shares(grouping: GroupingName) -> tuple[float, ...]:
        return tuple(_share(peers, Meetings(grouping, size), absence, rounds) for absence in ABSENCES)

    filled = round(grid_occupancy(peers, axes=len(sides), longest=size), 3) if sides else None
    return Choice(peers, size, sides, filled, shares("crossed"), shares(scheduled) if sides is not None else ())


def _share(peers: int, meetings: Meetings, absence: float, rounds: int) -> float:
    own = steady_disagreement(peers, meetings, absence=absence, rounds=rounds)
    return round(own / steady_disagreement(peers, Meetings("random", meetings.size), absence=absence, rounds=rounds), 3)


def show(choices: Sequence[Choice]) -> None:
    """One table."""
    rows = [
        [
            f"{choice.size}, {choice.peers}",
            *(f"{share:.2f}" for share in choice.crossed),
            "none fits" if choice.sides is None else " x ".join(map(str, choice.sides)) or "pairs",
            "" if choice.filled is None else f"{choice.filled:.0%}",
            *([f"{share:.2f}" for share in choice.schedule] or [""] * len(ABSENCES)),
        ]
        for choice in choices
    ]
    away = [f"{absence:.0%}" for absence in ABSENCES]
    header = ["k, N", f"crossed, {away[0]}", *away[1:], "schedule", "filled", *away]
    show_table("Disagreement relative to random groups while some are away", header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--sizes", type=numbers(2, 64), default=SIZES, metavar="K,K", help="group sizes (2,4,8,16)")
    own.add_argument("--peers", type=numbers(3, 256), default=PEERS, metavar="N,N", help="sizes of swarms (6 to 64)")
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
