"""The evaluations of the command line's trainer: what the last one found, and how long it took.

Owns that the swarm is heard meanwhile, that a request to stop breaks one off, and that its outcome is told. Does not
know when it is time for one, nor what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from gossiptrain import events
from gossiptrain.training.bus import EventBus
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.parts import Parts
from gossiptrain.training.tasks.evaluation import Evaluation

INTERRUPTED_EVALUATION_S = 1.5
"""An evaluation that takes longer is left out where somebody waits for the end."""


class Evaluator:
    """Evaluates one model on the test data of its task."""

    def __init__(self, parts: Parts, interrupts: Interrupts, bus: EventBus, *, listen: Callable[[], None]) -> None:
        """listen: called after each batch."""
        self._parts = parts
        self._interrupts = interrupts
        self._bus = bus
        self._listen = listen
        self._took_s = 0.0
        self.found: Evaluation | None = None
        """The outcome of the last one that was not broken off."""
        self.best_accuracy: float | None = None

    @property
    def is_quick(self) -> bool:
        """Whether there was one, and it took so little time that another one holds up nobody."""
        return self.found is not None and self._took_s < INTERRUPTED_EVALUATION_S

    def evaluate(self, of: Literal["peer", "merged"], *, step: int) -> None:
        """Evaluates the model as it is now, and tells it, unless a request to stop breaks it off."""
        started_s = time.monotonic()
        evaluation_set, model = self._parts.evaluation_set, self._parts.model
        found = self._interrupts.run(lambda: evaluation_set.evaluate(model, after_batch=self._listen))
        if found is None:
            return
        self._took_s = time.monotonic() - started_s
        self.found = found
        self.best_accuracy = max(found.accuracy, self.best_accuracy or 0.0)
        self._bus.emit(
            events.Evaluated(step=step, loss=found.loss, accuracy=found.accuracy, samples=found.samples, of=of)
        )
