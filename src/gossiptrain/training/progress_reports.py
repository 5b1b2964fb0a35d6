"""What the node is told of its trainer between two rounds, and others through it.

Owns the words: how far the trainer is, when it expects to be ready for a round and to end, and its loss; and how often
they are said. Does not know what decides when a round is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gossiptrain.net.framing import Message
from gossiptrain.node import control
from gossiptrain.node.forecast import PROGRESS_S
from gossiptrain.training.rounds import LocalProgress


class ProgressReports:
    """Of one trainer. Used by the training thread alone."""

    def __init__(self, progress: LocalProgress, send: Callable[[Message], None]) -> None:
        """send: gives a word to the node."""
        self.ends_in_s: float | None = None
        """Seconds until the last step is made, as of now; goes with the next word. None while it cannot be said."""
        self._progress = progress
        self._send = send
        self._loss: float | None = None
        """Noted since others were told last."""
        self._last_s = 0.0

    def show_loss(self, loss: float) -> None:
        """Notes the loss of the last step; it goes with the next word, and only if it is finite."""
        if math.isfinite(loss):
            self._loss = loss

    def tell(self, *, ready_in_s: float | None) -> None:
        """Says where this trainer stands. ready_in_s: until it is ready for a round; None where it cannot say."""
        loss, self._loss = self._loss, None
        step, ends_in_s = self._progress.step, self.ends_in_s
        self._send(control.Progress(step=step, ready_in_s=ready_in_s, ends_in_s=ends_in_s, loss=loss))

    def tell_now_and_then(self, *, ready_in_s: float | None) -> None:
        """The same, if it is time."""
        now_s = time.monotonic()
        if now_s - self._last_s >= PROGRESS_S:
            self._last_s = now_s
            self.tell(ready_in_s=ready_in_s)
