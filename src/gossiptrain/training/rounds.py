"""The moments at which a model meets the network: what it brings when a round is due, what it takes when one is over.

Owns the count of steps and samples between rounds and what follows from it: the weight of a contribution, how far a
late average is taken. Does not know how the node is told, who the others are, or what a person sees of it.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gossiptrain.config import GossipSettings
from gossiptrain.core.averaging import clipped_weight
from gossiptrain.training.guarding import Judgement, TrainerGuard
from gossiptrain.training.model.local_work import USUAL, LocalWork, late_share, lateness, met_lately
from gossiptrain.training.model.own_steps import MOST, StepHistory, StepLengths
from gossiptrain.training.model.replica import Replica
from gossiptrain.training.model.strategies import StepMix, Strategy
from gossiptrain.training.pacing import Pace

_logger = logging.getLogger(__package__)


@dataclass
class LocalProgress:
    """What this peer has done: inner steps, counted on from the donor's, and samples of its own."""

    step: int = 0
    samples: int = 0


@dataclass
class _Counts:
    """Of one fragment: where this peer stood when its rounds began and ended."""

    snapshot_step: int = 0
    told_samples: int = 0
    round_step: int = 0
    round_samples: int = 0
    median_samples: float = 0.0
    has_begun: bool = False
    interval_steps: int | None = None
    """Inner steps between its last two snapshots."""
    late: float = 0.0
    """By how much its last average was, see `LocalWork`."""
    work: LocalWork = USUAL
    """That it contributed last."""
    history: StepHistory = field(default_factory=StepHistory)
    """Of its own steps."""


