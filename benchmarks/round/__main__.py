"""How long one round of averaging takes, here and in other systems, on the loopback of this computer.

    .venv/bin/python -m benchmarks.round
    .venv/bin/python -m benchmarks.round --sizes 1 --peers 2 --repetitions 5 --json round.json
    .venv/bin/python -m benchmarks.round --systems hivemind gossiptrain-direct-fp16

Every peer is a process of its own and brings a vector of float32; a size of 1 MB is 10^6 bytes. The systems take
turns: one round of each, everything else idle, then all over again, so that a machine that becomes slower or faster
meanwhile favours none. A round takes as long as its slowest peer. Every result is compared with the known mean.

    hivemind                 DecentralizedAverager without compression, its matchmaking as short as works reliably
    gloo                     torch.distributed.all_reduce: the peers are given, and nothing is encrypted
    tcp                      each slice to its owner and the means back over plain TCP, nothing encrypted
    tls                      not an average: the bytes of an all-reduce copied over TLS 1.3, the floor for all
    gossiptrain-PATH-CODEC   this project, for example gossiptrain-direct-fp16

Owns the order of measurement and the table. Does not know how any system works.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from benchmarks.round.contender import Job, Timing
from benchmarks.round.processes import Peers, Place, all_systems

ELEMENT_BYTES = 4
MEGABYTE = 1_000_000
WARM_UPS = 2
SYSTEMS = ("hivemind", "gloo", "tls", "gossiptrain-libp2p-fp32", "gossiptrain-direct-fp32", "gossiptrain-direct-fp16")
NAMES = re.compile(r"hivemind|gloo|tcp|tls|gossiptrain-(direct|libp2p)-(fp32|fp16|bf16|int8|int4)")


@dataclass(frozen=True)
class RoundTime:
    """One row. incomplete: why rounds took place without some peers or not at all; they have no sample.

    whole_to_hivemind, transfer_to_gloo, transfer_to_tls: ratios of the medians; None where the other was not measured.
    """

    system: str
    size_mb: int
    peers: int
    formation_s: Summary
    transfer_s: Summary
    whole_s: Summary
    whole_to_hivemind: float | None
    transfer_to_gloo: float | None
    transfer_to_tls: float | None
    incomplete: list[str]
    samples: list[Timing]


@dataclass(frozen=True)
class Samples:
    """The rounds of one system."""

    timings: list[Timing]
    incomplete: list[str]


def measure(systems: Sequence[str], *, size_mb: int, peers: int, repetitions: int) -> list[RoundTime]:
    """All systems in turn, `repetitions` times."""
    job = Job("", 0, peers, elements=size_mb * MEGABYTE // ELEMENT_BYTES)
    with all_systems(systems, job, places=[Place()] * peers) as found:
        for _ in range(WARM_UPS):
            take_turns(found)
        samples = {system: Samples([], []) for system in systems}
        for _ in range(repetitions):
            for system, outcome in take_turns(found).items():
                if isinstance(outcome, Timing):
                    samples[system].timings.append(outcome)
                else:
                    samples[system].incomplete.append(outcome)
    for system, taken in samples.items():
        if not taken.timings:
            raise SystemExit(f"{system}: no round of {repetitions} was complete: {taken.incomplete[0]}")
    return [row(system, samples, size_mb=size_mb, peers=peers) for system in systems]


def take_turns(found: dict[str, Peers]) -> dict[str, Timing | str]:
    """One round of each system."""
    return {system: peers_of_system.round() for system, peers_of_system in found.items()}


def row(system: str, samples: dict[str, Samples], *, size_mb: int, peers: int) -> RoundTime:
    """The figures of one system, beside those of the others."""
    timings = samples[system].timings

    def ratio(other: str, part: Callable[[Timing], float]) -> float | None:
        if other not in samples:
            return None
        return summary([*map(part, timings)]).median / summary([*map(part, samples[other].timings)]).median

    return RoundTime(
        system,
        size_mb,
        peers,
        formation_s=summary([timing.formation_s for timing in timings]),
        transfer_s=summary([timing.transfer_s for timing in timings]),
        whole_s=summary([timing.whole_s for timing in timings]),
        whole_to_hivemind=ratio("hivemind", lambda timing: timing.whole_s),
        transfer_to_gloo=ratio("gloo", lambda timing: timing.transfer_s),
        transfer_to_tls=ratio("tls", lambda timing: timing.transfer_s),
        incomplete=samples[system].incomplete,
        samples=timings,
    )


def show(rows: Sequence[RoundTime]) -> None:
    """Two tables for one size and number of peers."""
    first = rows[0]
    title = f"{first.size_mb} MB among {first.peers} peers: median / p95 in ms"
    times = [[row.system, *map(figures, (row.formation_s, row.transfer_s, row.whole_s))] for row in rows]
    show_table(title, ["", "formation", "transfer", "whole"], times)
    ratios = [
        [row.system, *map(times_of, (row.whole_to_hivemind, row.transfer_to_gloo, row.transfer_to_tls)), rounds(row)]
        for row in rows
    ]
    columns = ["", "to hivemind", "to gloo", "to tls", "rounds"]
    show_table("Ratios of the medians: whole to hivemind's, transfer to the others'", columns, ratios)
    for row in rows:
        for reason in dict.fromkeys(row.incomplete):
            Console().print(f"{row.system}: incomplete: {reason}", markup=False)


def figures(seconds: Summary) -> str:
    """Median and p95 in milliseconds; a dash where there is nothing to wait for."""
    if not seconds.maximum:
        return "-"
    return " / ".join(f"{1000 * value:.{1 if value < 1 else 0}f}" for value in (seconds.median, seconds.p95))


def times_of(ratio: float | None) -> str:
    """`0.5` is `0.50 x`."""
    return "-" if ratio is None else f"{ratio:.2f} x"


def rounds(row: RoundTime) -> str:
    """How many rounds of how many were complete."""
    return f"{len(row.samples)} of {len(row.samples) + len(row.incomplete)}"


def numbers(minimum: int, maximum: int) -> Callable[[str], list[int]]:
    """The `type` of an argument that is a list of whole numbers, like `1,25,100`."""
    number = whole_number(minimum, maximum)
    return lambda text: [number(part) for part in text.split(",")]


def system(text: str) -> str:
    """The `type` of an argument that is the name of a system."""
    if not NAMES.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not hivemind, gloo, tcp, tls or gossiptrain-PATH-CODEC")
    return text


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=numbers(1, 1000), default=[1, 25, 100], metavar="MB,MB", help="1,25,100")
    parser.add_argument("--peers", type=numbers(2, 16), default=[2, 4], metavar="N,N", help="2,4")
    parser.add_argument("--repetitions", type=whole_number(1), default=10, metavar="N", help="counted rounds (10)")
    parser.add_argument("--systems", type=system, nargs="+", default=SYSTEMS, metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and all samples there, too")
    given = parser.parse_args()
    # An end from outside is an end as by Ctrl+C: nothing may be left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    where = machine()
    results: list[RoundTime] = []
    for size_mb in given.sizes:
        for peers in given.peers:
            rows = measure(given.systems, size_mb=size_mb, peers=peers, repetitions=given.repetitions)
            show(rows)
            results += rows
            if given.json is not None:
                write_json(given.json, benchmark="round", measured_on=where, results=results)


if __name__ == "__main__":
    main()
