"""Event files for TensorBoard, in the run folder: `tensorboard --logdir runs` shows all runs together.

Owns that form alone. torch writes it, with the package tensorboard.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gossiptrain.events import Event
from gossiptrain.monitor.trackers.figures import Figures
from gossiptrain.monitor.trackers.tracker import needed

FLUSH_S = 10


class TensorBoardTracker:
    """Writes event files into `folder`."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where the package is missing, OSError where nothing can be written there."""
        check()
        from torch.utils.tensorboard import SummaryWriter

        self._figures = Figures()
        self._writer: Any = SummaryWriter(str(folder), flush_secs=FLUSH_S)

    def handle(self, event: Event) -> None:
        """See `Tracker`."""
        for name, value in self._figures.take(event).items():
            self._writer.add_scalar(name, value, self._figures.step, walltime=event.time)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


def check() -> None:
    """Raises UsageError where the package is missing."""
    needed("tensorboard", flag="--tensorboard", extra="tensorboard")
