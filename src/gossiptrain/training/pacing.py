"""When a peer is ready for its next round, and when it will have made its last step.

Owns the count of inner steps and seconds towards the next round and the forecasts that others are told. Pure: the time
is given with every call, in seconds of any monotonic clock.
"""

from __future__ import annotations

import statistics
from collections import deque

from gossiptrain.config import GossipSettings

RETRY_S = 0.5
"""After a round that found no group, the least time until the next try."""
SMOOTHING = 0.1
RECENT_INTERVALS = 5
"""Between rounds, by which the usual number of steps between two rounds is known."""
LEAST_PAUSE = 1 / 3
"""Of what a round takes from its group on, so much at least lies between its end and the next round. A peer whose
average comes just before its next contribution has learnt from where it was a whole round ago: with `step-mix` that
costs a few percent up to three quarters of the way from one round to the next, and doubles the loss beyond nine tenths
(`docs/algorithms.md`). It also leaves the line to others for a while."""
RECENT_S = 2.0
"""What steps took within so long counts as their speed of late."""


class EndForecast:
    """In how many seconds the last step will be made, by the speed of the steps before it.

    Goes by the speed of late or by that of all steps, whichever is higher: others that end do not wait for somebody
    who says that it needs longer than they would wait. Who is waited for in vain costs a few seconds, who is not waited
    for although it ends in time ends with another model.
    """

    def __init__(self, *, now_s: float) -> None:
        self._started_s = now_s
        self._marks: deque[tuple[float, int]] = deque()
        """When how many steps had been made; the first is the last one that is older than `RECENT_S`."""

    def left_s(self, *, made: int, left: int, now_s: float) -> float:
        """made: steps since the start, at least one. left: those to the last."""
        self._marks.append((now_s, made))
        while len(self._marks) > 1 and self._marks[1][0] <= now_s - RECENT_S:
            self._marks.popleft()
        since_s, made_before = self._marks[0]
        step_s = (now_s - self._started_s) / made
        if made > made_before:
            step_s = min(step_s, (now_s - since_s) / (made - made_before))
        return left * step_s


def head_start(during: float, every: float) -> float:
    """How much of what was made while a round had its group counts towards the next one, in steps or seconds.

    All of it, so that rounds are `every` apart however long they take, as long as the pause after it is no shorter
    than `LEAST_PAUSE`. Below zero where that pause is longer than `every`.
    """
    return min(during, every - LEAST_PAUSE * during)


def apart_s(round_s: float, *, every_s: float) -> float:
    """How far rounds are apart that take so long from their group on."""
    return round_s + every_s - head_start(round_s, every_s)


class Pace:
    """Counts towards the next round: after `every_steps` inner steps or `every_seconds`, whichever comes first.

    Counts from when the last round found its group, which is the same moment for all of its members. Where a round
    carries one of several fragments of the model, after that part of them.
    """

    def __init__(self, settings: GossipSettings, *, now_s: float, fragments: int = 1) -> None:
        self._every_steps = None if settings.every_steps is None else settings.every_steps / fragments
        self._every_seconds = None if settings.every_seconds is None else settings.every_seconds / fragments
        self._steps = 0.0
        """That count towards the next round; below zero where it has to wait for longer than usual."""
        self._since_s = now_s
        """From when on seconds count."""
        self._found: tuple[float, float] | None = None
        """Where both stood when the round in flight found its group."""
        self._committed_s = now_s
        self._seen = 0
        """Inner steps since then."""
        self._speeds: deque[float] = deque(maxlen=RECENT_INTERVALS)
        """Inner steps in a second, in the last intervals between rounds."""
        self._last_step_s = now_s
        self._step_seconds: float | None = None
        self._not_before_s = now_s
        self._hurried = False
        self._requested = 0

    def resume(self, steps: int) -> None:
        """So many inner steps since the last round were made before, in another process."""
        self._steps = steps

    def step_done(self, now_s: float) -> None:
        """One more inner step was made."""
        self._steps += 1
        self._seen += 1
        took_s = now_s - self._last_step_s
        self._last_step_s = now_s
        if self._step_seconds is None:
            self._step_seconds = took_s
        else:
            self._step_seconds += SMOOTHING * (took_s - self._step_seconds)

    @property
    def usual_steps(self) -> float | None:
        """Inner steps between two rounds where nothing gets in the way; None while their speed is not known.

        Their speed is that of whole intervals, the median of the last ones: one long step, as where a model is
        evaluated between two, says little of how many others a round has.
        """
        steps: list[float] = []
        if self._every_steps is not None:
            steps.append(max(1.0, self._every_steps))
        if self._every_seconds is not None and (speed := self._usual_speed()):
            steps.append(max(1.0, self._every_seconds * speed))
        return min(steps) if steps else None

    def _usual_speed(self) -> float | None:
        """In inner steps a second; before the first round that of the steps so far."""
        if self._speeds:
            return statistics.median(self._speeds)
        took_s = self._last_step_s - self._committed_s
        return self._seen / took_s if took_s > 0 else None

    def request_round_now(self, number: int) -> None:
        """Makes the next round due at once, because another peer wants to merge in the round of this number."""
        self._hurried = True
        self._requested = max(self._requested, number)

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
            steps_left = max(0.0, self._every_steps - self._steps)
            if steps_left == 0:
                return 0.0
            if self._step_seconds is not None:
                waits_s.append(steps_left * self._step_seconds)
        return max(0.0, min(waits_s)) if waits_s else None

    def group_found(self, now_s: float) -> None:
        """The round that has begun has its group: what follows counts towards the next one."""
        self._found = (self._steps, now_s)

    def round_committed(self, number: int, now_s: float) -> None:
        """The round of this number took place; counting starts again. One that was asked for later is still due."""
        if self._seen and now_s > self._committed_s:
            self._speeds.append(self._seen / (now_s - self._committed_s))
        steps, found_s = self._found or (self._steps, now_s)
        if self._every_steps is not None:
            self._steps = head_start(self._steps - steps, self._every_steps)
        if self._every_seconds is not None:
            self._since_s = now_s - head_start(now_s - found_s, self._every_seconds)
        self._found, self._committed_s, self._seen = None, now_s, 0
        self._hurried = self._hurried and number < self._requested

    def round_failed(self, now_s: float) -> None:
        """No round took place; it stays due, with a pause before the next try."""
        self._found = None
        self._not_before_s = now_s + RETRY_S
        self._hurried = False
