"""Weights & Biases, and trackio, which understands the same three calls: init, log and finish.

Owns these calls. Both read the rest from where they always do, such as WANDB_PROJECT, WANDB_MODE and TRACKIO_SPACE_ID.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Literal

from gossiptrain.errors import UsageError
from gossiptrain.events import Event
from gossiptrain.monitor.trackers.figures import Figures
from gossiptrain.monitor.trackers.tracker import needed

Dashboard = Literal["wandb", "trackio"]
NAMES: dict[Dashboard, str] = {"wandb": "Weights & Biases", "trackio": "trackio"}


class DashboardTracker:
    """Sends the figures of one peer to a dashboard, as one of the runs of a project."""

    def __init__(self, dashboard: Dashboard, *, project: str, run: str, config: Mapping[str, Any]) -> None:
        """project: the run that all peers share. run: the name of this peer's part of it. config: its settings.

        Raises UsageError where the package is missing or does not let this user in.
        """
        self.name = NAMES[dashboard]
        self._figures = Figures()
        self._module = check(dashboard)
        # trackio raises what its parts do; of Weights & Biases all errors are of one kind.
        own = (self._module.errors.Error,) if dashboard == "wandb" else (sqlite3.Error, ValueError)
        self._errors: tuple[type[Exception], ...] = own
        try:
            self._run = self._module.init(project=project, name=run, config=dict(config))
        except self._errors as error:
            raise UsageError(
                f"{self.name} does not take this run: {str(error).splitlines()[0]}",
                remedy="Log in with `wandb login`, or keep the run on this computer with WANDB_MODE=offline."
                if dashboard == "wandb"
                else "Leave --trackio out, or mend what it says.",
            ) from error

    def handle(self, event: Event) -> None:
        """See `Tracker`."""
        if figures := self._figures.take(event):
            try:
                self._run.log(figures, step=self._figures.step)
            except self._errors as error:
                raise OSError(str(error)) from error

    def close(self) -> None:
        """See `Tracker`."""
        run, self._run = self._run, None
        if run is not None:
            run.finish()


def check(dashboard: Dashboard) -> Any:
    """The package. Raises UsageError where it is missing."""
    return needed(dashboard, flag=f"--{dashboard}", extra=dashboard)
