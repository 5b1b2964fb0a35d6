"""Several runs as one picture: held-out loss and accuracy, and how far the peers were apart, over the steps.

Owns how it looks. Where it can be drawn is checked, and by what, as for all pictures of the laboratory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossiptrain.core.points import Points
from gossiptrain.monitor.run_record import RunRecord
from gossiptrain.monitor.words import printable
from gossiptrain.simulate.picture_file import picture_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Told apart by everyone (Okabe and Ito 2008)."""
DASHES = ("-", "--", ":")
"""For more runs than there are colours."""


def draw_runs(records: Sequence[RunRecord], path: Path) -> None:
    """Draws runs. Raises UsageError where matplotlib is missing or the file cannot be written."""
    with picture_file(path, size=(9.5, 3.4)) as figure:
        _fill(figure, records)


def _fill(figure: Figure, records: Sequence[RunRecord]) -> None:
    loss, accuracy, apart = figure.subplots(1, 3, sharex=True)
    loss.set_ylabel("held-out loss (nats)")
    accuracy.set_ylabel("test accuracy (%)")
    apart.set_ylabel("disagreement")
    for place, record in enumerate(records):
        style = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
            "linewidth": 1.6,
            "marker": "." if len(record.loss.values) < 40 else "",
        }
        # A label that begins with an underscore is left out of a legend, and one with dollars is a formula.
        label = printable(record.folder.name, 60).lstrip("_").replace("$", r"\$") or "run"
        loss.plot(*_axes(record.loss), label=label, **style)
        accuracy.plot(*_axes(record.accuracy, scale=100), **style)
        apart.plot(*_axes(record.disagreement), **{**style, "marker": ""})
    if any(value > 0 for record in records for _, value in record.disagreement.values):
        apart.set_yscale("log")
    else:
        apart.annotate("no rounds", xy=(0.5, 0.5), xycoords="axes fraction", ha="center", color="#606060")
    accuracy.set_xlabel("inner steps")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)


def _axes(points: Points, *, scale: float = 1.0) -> tuple[list[int], list[float]]:
    """Steps and values."""
    return [step for step, _ in points.values], [scale * value for _, value in points.values]
