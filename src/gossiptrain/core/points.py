"""The course of one value over a run of any length, in a bounded number of points.

Pure: does not know what the values are, nor who looks at them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

LARGEST = 1e30
"""What is beyond all reason is clipped."""
DIGITS = 4


def rounded(value: float) -> float:
    """A finite value with the significant digits that a picture needs, and within `LARGEST`."""
    return float(f"{max(-LARGEST, min(LARGEST, value)):.{DIGITS}g}")


class Points:
    """At most `capacity` points, an even number: where and what, each value the mean of as many that were added."""

    def __init__(self, capacity: int) -> None:
        self.values: list[tuple[int, float]] = []
        self._capacity = capacity
        self._span = 1
        self._pending: list[float] = []

    def append(self, at: int, value: float | None) -> None:
        """Adds a value at a step or a round; None and what is not finite are passed over."""
        if value is None or not math.isfinite(value):
            return
        self._pending.append(rounded(value))
        if len(self._pending) < self._span:
            return
        self.values.append((at, rounded(math.fsum(self._pending) / len(self._pending))))
        self._pending.clear()
        if len(self.values) >= self._capacity:
            self.values = _halved(self.values)
            self._span *= 2

    def take_over(self, earlier: Iterable[tuple[int, float]]) -> None:
        """Puts the history of somebody else before the own one, as far as that is older."""
        begin = self.values[0][0] if self.values else None
        older = [
            (at, rounded(value)) for at, value in earlier if math.isfinite(value) and (begin is None or at < begin)
        ]
        joined = sorted(older) + self.values
        while len(joined) >= self._capacity:
            joined = _halved(joined)
        self.values = joined


def _halved(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Each two points as one; of an odd number the last stays as it is."""
    pairs = zip(points[::2], points[1::2], strict=False)
    halved = [(later[0], rounded((first[1] + later[1]) / 2)) for first, later in pairs]
    return halved + points[len(points) - len(points) % 2 :]
