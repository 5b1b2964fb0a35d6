"""What a line carries: how long a round takes by size of the model, uplink and codec, and what it sends in a day.

    .venv/bin/python -m benchmarks.links.expect
    .venv/bin/python -m benchmarks.links.expect --mbit 5 50 --megabytes 500 --members 8 --every 600

Arithmetic, not a measurement: a member of a group of k sends 2 (k - 1) / k models in the codec's bytes through its
uplink, and `OVERHEAD` of that on top, which is what rounds were measured to take beyond it (docs/performance.md, "Links
as people have them"). Training goes on meanwhile, so a round may take three quarters of what lies between two.

Owns the arithmetic and the table. Does not measure anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import show_table, whole_number
from gossiptrain.training.pacing import apart_s

BYTES_A_VALUE = {"fp32": 4.0, "int8": 1.016, "int4": 0.516}
OVERHEAD = 0.2
DAY_S = 86_400.0


@dataclass(frozen=True)
class Line:
    """Of one member. megabytes: of its model in float32."""

    mbit: float
    megabytes: float
    members: int

    def sent_mb(self, codec: str) -> float:
        """In one round."""
        return 2 * (self.members - 1) / self.members * self.megabytes * BYTES_A_VALUE[codec] / 4

    def round_s(self, codec: str) -> float:
        """How long the uplink is busy with it."""
        return self.sent_mb(codec) * 8 / self.mbit * (1 + OVERHEAD)

    def sent_gb_a_day(self, codec: str, *, every_s: float) -> float:
        """With rounds every so many seconds, or less often where they take most of that."""
        return self.sent_mb(codec) * DAY_S / apart_s(self.round_s(codec), every_s=every_s) / 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--mbit", nargs="+", type=float, default=[5.0, 20.0, 100.0, 1000.0], help="of the uplink")
    parser.add_argument("--megabytes", nargs="+", type=float, default=[5.0, 45.0, 500.0, 4000.0])
    parser.add_argument("--members", type=whole_number(2, 64), default=4, help="of a group")
    parser.add_argument("--every", type=float, default=600.0, metavar="SECONDS")
    given = parser.parse_args(arguments)
    lines = [Line(mbit, size, given.members) for size in given.megabytes for mbit in given.mbit]
    columns = ["model, uplink", *(f"a round, {codec}" for codec in BYTES_A_VALUE)]
    columns += [f"a day, {codec}" for codec in BYTES_A_VALUE]
    title = f"Groups of {given.members}, a round every {given.every:g} s"
    show_table(title, columns, [_cells(line, every_s=given.every) for line in lines])
    return 0


def _cells(line: Line, *, every_s: float) -> list[str]:
    rounds = [_seconds(line.round_s(codec)) for codec in BYTES_A_VALUE]
    days = [f"{line.sent_gb_a_day(codec, every_s=every_s):.1f} GB" for codec in BYTES_A_VALUE]
    return [f"{line.megabytes:g} MB, {line.mbit:g} Mbit/s", *rounds, *days]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    sys.exit(main())
