"""Several runs beside each other: one line for each strategy, over all its seeds.

Owns means and spreads. Does not know how they are shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gossiptrain.simulate.results import LearnResult


@dataclass(frozen=True)
class Spread:
    """Of one figure over all seeds: mean and sample standard deviation, which is 0 where there is one seed."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Line:
    """One strategy. Scores are on held-out data: losses in nats, accuracies from 0 to 1."""

    strategy: str
    seeds: int
    merged_loss: Spread
    merged_accuracy: Spread
    mean_peer_loss: Spread
    mean_peer_accuracy: Spread
    worst_peer_loss: Spread
    worst_peer_accuracy: Spread
    disagreement: Spread
    bytes_per_peer: Spread
    seconds: Spread


FIGURES: dict[str, Callable[[LearnResult], float]] = {
    "merged_loss": lambda run: run.merged.loss,
    "merged_accuracy": lambda run: run.merged.accuracy,
    "mean_peer_loss": lambda run: run.mean_peer.loss,
    "mean_peer_accuracy": lambda run: run.mean_peer.accuracy,
    "worst_peer_loss": lambda run: run.worst_peer.loss,
    "worst_peer_accuracy": lambda run: run.worst_peer.accuracy,
    "disagreement": lambda run: run.disagreement,
    "bytes_per_peer": lambda run: run.bytes_per_peer,
    "seconds": lambda run: run.seconds,
}


def by_strategy(runs: Sequence[LearnResult]) -> dict[str, list[LearnResult]]:
    """The runs of each strategy, in the order in which they came."""
    found: dict[str, list[LearnResult]] = {}
    for run in runs:
        found.setdefault(run.settings.strategy, []).append(run)
    return found


def lines_of(runs: Sequence[LearnResult]) -> list[Line]:
    """One line for each strategy."""
    return [
        Line(strategy, len(own), **{name: _spread([figure(run) for run in own]) for name, figure in FIGURES.items()})
        for strategy, own in by_strategy(runs).items()
    ]


def comparison_as_json(runs: Sequence[LearnResult]) -> dict[str, Any]:
    """Lines and runs with everything they recorded, fit for JSON."""
    lines = [asdict(line) for line in lines_of(runs)]
    for line in lines:
        for figure in FIGURES:
            if not math.isfinite(line[figure]["mean"]):
                line[figure] = None
    return {"lines": lines, "runs": [run.as_json() for run in runs]}


def _spread(figures: Sequence[float]) -> Spread:
    if not all(map(math.isfinite, figures)):
        return Spread(math.nan, math.nan)
    return Spread(statistics.fmean(figures), statistics.stdev(figures) if len(figures) > 1 else 0.0)
