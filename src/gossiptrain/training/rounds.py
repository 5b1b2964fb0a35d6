"""The moments at which a model meets the network: what it brings when a round is due, what it takes when one is over.

Owns the count of steps and samples between rounds and what follows from it: the weight of a contribution, how far a
late average is taken. Does not know how the node is told, who the others are, or what a person sees of it.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gossiptrain.config import GossipSettings
from gossiptrain.core.averaging import clipped_weight
from gossiptrain.training.model.replica import Replica
from gossiptrain.training.model.strategies import LocalWork, Strategy, late_share
from gossiptrain.training.pacing import Pace

_logger = logging.getLogger(__package__)


@dataclass
class LocalProgress:
    """What this peer has done: inner steps, counted on from the donor's, and samples of its own."""

    step: int = 0
    samples: int = 0


class Rounds:
    """The rounds of one trainer, one at a time."""

    def __init__(
        self, settings: GossipSettings, strategy: Strategy, *, replica: Replica, progress: LocalProgress
    ) -> None:
        self.strategy = strategy
        self.replica = replica
        self.pace = Pace(settings, now_s=time.monotonic())
        self.in_flight = False
        """Whether a snapshot was taken whose round is not over."""
        self._alpha = settings.gossip_alpha
        self._progress = progress
        self._snapshot_step = progress.step
        self._samples_at_round = progress.samples
        self._step_at_round = progress.step
        self._median_samples = 0.0
        self._snapshot_told = True
        self._has_begun = False
        self._interval_steps: int | None = None

    @property
    def learnt_since_snapshot(self) -> bool:
        """Whether the model has moved on since it was last shown to others."""
        return self._snapshot_step != self._progress.step

    @property
    def samples(self) -> int:
        """By which this peer's contribution weighs: seen since the last committed round.

        Where peers weigh their own steps, those of a usual round. After rounds that were missed what was learnt is
        larger by itself; and members that compare themselves with the median of their group would else take a smaller
        step for having met somebody who had been away.
        """
        seen = self._progress.samples - self._samples_at_round
        steps, usual = self._progress.step - self._step_at_round, self.pace.usual_steps
        if self.strategy.weighs_average or not steps or not usual:
            return seen
        return round(seen * usual / steps)

    def begin(self) -> None:
        """Takes the snapshot. It is the node's as soon as `snapshot_to_tell` has said so."""
        steps = self._progress.step - self._snapshot_step
        usual = self.pace.usual_steps
        work = LocalWork(
            weight=1.0 if self.strategy.weighs_average else clipped_weight(self.samples, self._median_samples),
            horizon=steps / usual if usual else 1.0,
        )
        self.replica.contribute(work)
        self._interval_steps = steps if self._has_begun else None
        self._has_begun = True
        self._snapshot_step = self._progress.step
        self._snapshot_told = False
        self.in_flight = True
        _logger.info("a round begins at step %d, %d after the last snapshot", self._progress.step, steps)

    def snapshot_to_tell(self) -> bool:
        """True once for each snapshot, when it has arrived in the memory that is shared with the node."""
        if self._snapshot_told or not self.in_flight or not self.replica.snapshot_is_there:
            return False
        self._snapshot_told = True
        return True

    def fail(self) -> None:
        """The round is over, and nothing has changed."""
        _logger.info("the round ends at step %d, and nothing has changed", self._progress.step)
        self.in_flight = False
        self.pace.round_failed(time.monotonic())

    def commit(self, samples: Sequence[int], *, whole: bool) -> None:
        """The round is over: takes the average that is in shared memory.

        samples: of each member. whole: all of the average, whatever alpha and the average's age say.
        """
        _logger.info("the round ends at step %d: committed, samples of the members %s", self._progress.step, samples)
        self.in_flight = False
        self.replica.take(alpha=1.0 if whole else self._alpha * self._share_of_late_average())
        self.pace.round_committed(time.monotonic())
        self._samples_at_round = self._progress.samples
        self._step_at_round = self._progress.step
        self._median_samples = statistics.median(samples) if samples else 0.0

    def _share_of_late_average(self) -> float:
        """The first round has nothing to be late by; later ones count in what lay between the last two snapshots."""
        if self._interval_steps is None:
            return 1.0
        interval_steps = max(self._interval_steps, round(self.pace.usual_steps or 1))
        return late_share(self._progress.step - self._snapshot_step, interval_steps)

    def begin_anew(self) -> None:
        """The model has just been taken over from another peer: counting begins here."""
        self._snapshot_step = self._progress.step
        self._samples_at_round = self._progress.samples
        self._step_at_round = self._progress.step

    def counts(self) -> dict[str, float]:
        """What a checkpoint must keep, so that what was learnt since the last round counts in the next one."""
        return {
            "steps_since_snapshot": self._progress.step - self._snapshot_step,
            "steps_since_round": self._progress.step - self._step_at_round,
            "samples_since_round": self._progress.samples - self._samples_at_round,
            "median_samples": self._median_samples,
            "has_begun": self._has_begun,
        }

    def restore(self, counts: Mapping[str, float]) -> None:
        """Goes on from what `counts` has returned in another process."""
        self._snapshot_step = self._progress.step - int(counts["steps_since_snapshot"])
        self._step_at_round = self._progress.step - int(counts["steps_since_round"])
        self._samples_at_round = self._progress.samples - int(counts["samples_since_round"])
        self._median_samples = float(counts["median_samples"])
        self._has_begun = bool(counts["has_begun"])
        self.pace.resume(int(counts["steps_since_round"]))

    def lose_node(self) -> None:
        """The node that had the snapshot is gone."""
        self.in_flight = False
