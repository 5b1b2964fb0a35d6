"""What a person is told of damaged data files that are passed over.

Owns which of them are named, and when. How many may be passed over is `tasks.damaged`.
"""

from __future__ import annotations

from gossiptrain import events
from gossiptrain.training.bus import EventBus
from gossiptrain.training.parts import Parts

MOST_NAMED = 3
"""So many are named when they are met."""


class DamageReport:
    """Tells each of the first damaged files once, and at the end how many there were."""

    def __init__(self, parts: Parts, bus: EventBus) -> None:
        self._parts = parts
        self._bus = bus
        self._told = 0

    def tell(self, *, at_end: bool = False) -> None:
        """To be called now and then, and once at the end."""
        paths = self._parts.damaged
        for path in paths[self._told : MOST_NAMED]:
            self._warn(f"{path} cannot be read and is passed over")
        self._told = len(paths)
        if at_end and paths:
            self._warn(f"damaged files that were passed over: {len(paths)}, the first: {paths[0]}")

    def _warn(self, text: str) -> None:
        self._bus.emit(events.Notice(level="warning", message=text))
