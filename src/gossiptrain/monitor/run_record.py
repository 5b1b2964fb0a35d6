"""One run as its folder tells it: how far it came, how well it did, and the course of that.

Owns what is read from `metrics.jsonl`, folded by `PeerProgress`; what cannot be read is counted and passed over. Does
not know how runs are shown or drawn, nor whether one is still running.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from gossiptrain.events import MAX_LINE_CHARS, Evaluated, Event, RoundCommitted, Started, event_from_json
from gossiptrain.monitor.progress import PeerProgress

MOST_POINTS = 4096


@dataclass
class Course:
    """One value over the steps, in at most `MOST_POINTS` points; of a longer course every second point is left out."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def add(self, step: int, value: float | None) -> None:
        """What is not finite is passed over."""
        if value is None or not math.isfinite(value):
            return
        self._seen += 1
        if self._seen % self._every:
            return
        self.steps.append(step)
        self.values.append(value)
        if len(self.steps) >= MOST_POINTS:
            self.steps, self.values = self.steps[1::2], self.values[1::2]
            self._every *= 2


class RunRecord:
    """What the metrics of a run tell. Feed `handle` with its events, in order; read the attributes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.progress = PeerProgress()
        """Of the last start, where the run was resumed."""
        self.loss = Course()
        """On held-out data, of the peer's own model or of the merged one."""
        self.accuracy = Course()
        self.disagreement = Course()
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
                self.loss.add(event.step, event.loss)
                self.accuracy.add(event.step, event.accuracy)
            case RoundCommitted():
                self.disagreement.add(self.progress.step or 0, event.disagreement)
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
