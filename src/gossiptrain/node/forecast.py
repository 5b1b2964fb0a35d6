"""For how long the trainer's word about itself counts.

Owns the measure: a trainer that has said nothing for a few of its usual periods is stopped, swapped out or stuck, and
what it said last is no forecast any more. A trainer speaks at step boundaries, so one whose steps are long has longer
periods. Pure: does not know clocks or messages.
"""

from __future__ import annotations

from collections import deque

PROGRESS_S = 0.5
"""Period in which a trainer with short steps says where it stands."""
PERIODS = 3
REMEMBERED_GAPS = 8


class Forecast:
    """Notes when the trainer speaks, and says until when that counts. Times are of any one clock."""

    def __init__(self) -> None:
        self._heard_s: float | None = None
        self._gaps_s: deque[float] = deque(maxlen=REMEMBERED_GAPS)

    def heard(self, now_s: float) -> None:
        """The trainer has said where it stands."""
        if self._heard_s is not None and not self.is_stale(now_s):
            self._gaps_s.append(now_s - self._heard_s)
        elif self._heard_s is not None:
            # It was stopped, or its steps have become longer: believed in part, so that the next one is not too long.
            self._gaps_s.append(min(now_s - self._heard_s, 2 * self._counts_s))
        self._heard_s = now_s

    def is_stale(self, now_s: float) -> bool:
        """Whether the trainer has been silent for too long to go by what it said; False before its first word."""
        return self._heard_s is not None and now_s - self._heard_s > self._counts_s

    @property
    def _counts_s(self) -> float:
        usual_s = sorted(self._gaps_s)[len(self._gaps_s) // 2] if self._gaps_s else PROGRESS_S
        return PERIODS * max(PROGRESS_S, usual_s)
