"""Something that happens once in each period. Does not know what."""

from __future__ import annotations

import time
from collections.abc import Callable


class Interval:
    """Asked again and again whether it is time."""

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._planned_s = period_s
        self._last_s = clock()
        self.period_s = period_s
        """How long the last period really was."""

    def is_due(self) -> bool:
        """Whether it is time; the period goes on."""
        return self._clock() - self._last_s >= self._planned_s

    def take(self) -> bool:
        """Whether it is time; if so, the next period begins."""
        if not self.is_due():
            return False
        now_s = self._clock()
        self.period_s, self._last_s = now_s - self._last_s, now_s
        return True
