"""The figures of a run by name and step, as trackers want them.

Owns the names, which are the same in all trackers. Does not know any tracker.

    train/loss train/learning_rate train/samples_per_s train/epoch      of this peer's inner steps
    test/loss test/accuracy merged/loss merged/accuracy                 on held-out data
    swarm/peers swarm/rounds swarm/failed_rounds swarm/bytes_sent       the living, this one included; totals
    round/disagreement round/seconds round/formation_seconds round/members round/bytes_sent     of each round
"""

from __future__ import annotations

import math

from gossiptrain.events import (
    Evaluated,
    Event,
    Finished,
    PeerChanged,
    RoundCommitted,
    RoundFailed,
    Started,
    StepDone,
)
from gossiptrain.monitor.progress import PeerProgress

TOTALS = ("swarm/rounds", "swarm/failed_rounds", "swarm/bytes_sent")
"""Figures that only grow."""


class Figures:
    """Turns events into figures. Feed `take` with the events of one peer, in order."""

    def __init__(self) -> None:
        self._progress = PeerProgress()
        self._failed = 0

    @property
    def step(self) -> int:
        """The step at which the peer stands."""
        return self._progress.step or 0

    def take(self, event: Event) -> dict[str, float]:
        """What the event says in figures; what is not finite or not known is left out."""
        self._progress.handle(event)
        found = {name: value for name, value in self._said(event).items() if value is not None and math.isfinite(value)}
        return {name: float(value) for name, value in found.items()}

    def _said(self, event: Event) -> dict[str, float | None]:
        match event:
            case StepDone():
                names = ("loss", "learning_rate", "samples_per_s", "epoch")
                return {f"train/{name}": getattr(event, name) for name in names}
            case Evaluated():
                place = "merged" if event.of == "merged" else "test"
                return {f"{place}/loss": event.loss, f"{place}/accuracy": event.accuracy}
            case Started() | PeerChanged():
                return {"swarm/peers": self._progress.peers}
            case RoundFailed():
                self._failed += not event.alone
                return {"swarm/failed_rounds": self._failed}
            case RoundCommitted():
                names = ("disagreement", "seconds", "formation_seconds", "bytes_sent")
                own = {f"round/{name}": getattr(event, name) for name in names}
                return {**own, "round/members": len(event.members), **self._totals()}
            case Finished():
                return self._totals()
            case _:
                return {}

    def _totals(self) -> dict[str, float | None]:
        return {"swarm/rounds": self._progress.rounds, "swarm/bytes_sent": self._progress.bytes_sent}
