"""The tables that `benchmarks.overhead` prints, each narrow enough for 80 columns."""

from __future__ import annotations

from benchmarks.measure import milliseconds, show_table
from benchmarks.overhead.figures import Overhead
from benchmarks.overhead.turn import Cost


def show_speed(rows: list[Overhead]) -> None:
    """Prints the tables of all systems and intervals."""
    names = [f"{own.system}, {own.interval_s:g} s" for own in rows]
    speeds = [
        [
            f"{own.steps_per_s.median:.2f}",
            *(f"{100 * kept:.1f} %" for kept in (own.kept.median, own.kept.minimum, own.kept.maximum)),
            f"{own.rounds}" + f" (+{own.failed_rounds})" * (own.failed_rounds > 0),
            "" if own.period_s is None else f"{own.period_s:.1f} s",
        ]
        for own in rows
    ]
    steps = [
        list(map(milliseconds, (own.step_p50_s, own.step_p99_s, own.longest_step_s.maximum, own.beyond_plain_s)))
        for own in rows
    ]
    columns = ["", "steps/s", "kept", "least", "most", "rounds", "apart"]
    show_table("Speed kept while peers gossip every so many seconds", columns, named(names, speeds))
    columns = ["", "median", "p99", "longest", "beyond plain"]
    show_table("From one step's end to the next", columns, named(names, steps))


def show_costs(costs: list[Cost]) -> None:
    """Prints the tables of what a system costs once."""
    names = [own.system for own in costs]
    starts = [
        [
            "" if own.reachable_s is None else f"{own.reachable_s.median:.2f} s",
            f"{own.ready_first_s.median:.2f} s",
            f"{own.ready_later_s.median:.2f} s",
            f"{own.turns_left_cleanly} of {own.turns}",
        ]
        for own in costs
    ]
    sizes = [
        [
            str(own.processes_beside),
            *(f"{size_mb:.0f} MB" for size_mb in (own.beside_mb.median, own.copies_mb.median, own.beyond_plain_mb)),
        ]
        for own in costs
    ]
    columns = ["", "reachable", "ready, first peer", "later peers", "ended well"]
    show_table("From the first call on", columns, named(names, starts))
    columns = ["", "processes", "memory", "copies of the model", "all beyond plain"]
    show_table("Beside a peer's trainer", columns, named(names, sizes))


def named(names: list[str], cells: list[list[str]]) -> list[list[str]]:
    """Puts the names before the rows."""
    return [[name, *own] for name, own in zip(names, cells, strict=True)]
