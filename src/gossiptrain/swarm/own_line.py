"""How fast bytes come to this peer in its rounds.

Owns the measure, of whole exchanges. Does not know what follows from it for a stream.
"""

from __future__ import annotations

from collections import deque

REMEMBERED_EXCHANGES = 4
"""The fastest of these counts: one that had to wait for a slow member says little of the own line."""


class OwnLine:
    """What the last exchanges have taught."""

    def __init__(self) -> None:
        self._speeds: deque[float] = deque(maxlen=REMEMBERED_EXCHANGES)

    def note(self, received_bytes: int, seconds: float) -> None:
        """Learns from one exchange."""
        if received_bytes and seconds > 0:
            self._speeds.append(received_bytes / seconds)

    @property
    def bytes_per_s(self) -> float | None:
        """On all streams together; None while nothing is known."""
        return max(self._speeds, default=None)
