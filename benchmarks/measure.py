"""What all benchmarks share: summaries of samples, a printed table, a JSON file that says where it was measured.

Owns no measurement of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Summary:
    """Some samples in a few figures, in the unit of the samples."""

    samples: int
    minimum: float
    median: float
    p95: float
    maximum: float


def summary(samples: Sequence[float]) -> Summary:
    """Summarises at least one sample. p95 is the smallest sample that at least 95 % of all do not exceed."""
    ordered = sorted(samples)
    rank = -(-95 * len(ordered) // 100)
    figures = (ordered[0], statistics.median(ordered), ordered[rank - 1], ordered[-1])
    return Summary(len(ordered), *(round(figure, 6) for figure in figures))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, the first column to the left and all others to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # A file or a pipe has no width to keep to.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def machine() -> dict[str, Any]:
    """Where and when this is: `load_1min` above the number of cores means that the machine was busy."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def write_json(path: Path, *, benchmark: str, measured_on: dict[str, Any], results: Sequence[Any]) -> None:
    """Writes `{"benchmark", "machine", "results": [...]}`; each result is a dataclass."""
    content = {"benchmark": benchmark, "machine": measured_on, "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(content, indent=2) + "\n")


def whole_number(minimum: int, maximum: int = 1_000_000) -> Callable[[str], int]:
    """The `type` of an argument that is a whole number in a range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def milliseconds(seconds: float) -> str:
    """`0.0123` is `12.3 ms`."""
    return f"{1000 * seconds:.1f} ms"


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
