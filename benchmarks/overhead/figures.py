"""What `benchmarks.overhead` makes of the times that its peers measured.

Owns the cut of a turn to whole cycles and the figures of a row. Pure: does not know processes, systems or tables.
"""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import Summary, summary

RUN_IN_S = 2.0


@dataclass(frozen=True)
class PeerTurn:
    """One peer in one turn, cut to what counts. step_s: length of each step. period_s: from round to round."""

    step_s: tuple[float, ...]
    rounds: int
    failed_rounds: int
    period_s: float | None

    @property
    def steps_per_s(self) -> float:
        """All waiting counts."""
        return len(self.step_s) / sum(self.step_s)


@dataclass(frozen=True)
class Overhead:
    """One row: one system at one interval. Samples of steps_per_s are all peers in all turns, those of kept turns.

    kept: a turn's steps per second, the median of its peers, divided by those of the plain turn next to it.
    longest_step_s: of each peer in each turn. step_p99_s: over all steps. beyond_plain_s: the longest of all steps
    minus the longest plain one. rounds, failed_rounds: of all peers in all turns. period_s: from the end of one round
    to the end of the next, the median.
    """

    system: str
    interval_s: float
    turns: int
    steps_per_s: Summary
    kept: Summary
    step_p50_s: float
    step_p99_s: float
    longest_step_s: Summary
    beyond_plain_s: float
    rounds: int
    failed_rounds: int
    period_s: float | None


def cut(step_ends_s: Sequence[float], rounds_s: Sequence[float], *, failed_rounds: int) -> PeerTurn:
    """From the first step that ended after a round to the last such step, so that whole cycles are counted.

    Where fewer than two rounds took place: all but the first `RUN_IN_S`. A round that ended after the last step has
    not been seen by any step, and is not counted. Raises ValueError where there are fewer than two steps to count.
    """
    after = [bisect_left(step_ends_s, round_s) for round_s in rounds_s]
    after = [step for step in after if step < len(step_ends_s)]
    if len(after) > 1:
        first, last = after[0], after[-1]
    else:
        first, last = bisect_left(step_ends_s, RUN_IN_S), len(step_ends_s) - 1
    if last <= first:
        raise ValueError(f"{len(step_ends_s)} steps are too few: let turns last longer")
    ends_s = step_ends_s[first : last + 1]
    step_s = tuple(end_s - before_s for before_s, end_s in itertools.pairwise(ends_s))
    period_s = (ends_s[-1] - ends_s[0]) / (len(after) - 1) if len(after) > 1 else None
    return PeerTurn(step_s, len(after), failed_rounds, period_s)


def row(
    system: str, interval_s: float, *, turns: Sequence[Sequence[PeerTurn]], plain: Sequence[Sequence[PeerTurn]]
) -> Overhead:
    """turns: of each turn its peers; plain: the turns that these are compared with, one for one."""
    peers = [peer for turn in turns for peer in turn]
    steps_s = sorted(step_s for peer in peers for step_s in peer.step_s)
    longest_plain_s = max(max(peer.step_s) for turn in plain for peer in turn)
    periods_s = [peer.period_s for peer in peers if peer.period_s is not None]
    return Overhead(
        system=system,
        interval_s=interval_s,
        turns=len(turns),
        steps_per_s=summary([peer.steps_per_s for peer in peers]),
        kept=summary([speed(turn) / speed(full) for turn, full in zip(turns, plain, strict=True)]),
        step_p50_s=statistics.median(steps_s),
        step_p99_s=steps_s[math.ceil(0.99 * len(steps_s)) - 1],
        longest_step_s=summary([max(peer.step_s) for peer in peers]),
        beyond_plain_s=steps_s[-1] - longest_plain_s,
        rounds=sum(peer.rounds for peer in peers),
        failed_rounds=sum(peer.failed_rounds for peer in peers),
        period_s=statistics.median(periods_s) if periods_s else None,
    )


def speed(turn: Sequence[PeerTurn]) -> float:
    """Steps per second of a turn: the median of its peers."""
    return statistics.median(peer.steps_per_s for peer in turn)
