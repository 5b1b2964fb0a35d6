"""One run as its folder tells it: how far it came, how well it did, and the course of that.

Owns what is read from `metrics.jsonl`, folded by `PeerProgress`; what cannot be read is counted and passed over. Does
not know how runs are shown or drawn, nor whether one is still running.
"""

from __future__ import annotations

import math
from pathlib import Path

from gossiptrain.core.points import Points
from gossiptrain.events import MAX_LINE_CHARS, Evaluated, Event, RoundCommitted, Started, event_from_json
from gossiptrain.monitor.progress import PeerProgress

MOST_POINTS = 4096
"""Of a course, by step; a longer one is thinned."""


class RunRecord:
    """What the metrics of a run tell. Feed `handle` with its events, in order; read the attributes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.progress = PeerProgress()
        """Of the last start, where the run was resumed."""
        self.loss = Points(MOST_POINTS)
        """On held-out data, of the peer's own model or of the merged one."""
        self.accuracy = Points(MOST_POINTS)
        self.best_accuracy: float | None = None
        """Of all evaluations, whatever is left of their course."""
        self.disagreement = Points(MOST_POINTS)
        self.damaged_lines = 0
        self.evaluated: Evaluated | None = None
        """The last evaluation."""
        self._seconds_before = 0.0

    def handle(self, event: Event) -> None:
        """Takes one event into account."""
        if isinstance(event, Started):
            self._seconds_before = self.seconds or 0.0
            self.progress = PeerProgress()
        self.progress.handle(event)
        match event:
            case Evaluated():
                self.evaluated = event
                self.loss.append(event.step, event.loss)
                self.accuracy.append(event.step, event.accuracy)
                if math.isfinite(event.accuracy):
                    self.best_accuracy = max(event.accuracy, self.best_accuracy or 0.0)
            case RoundCommitted():
                self.disagreement.append(self.progress.step or 0, event.disagreement)
            case _:
                pass

    @property
    def started_at(self) -> float:
        """Unix time of the last start; 0 where none is told."""
        return self.progress.started.time if self.progress.started is not None else 0.0

    @property
    def seconds(self) -> float | None:
        """How long it has run, all starts together; None where nothing is told."""
        progress = self.progress
        if progress.finished is not None:
            return self._seconds_before + progress.finished.seconds
        if progress.started is None or progress.time is None:
            return None
        return self._seconds_before + progress.time - progress.started.time


def read_run(folder: Path) -> RunRecord:
    """The run in `folder`. Raises OSError where its metrics cannot be read."""
    record = RunRecord(folder)
    with (folder / "metrics.jsonl").open("rb") as lines:
        # A longer line is read in pieces, none of which is an event.
        while line := lines.readline(MAX_LINE_CHARS + 1):
            try:
                event = event_from_json(line)
            except ValueError:
                record.damaged_lines += 1
                continue
            if event is not None:
                record.handle(event)
    return record
