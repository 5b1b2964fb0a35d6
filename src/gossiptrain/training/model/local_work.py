"""What a peer has done since its last round, and how late and how seldom its last averages came.

Owns these measures, in inner steps of the peer. Does not know what a strategy makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gossiptrain.training.model.outer_step import Scale

LATE = (0.1, 0.25)
"""Of the way from one round to the next: from the first on an average begins to count as late, from the second on it
is. In the first ten rounds of a run a cautious step costs more than it brings, later on less (`docs/algorithms.md`)."""


@dataclass(frozen=True)
class LocalWork:
    """What a peer has done since its last round.

    weight: the samples of a usual round of its own relative to the median of its last group, see
    `averaging.clipped_weight`. horizon: its inner steps relative to those that it usually makes between two rounds.
    learnt, grown, kept: see `own_steps.StepShares`. met_lately: whether it has met in at least two of its last four
    rounds, this one included; as a column 1 or 0. late: how late its last average came, as a share of the way from one
    round to the next.
    """

    weight: Scale = 1.0
    horizon: Scale = 1.0
    learnt: Scale = 1.0
    grown: Scale = 1.0
    kept: Scale = 1.0
    met_lately: Scale = True
    late: Scale = 0.0

    @property
    def caution(self) -> Scale:
        """How far the outer step moves from the usual one to the cautious one, from 0 to 1."""
        share = (self.late - LATE[0]) / (LATE[1] - LATE[0])
        return share.clamp(0.0, 1.0) if isinstance(share, Tensor) else min(max(0.0, share), 1.0)


USUAL = LocalWork()


def met_lately(steps_since_round: float, usual_steps: float) -> bool:
    """Whether a peer that meets now has met in one of its last three rounds, too: half a round is left for delays."""
    return steps_since_round < 3.5 * usual_steps


def late_share(steps_late: int, *, interval_steps: int | None, usual_steps: float) -> float:
    """Share of the way to go where an average comes `steps_late` inner steps after its snapshot: 1 / (1 + s).

    s: whole rounds that it is late, so within one interval all of it is taken. interval_steps: between the last two
    snapshots; None for the first, which has nothing to be late by. usual_steps: between two rounds.
    """
    if interval_steps is None:
        return 1.0
    return 1.0 / (1 + int(lateness(steps_late, interval_steps=interval_steps, usual_steps=usual_steps)))


def lateness(steps_late: int, *, interval_steps: int | None, usual_steps: float) -> float:
    """How late an average comes, as a share of the way from one round to the next; arguments as for `late_share`."""
    return steps_late / max(1, interval_steps or 0, round(usual_steps))
