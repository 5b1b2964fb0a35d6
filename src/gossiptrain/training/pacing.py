"""When a peer is ready for its next round.

Owns the count of inner steps and seconds since the last round and the forecast that others are told. Pure: the time
is given with every call, in seconds of any monotonic clock.
"""

from __future__ import annotations

from gossiptrain.config import GossipSettings

RETRY_S = 0.5
"""After a round that found no group, the least time until the next try."""
SMOOTHING = 0.1


class Pace:
    """Counts towards the next round: after `every_steps` inner steps or `every_seconds`, whichever comes first."""

    def __init__(self, settings: GossipSettings, *, now_s: float) -> None:
        self._every_steps = settings.every_steps
        self._every_seconds = settings.every_seconds
        self._steps = 0
        self._since_s = now_s
        self._last_step_s = now_s
        self._step_seconds: float | None = None
        self._not_before_s = now_s
        self._hurried = False

    def resume(self, steps: int) -> None:
        """So many inner steps since the last round were made before, in another process."""
        self._steps = steps

    def step_done(self, now_s: float) -> None:
        """One more inner step was made."""
        self._steps += 1
        took_s = now_s - self._last_step_s
        self._last_step_s = now_s
        if self._step_seconds is None:
            self._step_seconds = took_s
        else:
            self._step_seconds += SMOOTHING * (took_s - self._step_seconds)

    @property
    def usual_steps(self) -> float | None:
        """Inner steps between two rounds where nothing gets in the way; None while their speed is not known."""
        steps: list[float] = []
        if self._every_steps is not None:
            steps.append(self._every_steps)
        if self._every_seconds is not None and self._step_seconds:
            steps.append(max(1.0, self._every_seconds / self._step_seconds))
        return min(steps) if steps else None

    def request_round_now(self) -> None:
        """Makes the next round due at once, because another peer is about to leave and wants to merge."""
        self._hurried = True

    def is_due(self, now_s: float) -> bool:
        """Whether a round should begin now."""
        return now_s >= self._not_before_s and self.due_in_s(now_s) == 0.0

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until the next round is due; None while the speed of the inner steps is not known."""
        if self._hurried:
            return 0.0
        waits_s: list[float] = []
        if self._every_seconds is not None:
            waits_s.append(self._since_s + self._every_seconds - now_s)
        if self._every_steps is not None:
            steps_left = max(0, self._every_steps - self._steps)
            if steps_left == 0:
                return 0.0
            if self._step_seconds is not None:
                waits_s.append(steps_left * self._step_seconds)
        return max(0.0, min(waits_s)) if waits_s else None

    def round_committed(self, now_s: float) -> None:
        """A round took place; counting starts again."""
        self._steps = 0
        self._since_s = now_s
        self._hurried = False

    def round_failed(self, now_s: float) -> None:
        """No round took place; it stays due, with a pause before the next try."""
        self._not_before_s = now_s + RETRY_S
        self._hurried = False
