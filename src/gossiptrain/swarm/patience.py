"""How long a peer waits for the next chunk before it takes a link for dead.

Owns the measure: a multiple of the longest waits of its own recent rounds, so that a slow link works and a dead one is
dropped soon. Does not know links, nor what follows when patience ends.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gossiptrain.net.clock import Clock

REMEMBERED_ROUNDS = 20
MULTIPLE = 4.0
"""Patience, in terms of the 95th percentile of the longest waits."""
LEAST_SHARE = 1 / 3
MOST_SHARE = 8.0
"""Patience stays between these shares of the setting `stall_timeout_s`, with which it begins."""


class Patience:
    """What the rounds so far have taught."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._setting_s = stall_timeout_s
        self._longest_waits_s: deque[float] = deque(maxlen=REMEMBERED_ROUNDS)

    @property
    def stall_s(self) -> float:
        """How long a link may stand still now."""
        if not self._longest_waits_s:
            return self._setting_s
        ordered = sorted(self._longest_waits_s)
        usual_s = ordered[-(-95 * len(ordered) // 100) - 1]
        return min(max(MULTIPLE * usual_s, LEAST_SHARE * self._setting_s), MOST_SHARE * self._setting_s)

    def went_well(self, longest_wait_s: float) -> None:
        """Notes an attempt in which no link stood still for longer than this."""
        self._longest_waits_s.append(longest_wait_s)

    def ran_out(self) -> None:
        """Notes an attempt that ended because a link stood still: dead, or slower than it was. It begins anew."""
        self._longest_waits_s.clear()


class Watch:
    """One wait after another under one deadline, which moves on with each of them.

    async with watch.within(2.0):
        for chunk in chunks:
            await stream.write(chunk)
            watch.moved()
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.longest_wait_s = 0.0

    def within(self, seconds: float) -> asyncio.Timeout:
        """A context that raises TimeoutError where nothing moves for `seconds`; by `moved`, more often than that."""
        self._seconds = seconds
        self._since_s = self._clock.now()
        self._deadline = self._clock.timeout(seconds)
        return self._deadline

    def moved(self, *, next_within_s: float | None = None) -> float:
        """Something moved; the next thing has as long again, or as long as is said here. Returns how long it took."""
        now_s = self._clock.now()
        took_s = now_s - self._since_s
        self.longest_wait_s = max(self.longest_wait_s, took_s)
        self._since_s = now_s
        self._deadline.reschedule(now_s + (self._seconds if next_within_s is None else next_within_s))
        return took_s
