"""`gossip runs`: the runs on this computer side by side, as a table and as a picture.

Owns the command and the table. What is known of a run is `RunRecord`, how runs are drawn is `runs_picture`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gossiptrain.cli import options
from gossiptrain.cli.evaluate import write_report
from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.errors import UsageError
from gossiptrain.monitor.run_record import RunRecord, read_run
from gossiptrain.monitor.words import UNKNOWN, counted, duration, number, percent, printable
from gossiptrain.training.runs.folder import RUNS, is_in_use

PICTURE = Flag(("--picture",), Path, "Draw loss, accuracy and disagreement: .png, .svg or .pdf", metavar="FILE")
RUNS_FLAGS = (PICTURE, options.REPORT)
ENDED = {
    "steps": "done",
    "epochs": "done",
    "seconds": "time up",
    "interrupted": "stopped",
    "non-finite loss": "diverged",
}


@with_flags(*RUNS_FLAGS)
def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR...]", help="Run folders, or folders that hold some (runs).", show_default=False),
    ] = None,
    **values: Any,
) -> None:
    """Compares runs: how far each came, how well it did, and whether it is still running; the newest last.

    gossip runs

    gossip runs runs/digits-20261122-153012-3f9a other/runs --picture runs.png
    """
    given = Given(RUNS_FLAGS, values)
    if given[PICTURE] is not None:
        from gossiptrain.simulate.picture_file import check_picture

        check_picture(given[PICTURE])
    records = sorted((_read(folder) for folder in _found(folders or [RUNS])), key=lambda each: each.started_at)
    show(records, Console(highlight=False))
    if given[options.REPORT] is not None:
        write_report(given[options.REPORT], {"runs": [as_json(record) for record in records]})
    if given[PICTURE] is not None:
        from gossiptrain.cli.runs_picture import draw_runs

        draw_runs(records, given[PICTURE])


def _found(folders: list[Path]) -> list[Path]:
    """The run folders among them and directly in them. Raises UsageError where there is none."""
    found = [
        each
        for folder in folders
        for each in ([folder] if _is_run(folder) else sorted(filter(_is_run, _inside(folder))))
    ]
    if not found:
        raise UsageError(
            f"There is no run in {', '.join(map(str, folders))}.",
            cause="A run folder holds metrics.jsonl.",
            remedy="Name run folders, or start a run: gossip train digits.",
        )
    return list(dict.fromkeys(found))


def _is_run(folder: Path) -> bool:
    return (folder / "metrics.jsonl").is_file()


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no folder {folder}.",
            cause="Runs are kept in `runs`, in the folder in which `gossip train` is started.",
            remedy="Go there, or name the run folders.",
        ) from error
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be read: {error.strerror}.") from error


def _read(folder: Path) -> RunRecord:
    try:
        return read_run(folder)
    except OSError as error:
        raise UsageError(f"The run in {folder} cannot be read: {error.strerror}.") from error


def state_of(record: RunRecord) -> str:
    """In a word or two."""
    if is_in_use(record.folder):
        return "running"
    finished = record.progress.finished
    return "broken off" if finished is None else ENDED[finished.reason]


def show(records: list[RunRecord], console: Console) -> None:
    """Prints the table, and what of the metrics could not be read."""
    table = Table(box=box.SIMPLE, header_style="dim", padding=0, show_edge=False, pad_edge=False)
    for name in ("run", "task", "steps", "rounds", "loss", "accuracy", "time", "state"):
        table.add_column(name, justify="left" if name in ("run", "task", "state") else "right", overflow="fold")
    for record in records:
        table.add_row(*(Text(cell) for cell in _cells(record)))
    console.print(table)
    for record in records:
        if record.damaged_lines:
            what = f"{counted(record.damaged_lines, 'line')} of its metrics could not be read"
            console.print(Text(f"{printable(record.folder.name, 60)}: {what}"))


def _cells(record: RunRecord) -> list[str]:
    progress, evaluated = record.progress, record.evaluated
    started = progress.started
    return [
        printable(record.folder.name, 60),
        printable(started.task.partition("/")[0], 20) if started is not None else UNKNOWN,
        f"{progress.step:,}" if progress.step is not None else UNKNOWN,
        f"{progress.rounds:,}",
        number(evaluated.loss if evaluated is not None else progress.loss),
        percent(evaluated.accuracy if evaluated is not None else None),
        duration(record.seconds),
        state_of(record),
    ]


def as_json(record: RunRecord) -> dict[str, Any]:
    """The same for programs, with numbers as they are; what is not known, or not finite, is null."""
    progress, evaluated = record.progress, record.evaluated
    started = progress.started
    figures = {
        "loss": evaluated.loss if evaluated is not None else progress.loss,
        "accuracy": evaluated.accuracy if evaluated is not None else None,
        "best_accuracy": record.best_accuracy,
        "seconds": record.seconds,
    }
    return {
        "folder": str(record.folder),
        "run": started.run if started is not None else None,
        "task": started.task if started is not None else None,
        "peer_id": started.peer_id if started is not None else None,
        "steps": progress.step,
        "rounds": progress.rounds,
        "bytes_sent": progress.bytes_sent,
        **{name: value if value is not None and math.isfinite(value) else None for name, value in figures.items()},
        "state": state_of(record),
    }
