"""The flags of `gossip train` for TensorBoard, Weights & Biases, trackio and Prometheus.

Owns these flags, and how what they name is opened, fed and closed. What each does with figures is `monitor.trackers`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gossiptrain.cli.flags import Flag, Given
from gossiptrain.cli.options import OUTPUT
from gossiptrain.errors import UsageError
from gossiptrain.monitor.trackers import dashboards, prometheus, tensorboard
from gossiptrain.monitor.trackers.tracker import Tracker
from gossiptrain.training.bus import EventBus
from gossiptrain.training.runs.folder import RunFolder

TENSORBOARD = Flag(
    ("--tensorboard",), bool, "Write event files for TensorBoard into the run folder", panel=OUTPUT, default=False
)
WANDB = Flag(("--wandb",), bool, "Report to Weights & Biases", panel=OUTPUT, default=False)
TRACKIO = Flag(("--trackio",), bool, "Report to trackio", panel=OUTPUT, default=False, rare=True)
PROMETHEUS = Flag(
    ("--prometheus",), str, "Serve figures for Prometheus, to this computer alone without HOST", metavar="[HOST:]PORT",
    panel=OUTPUT, rare=True,
)  # fmt: skip
TRACKING_FLAGS = (TENSORBOARD, WANDB, TRACKIO, PROMETHEUS)


@dataclass(frozen=True)
class Tracking:
    """Which trackers were asked for."""

    tensorboard: bool = False
    dashboards: tuple[dashboards.Dashboard, ...] = ()
    prometheus: str | None = None

    @classmethod
    def asked(cls, given: Given) -> Tracking:
        """What the flags say. Raises UsageError where a package is missing, before anything else takes time."""
        named: tuple[tuple[Flag, dashboards.Dashboard], ...] = ((WANDB, "wandb"), (TRACKIO, "trackio"))
        chosen = tuple(name for flag, name in named if given[flag])
        if given[TENSORBOARD]:
            tensorboard.check()
        for name in chosen:
            dashboards.check(name)
        if given[PROMETHEUS] is not None:
            prometheus.parse_place(given[PROMETHEUS])
            prometheus.check()
        return cls(given[TENSORBOARD], chosen, given[PROMETHEUS])

    @contextlib.contextmanager
    def of(self, bus: EventBus, folder: RunFolder, *, run: str, settings: Mapping[str, Any]) -> Iterator[None]:
        """Feeds the trackers from the bus for as long as the body runs. Raises UsageError, PortInUseError."""
        with contextlib.ExitStack() as stack:
            for tracker in self._opened(folder, run=run, settings=settings):
                stack.callback(tracker.close)
                stack.callback(bus.subscribe(tracker.handle, name=tracker.name))
            yield

    def _opened(self, folder: RunFolder, *, run: str, settings: Mapping[str, Any]) -> Iterator[Tracker]:
        if self.prometheus is not None:
            yield prometheus.PrometheusTracker(self.prometheus)
        if self.tensorboard:
            try:
                yield tensorboard.TensorBoardTracker(folder.path / "tensorboard")
            except OSError as error:
                raise UsageError(f"Event files cannot be written to {folder.path}: {error.strerror}.") from error
        for name in self.dashboards:
            yield dashboards.DashboardTracker(name, project=run, run=folder.id, config=settings)
