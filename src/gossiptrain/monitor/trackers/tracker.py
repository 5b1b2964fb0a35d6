"""What all trackers have in common, and the packages that they need.

Owns the interface, and what is said where a package is missing. Does not know what trackers do with figures.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from gossiptrain.errors import UsageError
from gossiptrain.events import Event


class Tracker(Protocol):
    """Something that keeps or shows the figures of a run. `handle` is a subscriber of the event bus."""

    name: str
    """For messages."""

    def handle(self, event: Event) -> None:
        """Takes in one event. Raises OSError where the tracker cannot go on; training does."""

    def close(self) -> None:
        """Sees to it that all is written. May be called twice."""


def needed(module: str, *, flag: str, extra: str) -> Any:
    """The module of a package that only some users need. Raises UsageError that says how it is installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        missing = error.name is not None and error.name.partition(".")[0] == package
        raise UsageError(
            f"{flag} needs the package {extra}, which " + ("is not installed." if missing else "cannot be used."),
            cause="" if missing else str(error),
            remedy=f"Install it with: pip install 'gossiptrain[{extra}]'.",
        ) from error
