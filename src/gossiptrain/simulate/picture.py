"""The courses of several runs as one picture: held-out loss and disagreement, over steps and over bytes.

Owns how it looks. Does not know files.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossiptrain.simulate.comparison import by_strategy
from gossiptrain.simulate.picture_file import picture_file
from gossiptrain.simulate.results import LearnResult, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "average": "#0072b2",
    "step-mix": "#d55e00",
    "diloco": "#009e73",
    "noloco": "#cc79a7",
    "gradual": "#56b4e9",
    "sync": "#56b4e9",
    "central": "#000000",
    "alone": "#8c8c8c",
}
"""Told apart by everyone (Okabe and Ito 2008)."""
WIDE_SPAN = 8.0
"""Greatest by smallest value from which a scale is logarithmic."""


@dataclass(frozen=True)
class _Point:
    step: int
    bytes_per_peer: float
    value: float
    low: float
    high: float


def draw(runs: Sequence[LearnResult], path: Path) -> None:
    """Draws runs of one task. Of several seeds the line is the mean, the band from the lowest to the highest.

    Raises UsageError where matplotlib is missing or the file cannot be written.
    """
    with picture_file(path, size=(9.5, 6.4)) as figure:
        _fill(figure, runs)


def _fill(figure: Figure, runs: Sequence[LearnResult]) -> None:
    ((loss_steps, loss_bytes), (apart_steps, apart_bytes)) = figure.subplots(2, 2, sharex="col", sharey="row")
    runs_of = by_strategy(runs)
    losses = {name: _course(own, _merged_loss) for name, own in runs_of.items()}
    apart = {name: _course(own, lambda record: record.disagreement or None) for name, own in runs_of.items()}
    if agreeing := [name for name, course in apart.items() if not course]:
        place = {"xy": (0.02, 0.03), "xycoords": "axes fraction", "color": "#606060"}
        apart_steps.annotate("no disagreement: " + ", ".join(agreeing), **place)
    for courses, over_steps, over_bytes in ((losses, loss_steps, loss_bytes), (apart, apart_steps, apart_bytes)):
        for name, course in courses.items():
            _plot(over_steps, name, course, [point.step for point in course])
            if any(point.bytes_per_peer for point in course):
                _plot(over_bytes, name, course, [point.bytes_per_peer for point in course])
            elif course:
                # Who sends nothing is a level to compare with.
                over_bytes.axhline(course[-1].value, color=COLOURS[name], linestyle="--", linewidth=1.2)
        _scale(over_steps, [point.value for course in courses.values() for point in course], axis="y")
    _scale(loss_bytes, [point.bytes_per_peer for course in losses.values() for point in course], axis="x")
    _label(runs, loss_steps=loss_steps, apart_steps=apart_steps, apart_bytes=apart_bytes)
    handles, labels = loss_steps.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


def _label(runs: Sequence[LearnResult], *, loss_steps: Axes, apart_steps: Axes, apart_bytes: Axes) -> None:
    from matplotlib.ticker import EngFormatter

    first = runs[0]
    loss_steps.set_title(f"{first.settings.task}, {first.settings.peers} peers", loc="left")
    loss_steps.set_ylabel("held-out loss of the merged model (nats)")
    apart_steps.set_ylabel("disagreement of the peers")
    apart_steps.set_xlabel("inner steps of a peer")
    apart_bytes.set_xlabel("sent by a peer")
    apart_bytes.xaxis.set_major_formatter(EngFormatter(unit="B", sep="\N{THIN SPACE}"))


def _plot(axes: Axes, name: str, course: Sequence[_Point], places: Sequence[float]) -> None:
    axes.plot(places, [point.value for point in course], color=COLOURS[name], linewidth=1.6, label=name)
    if any(point.low < point.high for point in course):
        low, high = [point.low for point in course], [point.high for point in course]
        axes.fill_between(places, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)


def _scale(axes: Axes, values: Sequence[float], *, axis: str) -> None:
    positive = [value for value in values if value > 0]
    if positive and max(positive) / min(positive) > WIDE_SPAN:
        if axis == "x":
            axes.set_xscale("log")
        else:
            axes.set_yscale("log")


def _merged_loss(record: Record) -> float | None:
    return record.merged.loss if record.merged else None


def _course(runs: Sequence[LearnResult], value_of: Callable[[Record], float | None]) -> list[_Point]:
    """Mean, lowest and highest over the runs of one strategy, at all steps where every one of them has a value."""
    found: list[dict[int, tuple[float, float]]] = []
    for run in runs:
        values = [(record, value_of(record)) for record in run.records]
        found.append({
            record.step: (record.bytes_per_peer, value)
            for record, value in values
            if value is not None and math.isfinite(value)
        })  # fmt: skip
    points = []
    for step in sorted(set.intersection(*map(set, found))):
        sent, own = zip(*(of_run[step] for of_run in found), strict=True)
        points.append(_Point(step, statistics.fmean(sent), statistics.fmean(own), min(own), max(own)))
    return points
