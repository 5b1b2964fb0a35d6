"""`gossip simulate swarm`: whole swarms with faults, seed by seed.

Owns the command, and the words in which runs, their summary and a failed seed are told. The work is the simulator's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gossiptrain.cli.evaluate import write_report
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.options import SEE_HELP
from gossiptrain.cli.swarm_flags import (
    FAULTS,
    ONLY_FAULTS,
    PICTURE,
    PLAN,
    PROCESSES,
    REPORT,
    SEED,
    SEEDS,
    SHRINK,
    SWARM_FLAGS,
)
from gossiptrain.config import validated
from gossiptrain.errors import UsageError
from gossiptrain.monitor.words import counted, data_size, duration, percent

if TYPE_CHECKING:
    from gossiptrain.simulate.swarms.results import SwarmResult
    from gossiptrain.simulate.swarms.seeds import Summary
    from gossiptrain.simulate.swarms.settings import SwarmSettings

EXIT_VIOLATED = 1


@with_flags(*SWARM_FLAGS)
def swarm(**values: Any) -> None:
    """Runs whole swarms of the real protocol in one process, with faults, and checks what must hold.

    The network and the clock are virtual, so a seed always runs the same way. Exits with 1 where an invariant did not
    hold, and says which command repeats that run.

    Examples:

    gossip simulate swarm --peers 16 --seeds 100

    gossip simulate swarm --peers 8 --faults crash:3,freeze,cut --seconds 600 --picture swarm.png

    gossip simulate swarm --peers 8 --seed 17 --only-faults 3,7
    """
    from gossiptrain.simulate.swarms.seeds import run_all, summary_of

    given = Given(SWARM_FLAGS, values)
    runs = _runs(given)
    report, picture = given[REPORT], given[PICTURE]
    _check_outputs(report, picture)
    console = Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False)
    if given[PLAN]:
        _show_plan(console, runs[0])
        return
    results = []
    for result in run_all(runs, processes=given[PROCESSES] or os.cpu_count() or 1):
        results.append(result)
        console.print(_line(result))
    summary = summary_of(results)
    _show_summary(console, summary)
    if report is not None:
        write_report(report, {"summary": _as_json(summary), "runs": [result.as_json() for result in results]})
    if picture is not None:
        from gossiptrain.simulate.swarms.picture import draw_swarm

        draw_swarm(results[0], picture)
    if failed := [result for result in results if result.violations]:
        for result in failed:
            _tell_failure(console, result, shrinks=given[SHRINK])
        raise typer.Exit(EXIT_VIOLATED)


def _show_plan(console: Console, settings: SwarmSettings) -> None:
    from gossiptrain.simulate.swarms.plan import draw

    for number, fault in enumerate(draw(settings)):
        console.print(f"{number:3}  {fault}")


def _runs(given: Given) -> list[SwarmSettings]:
    """All runs, checked before the first one begins."""
    from gossiptrain.simulate.swarms.settings import SwarmSettings, read_faults

    own = given.settings("swarm") | {"faults": read_faults(given[FAULTS]), "only_faults": _numbers(given[ONLY_FAULTS])}
    seeds = range(given[SEED], given[SEED] + given[SEEDS])
    values = [{**own, "seed": seed} for seed in seeds]
    runs = [validated(SwarmSettings, each, called=given.called("swarm"), remedy=SEE_HELP) for each in values]
    runs[0].gossip()
    return runs


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"The faults of a plan have numbers, as in --only-faults 3,7, not {text!r}.") from None


def _check_outputs(report: Path | None, picture: Path | None) -> None:
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"The report {report} cannot be written: there is no folder {report.absolute().parent}.")
    if picture is not None:
        from gossiptrain.simulate.picture_file import check_picture

        check_picture(picture)


def _line(result: SwarmResult) -> str:
    state = f"FAILED: {result.violations[0].invariant}" if result.violations else "held"
    faults = sum(fault.happened for fault in result.faults)
    return (
        f"seed {result.settings.seed}: {state}; {counted(result.committed, 'round')} committed, "
        f"{result.abandoned} abandoned, {counted(faults, 'fault')}, {duration(result.virtual_s)} of virtual time "
        f"in {duration(result.cpu_s)} of one core"
    )


def _show_summary(console: Console, summary: Summary) -> None:
    console.print()
    console.print(f"{counted(summary.runs, 'seed')}, {summary.failed} failed")
    rows = (
        ("rounds committed", f"{summary.committed:,}"),
        ("rounds abandoned", f"{summary.abandoned:,}"),
        ("from ready to group", f"{summary.formation_median_s:.3f} s (median), {summary.formation_95_s:.3f} s (95 %)"),
        ("disagreement", f"{percent(summary.disagreement)} (median)"),
        ("sent by all peers", data_size(summary.sent_bytes)),
        ("virtual time", f"{duration(summary.virtual_s)}, {summary.faster:.0f} times as fast as real time on one core"),
    )
    for name, value in rows:
        console.print(f"  {name:20} {value}")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("fault")
    table.add_column("happened", justify="right")
    table.add_column("rounds cost", justify="right")
    table.add_column("one swarm after, at most", justify="right")
    for name, fault in summary.faults.items():
        if fault.happened:
            after_s = fault.one_swarm_after_s
            after = "never" if after_s is None else f"{after_s:.1f} s"
            table.add_row(name, str(fault.happened), str(fault.rounds_cost), after)
    if table.row_count:
        console.print(table)
    for event, runs in summary.reached.items():
        if runs:
            console.print(f"  in {runs} of {summary.runs}: {event}")
    for event in summary.never_reached:
        console.print(f"  never reached: {event}")


def _tell_failure(console: Console, result: SwarmResult, *, shrinks: bool) -> None:
    from gossiptrain.simulate.swarms.seeds import command_for, only_in_words, shrunk

    console.print()
    for violation in result.violations[:5]:
        console.print(f"seed {result.settings.seed} failed: {violation}")
    console.print(f"  repeat it with: {command_for(result.settings)}")
    happened = [fault for fault in result.faults if fault.happened]
    if not shrinks or not happened:
        return
    kept = shrunk(result)
    smallest = result.settings.model_copy(update={"only_faults": kept})
    console.print(f"  it fails with {len(kept)} of {len(happened)} faults, --only-faults {only_in_words(kept)}:")
    for fault in happened:
        if fault.number in kept:
            console.print(f"  {fault.number:3}  {fault.words}")
    console.print(f"  repeat that with: {command_for(smallest)}")


def _as_json(summary: Summary) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(summary), "never_reached": list(summary.never_reached)}
