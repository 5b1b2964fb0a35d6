"""How runs of the laboratory look while they go on, and their comparison at the end.

Owns a bar in a terminal, lines in a pipe, and the table. Does not know how runs go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gossiptrain.monitor.words import data_size, duration, number, percent

if TYPE_CHECKING:
    from gossiptrain.simulate.comparison import Line, Spread
    from gossiptrain.simulate.results import LearnResult, Record

LINE_S = 3.0
"""Least time between two lines of one run."""


class RunsView:
    """Shows one run after the other; a context manager."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._next_line_s = 0.0
        self._title = ""
        self._progress: Progress | None = None
        if console.is_terminal and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown"):
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def begin(self, title: str, *, steps: int) -> Callable[[Record], None]:
        """A run begins. Returns what is to be told of each of its records."""
        self._title = title
        self._next_line_s = self._clock() + LINE_S
        if self._progress is None:
            return self._write_line
        task = self._progress.add_task(title, total=steps, state="")
        progress = self._progress
        return lambda record: progress.update(task, completed=record.step, state=in_words(record))

    def end(self, result: LearnResult) -> None:
        """The run is over."""
        if self._progress is not None:
            for task in self._progress.task_ids:
                self._progress.remove_task(task)
        merged = result.merged
        self._print(
            f"{self._title}: merged loss {number(merged.loss)}, accuracy {percent(merged.accuracy)}, "
            f"{data_size(result.bytes_per_peer)} sent per peer, {duration(result.seconds)}"
        )

    def _write_line(self, record: Record) -> None:
        if self._clock() >= self._next_line_s:
            self._next_line_s = self._clock() + LINE_S
            self._print(f"{self._title}: step {record.step:,}  {in_words(record)}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def in_words(record: Record) -> str:
    """Where a run stands, in a few words."""
    parts = [f"loss {number(record.training_loss)}", f"disagreement {percent(record.disagreement)}"]
    if record.merged is not None:
        parts.append(f"merged {number(record.merged.loss)}")
    return "  ".join(parts)


def show_comparison(console: Console, lines: Sequence[Line]) -> None:
    """A table, one row for each strategy."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
    table.title, table.title_justify = "On held-out data, at the end", "left"
    table.add_column("", no_wrap=True)
    columns = (
        "merged\nloss",
        "merged\naccuracy",
        "mean\npeer",
        "worst\npeer",
        "apart",
        "sent per\npeer",
        "time",
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.strategy,
            _loss(line.merged_loss),
            _accuracy(line.merged_accuracy),
            number(line.mean_peer_loss.mean, 3),
            number(line.worst_peer_loss.mean, 3),
            percent(line.disagreement.mean),
            data_size(line.bytes_per_peer.mean),
            duration(line.seconds.mean),
        )
    console.print(table)
    if any(line.seeds > 1 for line in lines):
        console.print(f"Means over {max(line.seeds for line in lines)} seeds; ± is the standard deviation among them.")


def _loss(spread: Spread) -> str:
    told = number(spread.mean, 3)
    return f"{told} ± {number(spread.deviation, 2)}" if spread.deviation > 0 else told


def _accuracy(spread: Spread) -> str:
    return f"{100 * spread.mean:.1f} ± {100 * spread.deviation:.1f} %" if spread.deviation > 0 else percent(spread.mean)
