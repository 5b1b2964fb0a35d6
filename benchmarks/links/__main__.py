"""How long whole rounds take over links as people have them, here, in hivemind, and over plain TCP.

    sudo .venv/bin/python -m benchmarks.links
    sudo .venv/bin/python -m benchmarks.links --cell size=5,mbit=20 --cell size=25,mbit=100,delay=40,loss=0.5 --rounds 6
    sudo .venv/bin/python -m benchmarks.links --cells fast --systems tcp gossiptrain-direct-fp32 gossiptrain-direct-int8
    sudo .venv/bin/python -m benchmarks.links --systems tcp gossiptrain-direct-int8 --congestion cubic --json links.json

Every peer is a process on a host of its own, a network namespace of this computer, behind a link with the rate, delay,
queue and losses of the cell. The systems take turns: one round of each, everything else idle, then all over again. A
round takes as long as its slowest peer, and includes finding a group where a system has to. The first rounds after a
start are told apart from later ones: connections are made then, and their speed is found out.

A cell is size= in MB, mbit=, delay= of a round trip in ms, uplink= as a share of mbit, loss= in percent, queue= in ms,
and hosts=; the systems are those of `python -m benchmarks.round`. Needs root and Linux.

Owns the order of measurement and the table. Does not know how links are made, nor how any system works.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.links.cell import CELLS_BY_NAME, Cell, cell
from benchmarks.links.laboratory import laboratory
from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from benchmarks.namespaces import DEVICE, Hosts, address_of
from benchmarks.round.__main__ import system
from benchmarks.round.contender import Job, Timing
from benchmarks.round.processes import Peers, Place, all_systems

SYSTEMS = ("tcp", "hivemind", "gossiptrain-direct-fp32")
LONGEST_IN_BOUNDS = 10.0
"""A round that takes so many times as long as the link needs, and a minute, counts as hanging."""


@dataclass
class Samples:
    """The rounds of one system in one cell, in seconds."""

    first_s: list[float] = field(default_factory=list)
    later_s: list[float] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)

    def add(self, outcome: Timing | str, *, is_first: bool) -> None:
        """Notes one round, or why it did not take place."""
        if isinstance(outcome, str):
            self.incomplete.append(outcome)
        else:
            (self.first_s if is_first else self.later_s).append(outcome.whole_s)


@dataclass(frozen=True)
class Row:
    """What one system does in one cell. to_tcp, to_hivemind: ratios of the medians of later rounds; first_to_tcp: of
    the first ones. None where there is nothing to compare."""

    cell: Cell
    bound_s: float
    system: str
    first_s: Summary | None
    later_s: Summary | None
    first_to_tcp: float | None
    to_tcp: float | None
    to_hivemind: float | None
    incomplete: list[str]
    samples: Samples
    load_1min: float


def measure(where: Cell, systems: Sequence[str], *, starts: int, rounds: int, congestion: str = "") -> list[Row]:
    """All systems in turn, started anew `starts` times. Raises OSError where there can be no hosts."""
    samples = {name: Samples() for name in systems}
    with laboratory([where.link] * where.hosts, congestion=congestion) as hosts:
        for _ in range(starts):
            _measure_once(hosts, where, samples, rounds=rounds)
    return [_row(where, name, samples) for name in systems]


def _measure_once(hosts: Hosts, where: Cell, samples: dict[str, Samples], *, rounds: int) -> None:
    job = Job(
        "",
        rank=0,
        peers=where.hosts,
        elements=where.elements,
        round_trip_s=where.delay / 1000,
        longest_s=60 + LONGEST_IN_BOUNDS * where.bound_s,
    )
    places = [Place(address_of(host), DEVICE, tuple(hosts.on(host))) for host in range(where.hosts)]
    with all_systems(list(samples), job, places=places) as found:
        for number in range(rounds):
            for name, outcome in take_turns(found).items():
                samples[name].add(outcome, is_first=number == 0)


def take_turns(found: dict[str, Peers]) -> dict[str, Timing | str]:
    """One round of each system."""
    return {name: peers.round() for name, peers in found.items()}


def _row(where: Cell, name: str, samples: dict[str, Samples]) -> Row:
    own = samples[name]

    def ratio(other: str, part: str) -> float | None:
        theirs, ours = (getattr(samples.get(which, Samples()), part) for which in (other, name))
        return summary(ours).median / summary(theirs).median if ours and theirs else None

    return Row(
        where,
        bound_s=where.bound_s,
        system=name,
        first_s=summary(own.first_s) if own.first_s else None,
        later_s=summary(own.later_s) if own.later_s else None,
        first_to_tcp=ratio("tcp", "first_s"),
        to_tcp=ratio("tcp", "later_s"),
        to_hivemind=ratio("hivemind", "later_s"),
        incomplete=own.incomplete,
        samples=own,
        load_1min=round(os.getloadavg()[0], 2),
    )


def show(rows: Sequence[Row]) -> None:
    """One table for one cell."""
    title = f"{rows[0].cell}: bound {rows[0].bound_s:.2f} s, load {rows[0].load_1min:g}; medians, from least to most"
    columns = ("", "first round", "later rounds", "first to tcp", "to tcp", "to hivemind", "rounds")
    table = [
        [
            row.system,
            seconds(row.first_s),
            seconds(row.later_s),
            *map(times_of, (row.first_to_tcp, row.to_tcp, row.to_hivemind)),
            rounds_of(row),
        ]
        for row in rows
    ]
    show_table(title, columns, table)
    for row in rows:
        for reason in dict.fromkeys(row.incomplete):
            Console().print(f"{row.system}: incomplete: {reason}", markup=False)


def seconds(found: Summary | None) -> str:
    """`3.42 s (3.40 to 3.51)`."""
    return "-" if found is None else f"{found.median:.2f} s ({found.minimum:.2f} to {found.maximum:.2f})"


def times_of(ratio: float | None) -> str:
    """`0.5` is `0.50 x`."""
    return "-" if ratio is None else f"{ratio:.2f} x"


def rounds_of(row: Row) -> str:
    """How many rounds of how many were complete."""
    complete = len(row.samples.first_s) + len(row.samples.later_s)
    return f"{complete} of {complete + len(row.incomplete)}"


def main() -> int:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", type=cell, action="append", metavar="NAME=NUMBER,...", help="may be repeated")
    parser.add_argument("--cells", choices=tuple(CELLS_BY_NAME), default="usual", help="where no --cell is named")
    parser.add_argument("--systems", type=system, nargs="+", default=SYSTEMS, metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--starts", type=whole_number(1), default=2, metavar="N", help="each with a first round (2)")
    parser.add_argument("--rounds", type=whole_number(1), default=5, metavar="N", help="after each start (5)")
    parser.add_argument("--congestion", default="", metavar="NAME", help="TCP's congestion control: the system's own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and all samples there, too")
    given = parser.parse_args()
    # An end from outside is an end as by Ctrl+C: nothing may be left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    where: dict[str, Any] = {**machine(), "congestion": given.congestion or "as the system has it"}
    results: list[Row] = []
    for one in given.cell or CELLS_BY_NAME[given.cells]:
        try:
            rows = measure(one, given.systems, starts=given.starts, rounds=given.rounds, congestion=given.congestion)
        except OSError as error:
            print(f"There can be no laboratory of links here: {error}", file=sys.stderr)
            return 1
        show(rows)
        results += rows
        if given.json is not None:
            write_json(given.json, benchmark="links", measured_on=where, results=results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