class Rounds:
    """The rounds of one trainer, one at a time, each with one fragment of the model."""

    def __init__(
        self,
        settings: GossipSettings,
        strategy: Strategy,
        *,
        replica: Replica,
        progress: LocalProgress,
        run_key: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """run_key: of the run, by which peers know which fragment a round carries. clock: that of the steps."""
        self.strategy = strategy
        self.replica = replica
        self.pace = Pace(settings, now_s=clock(), fragments=replica.fragments.count)
        self.in_flight = False
        """Whether a snapshot was taken whose round is not over."""
        self.fragment = 0
        """The one that the last round carried, or the one in flight carries."""
        self.next_number = 0
        """Of the next round, as far as the node has said."""
        self._run_key = run_key
        self._clock = clock
        self._alpha = settings.gossip_alpha
        self._progress = progress
        self._counts = [_Counts(progress.step, progress.step, progress.samples) for _ in replica.fragments.lengths]
        self._snapshot_told = True
        self._guard = TrainerGuard(settings.guard, replica.parts, replica.memory, values_at=replica.values_at)

    @property
    def _own(self) -> _Counts:
        return self._counts[self.fragment]

    @property
    def _usual_steps(self) -> float | None:
        """Between two rounds of one fragment."""
        between = self.pace.usual_steps
        return None if between is None else between * self.replica.fragments.count

    @property
    def learnt_since_snapshot(self) -> bool:
        """Whether the model has moved on since all of it was last shown to others."""
        return any(own.snapshot_step != self._progress.step for own in self._counts)

    @property
    def samples(self) -> int:
        """By which this peer's contribution weighs: seen since the last committed round with this fragment.

        Where peers weigh their own steps, those of a usual round. After rounds that were missed what was learnt is
        larger by itself; and members that compare themselves with the median of their group would else take a smaller
        step for having met somebody who had been away.
        """
        seen = self._progress.samples - self._own.round_samples
        steps, usual = self._progress.step - self._own.round_step, self._usual_steps
        if self.strategy.weighs_average or not steps or not usual:
            return seen
        return round(seen * usual / steps)

    def begin(self, fragment: int | None = None) -> None:
        """Takes the snapshot. It is the node's as soon as `snapshot_to_tell` has said so.

        fragment: which one; None: that of the next round.
        """
        fragments = self.replica.fragments
        self.fragment = fragments.of_round(self._run_key, self.next_number) if fragment is None else fragment
        own = self._own
        steps = self._progress.step - own.snapshot_step
        usual = self._usual_steps
        horizon = steps / usual if usual else 1.0
        work = LocalWork(
            weight=1.0 if self.strategy.weighs_average else clipped_weight(self.samples, own.median_samples),
            horizon=horizon,
            met_lately=usual is None or met_lately(self._progress.step - own.round_step, usual),
            late=own.late,
        )
        if isinstance(self.strategy, StepMix):
            alignment = self.replica.alignment(fragment=self.fragment)
            shares = self.strategy.next_shares(own.history, alignment, horizon=horizon)
            work = replace(work, learnt=shares.learnt, grown=shares.grown, kept=shares.kept)
            _tell_of_length(shares.learnt)
        self.replica.contribute(work, fragment=self.fragment)
        own.work = work
        own.interval_steps = steps if own.has_begun else None
        own.has_begun = True
        own.snapshot_step = self._progress.step
        self._snapshot_told = False
        self.in_flight = True
        _logger.info("a round begins at step %d, %d after the last snapshot", self._progress.step, steps)

    def snapshot_to_tell(self) -> bool:
        """True once for each snapshot, when it has arrived in the memory that is shared with the node."""
        if self._snapshot_told or not self.in_flight or not self.replica.snapshot_is_there:
            return False
        self._snapshot_told = True
        self._own.told_samples = self.samples
        self._guard.see(self.fragment)
        return True

    @property
    def radii(self) -> tuple[float, ...]:
        """How far contributions to the round in flight may be from the snapshot, see `TrainerGuard.radii`."""
        return self._guard.radii(self.fragment)

    def expect_others(self) -> None:
        """Somebody has come who may have gone another way for long."""
        self._guard.expect_others()

    def fail(self) -> None:
        """The round is over, and nothing has changed."""
        _logger.info("the round ends at step %d, and nothing has changed", self._progress.step)
        self.in_flight = False
        self.pace.round_failed(self._clock())

    def commit(self, number: int, samples: Sequence[int], *, whole: bool) -> Judgement:
        """The round of this number is over: takes the average that is in shared memory, as far as the guard lets it.

        samples: of each member. whole: all of the average, whatever alpha and the average's age say. Where nothing was
        taken, what was learnt still counts as learnt since the last round.
        """
        _logger.info("the round ends at step %d: committed, samples of the members %s", self._progress.step, samples)
        self.in_flight = False
        self.pace.round_committed(number, self._clock())
        own = self._own
        usual_samples = statistics.median(samples) if samples else 0.0
        judged = self._guard.judge(self.fragment, pace=usual_samples / max(1, own.told_samples))
        if judged.taken == "nothing":
            _logger.info(
                "its average is not taken: %.1f times as far away as usual, keeps %.2f", judged.times, judged.kept
            )
            return judged
        alpha = 1.0 if whole else self._alpha * self._share_of_late_average(own)
        self._guard.note(self.fragment, judged.average, alpha=alpha)
        self.replica.take(alpha=alpha, fragment=self.fragment, average=judged.average, work=own.work)
        own.late = lateness(
            self._progress.step - own.snapshot_step,
            interval_steps=own.interval_steps,
            usual_steps=self._usual_steps or 1,
        )
        own.round_samples = self._progress.samples
        own.round_step = self._progress.step
        own.median_samples = usual_samples
        return judged

    def _share_of_late_average(self, own: _Counts) -> float:
        steps_late = self._progress.step - own.snapshot_step
        return late_share(steps_late, interval_steps=own.interval_steps, usual_steps=self._usual_steps or 1)

    def begin_anew(self) -> None:
        """The model has just been taken over from another peer: counting begins here."""
        for own in self._counts:
            own.snapshot_step = own.round_step = self._progress.step
            own.round_samples = self._progress.samples
        self._guard.begin()

    def counts(self) -> dict[str, float]:
        """What a checkpoint must keep, so that what was learnt since the last round counts in the next one."""
        kept: dict[str, float] = {}
        for number, own in enumerate(self._counts):
            values = {
                "steps_since_snapshot": self._progress.step - own.snapshot_step,
                "steps_since_round": self._progress.step - own.round_step,
                "samples_since_round": self._progress.samples - own.round_samples,
                "median_samples": own.median_samples,
                "has_begun": own.has_begun,
                "grown_rounds": own.history.grown_rounds,
                "rounds_against": own.history.against,
                "usual_length": own.history.lengths.usual,
            }
            kept.update({_key(name, number): value for name, value in values.items()})
        return kept

    def restore(self, counts: Mapping[str, float]) -> None:
        """Goes on from what `counts` has returned in another process. Fragments that were not there begin anew."""
        for number, own in enumerate(self._counts):
            kept = {name: counts.get(_key(name, number), 0) for name in _KEPT}
            own.snapshot_step = self._progress.step - int(kept["steps_since_snapshot"])
            own.round_step = self._progress.step - int(kept["steps_since_round"])
            own.round_samples = self._progress.samples - int(kept["samples_since_round"])
            own.median_samples = float(kept["median_samples"])
            own.has_begun = bool(kept["has_begun"])
            lengths = StepLengths(float(kept["usual_length"]))
            own.history = StepHistory(lengths, float(kept["grown_rounds"]), int(kept["rounds_against"]))
        self.pace.resume(min(self._progress.step - own.round_step for own in self._counts))

    def lose_node(self) -> None:
        """The node that had the snapshot is gone."""
        self.in_flight = False


def _tell_of_length(share: float) -> None:
    """On unlike data one own step of a hundred is somewhat too long; one that is twice too long is worth a warning."""
    if share < 1:
        _logger.log(
            logging.WARNING if share < 0.5 else logging.INFO,
            "what was learnt since the last round is %.1f times as far as usual, and counts as %.1f times: training "
            "may be going astray",
            MOST / share,
            MOST,
        )


_KEPT = (
    "steps_since_snapshot",
    "steps_since_round",
    "samples_since_round",
    "median_samples",
    "has_begun",
    "grown_rounds",
    "rounds_against",
    "usual_length",
)


def _key(name: str, fragment: int) -> str:
    """Under which a count of a fragment is kept; those of the first one as those of a model in one piece."""
    return name if fragment == 0 else f"{name}.{fragment}"
