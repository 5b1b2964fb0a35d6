"""What the scripts of this folder share: a published figure beside ours, as a table and as JSON.

Owns no measurement of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.measure import machine, show_table, write_json

COLUMNS_OF_A_TABLE = 2
"""Figures side by side, each with what was published and the difference: more do not fit into 80 characters."""


@dataclass(frozen=True)
class Figure:
    """One cell of a paper's table beside the same cell measured here.

    published: None where the paper gives none. ours: None where what is counted never happened. difference: ours less
    published, None where either is missing.
    """

    row: str
    column: str
    published: float | None
    ours: float | None
    difference: float | None


def beside(row: str, column: str, *, published: float | None, ours: float | None) -> Figure:
    """The figure with its difference, all rounded as far as JSON should tell."""
    difference = None if published is None or ours is None else ours - published
    return Figure(row, column, _rounded(published), _rounded(ours), _rounded(difference))


def show_figures(title: str, figures: Sequence[Figure], *, digits: int = 1, published: str = "paper") -> None:
    """Prints tables of all figures, in the order in which rows and columns first occur."""
    rows = list(dict.fromkeys(figure.row for figure in figures))
    columns = list(dict.fromkeys(figure.column for figure in figures))
    by_place = {(figure.row, figure.column): figure for figure in figures}
    for start in range(0, len(columns), COLUMNS_OF_A_TABLE):
        shown = columns[start : start + COLUMNS_OF_A_TABLE]
        header = [""] + [cell for column in shown for cell in (f"{column}\n{published}", "\nhere", "\ndiff")]
        body = [
            [row, *(cell for column in shown for cell in _cells(by_place.get((row, column)), digits))] for row in rows
        ]
        show_table(title, header, body)
        Console().print()


def show_notes(text: str) -> None:
    """Prints what has to be said about a table; paragraphs are divided by empty lines."""
    for paragraph in text.strip().split("\n\n"):
        Console().print(" ".join(paragraph.split()), end="\n\n", markup=False, highlight=False)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that all scripts take."""
    own = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return own


def write_figures(path: Path | None, *, benchmark: str, figures: Sequence[Figure]) -> None:
    """Writes the figures and where they were measured, if a path was given."""
    if path is not None:
        write_json(path, benchmark=benchmark, measured_on=machine(), results=figures)


def _cells(figure: Figure | None, digits: int) -> list[str]:
    if figure is None:
        return ["", "", ""]
    ours = "never" if figure.ours is None else f"{figure.ours:.{digits}f}"
    published = "–" if figure.published is None else f"{figure.published:.{digits}f}"
    return [published, ours, "" if figure.difference is None else f"{figure.difference:+.{digits}f}"]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 9)
