"""The share of time that is spent training, by the speed of the line: this project, hivemind and gloo.

    sudo .venv/bin/python -m benchmarks.links.curve --json curve.json
    sudo .venv/bin/python -m benchmarks.links.curve --mbit 20 100 --delay 0 --rounds 2
    .venv/bin/python -m benchmarks.links.curve --from curve.json --millions 100 --every 300

**Measured** are rounds: `benchmarks.links` times them over a line of that speed and delay, with so many values that the
line needs some seconds for them in float32. **Computed** from that, and called so, is the share of a training with a
model of another size: its round takes as many times what the line needs for it, plus what the delay adds to either. A
system that holds steps up while it averages, as gloo and hivemind's averager do, spends `every` of `every + round`
training. One that averages beside the steps loses none, and has fewer rounds where one takes longer than lies between
two; what it takes from the processor is in `benchmarks.overhead`, and the same measured end to end, for a few speeds,
in `benchmarks.links.training`. hivemind's optimizer averages in the background and holds steps up for matchmaking and
for applying the result: it lies between the two, and its row is that of the averager that it uses.

Owns the cells and the arithmetic. Does not know any system.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.links.__main__ import Row, measure
from benchmarks.links.cell import ELEMENT_BYTES, MEGABYTE, Cell
from benchmarks.measure import machine, show_table, whole_number, write_json
from gossiptrain.training.pacing import apart_s

SYSTEMS = ("gossiptrain-direct-fp32", "gossiptrain-direct-int8", "gossiptrain-direct-int4", "hivemind", "gloo")
BLOCKING = ("hivemind", "gloo")
"""A step waits for their rounds."""
BOUND_S = 2.0
"""The line needs so long for a measured round in float32."""
MOST_MB = 100.0
"""Of a measured vector, however fast the line is."""


@dataclass(frozen=True)
class Point:
    """One measured round. line_s: what the line needs for its bytes in float32; first_s: the first after a start."""

    system: str
    mbit: float
    delay_ms: float
    megabytes: float
    line_s: float
    round_s: float
    first_s: float | None
    load_1min: float

    def round_of(self, megabytes: float) -> float:
        """How long a round with a model of another size takes, in seconds: by proportion but for the delay's part.

        A round has three round trips that do not depend on the size: to find the group, to move, and to agree.
        """
        fixed_s = min(3 * self.delay_ms / 1000, 0.9 * self.round_s)
        return fixed_s + (self.round_s - fixed_s) * megabytes / self.megabytes


@dataclass(frozen=True)
class Share:
    """Computed: of a training with a round every so often. rounds_an_hour: as many as there can be."""

    training: float
    rounds_an_hour: float


def share_of(point: Point, *, megabytes: float, every_s: float) -> Share:
    """Of a model of that size in float32. every_s: from the end of a round to the next; for one that runs beside the
    steps from its beginning, or longer where it takes most of that."""
    round_s = point.round_of(megabytes)
    if point.system in BLOCKING:
        return Share(every_s / (every_s + round_s), 3600 / (every_s + round_s))
    return Share(1.0, 3600 / apart_s(round_s, every_s=every_s))


def cell_at(mbit: float, delay_ms: float, *, hosts: int) -> Cell:
    """A line of that kind, with a vector that it carries in `BOUND_S`."""
    whole = Cell(size=1.0, mbit=mbit, delay=delay_ms, hosts=hosts)
    size = min(MOST_MB, round(BOUND_S / whole.bound_s, 2))
    return Cell(size=size, mbit=mbit, delay=delay_ms, queue=max(50.0, 2 * delay_ms), hosts=hosts)


def points_of(rows: Sequence[Row]) -> list[Point]:
    """What was measured in one cell; a system whose rounds were all incomplete has none."""
    return [
        Point(
            row.system,
            mbit=row.cell.mbit,
            delay_ms=row.cell.delay,
            megabytes=row.cell.elements * ELEMENT_BYTES / MEGABYTE,
            line_s=row.bound_s,
            round_s=row.later_s.median,
            first_s=None if row.first_s is None else row.first_s.median,
            load_1min=row.load_1min,
        )
        for row in rows
        if row.later_s is not None
    ]


def show(points: Sequence[Point], *, millions: int, every_s: float) -> None:
    """One table for each delay."""
    megabytes = 4.0 * millions
    systems = list(dict.fromkeys(point.system for point in points))
    print(
        f"Time spent training, computed from measured rounds: {millions} million parameters, a round every "
        f"{every_s:g} s; in brackets rounds an hour."
    )
    for delay_ms in dict.fromkeys(point.delay_ms for point in points):
        found = {(point.mbit, point.system): point for point in points if point.delay_ms == delay_ms}
        rows = []
        for mbit in dict.fromkeys(mbit for mbit, _ in found):
            cells = [_text(found.get((mbit, system)), megabytes=megabytes, every_s=every_s) for system in systems]
            rows.append([f"{mbit:g} Mbit/s", *cells])
        show_table(f"{delay_ms:g} ms", ["", *(system.removeprefix("gossiptrain-direct-") for system in systems)], rows)


def _text(point: Point | None, *, megabytes: float, every_s: float) -> str:
    if point is None:
        return "-"
    share = share_of(point, megabytes=megabytes, every_s=every_s)
    return f"{100 * share.training:.0f} % ({share.rounds_an_hour:.0f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", nargs="+", type=float, default=[10.0, 50.0, 200.0, 1000.0])
    parser.add_argument("--delay", nargs="+", type=float, default=[0.0, 40.0], metavar="MS", help="of a round trip")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS, metavar="NAME")
    parser.add_argument("--hosts", type=whole_number(2, 16), default=4)
    parser.add_argument("--rounds", type=whole_number(2), default=4, help="of each system in each cell (4)")
    parser.add_argument("--millions", type=whole_number(1, 1_000_000), default=30, help="of parameters (30)")
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="between two rounds (60)")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="points that were measured before")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the points there, after each cell")
    given = parser.parse_args(arguments)
    if given.source is not None:
        points = [Point(**point) for point in json.loads(given.source.read_text())["results"]]
        show(points, millions=given.millions, every_s=given.every)
        return 0
    where, points = machine(), []
    for delay_ms in given.delay:
        for mbit in given.mbit:
            cell = cell_at(mbit, delay_ms, hosts=given.hosts)
            try:
                found = points_of(measure(cell, given.systems, starts=1, rounds=given.rounds))
            except OSError as error:
                print(f"There can be no laboratory of links here: {error}", file=sys.stderr)
                return 1
            points += found
            for point in found:
                print(json.dumps(asdict(point)), flush=True)
            if given.json is not None:
                write_json(given.json, benchmark="links.curve", measured_on=where, results=points)
    show(points, millions=given.millions, every_s=given.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
