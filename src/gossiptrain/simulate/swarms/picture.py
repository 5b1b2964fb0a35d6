"""One run of a simulated swarm as a picture: who is there, what rounds did, how far peers are apart, and the faults.

Owns how it looks. Does not know files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gossiptrain.simulate.picture_file import picture_file
from gossiptrain.simulate.swarms.results import FaultRecord, RoundRecord, SwarmResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#8c8c8c"
"""Told apart by everyone (Okabe and Ito 2008)."""
SHORTEST_MARK_S = 0.3


def draw_swarm(result: SwarmResult, path: Path) -> None:
    """Draws one run. Raises UsageError where matplotlib is missing or the file cannot be written."""
    with picture_file(path, size=(9.5, 8.0), repeatable=True) as figure:
        _fill(figure, result)


def _fill(figure: Figure, result: SwarmResult) -> None:
    heights = {"height_ratios": [1.0, 1.2, 1.2, 1.4]}
    there, rounds, apart, faults = figure.subplots(4, 1, sharex=True, gridspec_kw=heights)
    settings = result.settings
    there.set_title(f"{settings.peers} peers, seed {settings.seed}", loc="left")
    _draw_there(there, result)
    _draw_rounds(rounds, result.rounds)
    _draw_apart(apart, result)
    _draw_faults(faults, [fault for fault in result.faults if fault.happened])
    for axes in (there, rounds, apart, faults):
        axes.axvline(settings.faults_end_s, color=GREY, linestyle=":", linewidth=1)
        for violation in result.violations:
            axes.axvline(violation.at_s, color=RED, linewidth=1.4)
    faults.set_xlabel("virtual seconds; dotted: the last fault is over; red line: an invariant did not hold")


def _draw_there(axes: Axes, result: SwarmResult) -> None:
    at_s = [sample.at_s for sample in result.samples]
    axes.step(at_s, [sample.alive for sample in result.samples], where="post", color=GREY, label="alive")
    axes.step(at_s, [sample.training for sample in result.samples], where="post", color=BLUE, label="training")
    axes.set_ylabel("peers")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", frameon=False, ncols=2)


def _draw_rounds(axes: Axes, rounds: tuple[RoundRecord, ...]) -> None:
    kinds = (
        ("committed", GREEN, [each for each in rounds if each.committed and each.attempts == 1]),
        ("committed after another try", BLUE, [each for each in rounds if each.committed and each.attempts > 1]),
        ("abandoned", RED, [each for each in rounds if not each.committed]),
    )
    for label, colour, chosen in kinds:
        if chosen:
            waits_s = [each.formation_s + each.seconds for each in chosen]
            axes.scatter([each.ended_s for each in chosen], waits_s, s=7, color=colour, label=label, linewidths=0)
    axes.set_yscale("log")
    axes.set_ylabel("ready to end\nof round (s)")
    if rounds:
        axes.legend(loc="upper right", frameon=False, ncols=3)


def _draw_apart(axes: Axes, result: SwarmResult) -> None:
    shown = [sample for sample in result.samples if sample.disagreement > 0]
    axes.plot([sample.at_s for sample in shown], [sample.disagreement for sample in shown], color=BLUE, linewidth=1.2)
    if shown:
        axes.set_yscale("log")
    axes.set_ylabel("disagreement")


def _draw_faults(axes: Axes, faults: list[FaultRecord]) -> None:
    names = sorted({fault.name for fault in faults})
    for fault in faults:
        width_s = max(SHORTEST_MARK_S, fault.until_s - fault.at_s)
        colour = RED if fault.rounds_cost else GREY
        axes.barh(names.index(fault.name), width_s, left=fault.at_s, height=0.7, color=colour, alpha=0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylabel("faults\n(red: cost rounds)")
