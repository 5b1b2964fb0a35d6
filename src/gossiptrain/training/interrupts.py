"""Ctrl+C and SIGTERM, turned into a polite request to stop.

Owns the signal handlers while a trainer runs. The first signal asks, and breaks off work that may be broken off; a
second Ctrl+C ends the process at once, and the node with it. Before training has begun there is nothing to finish, so
the first one raises KeyboardInterrupt; but code written in C may lose that, as `hasattr` in it does, and so the request
is remembered.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Self, TypeVar

ResultT = TypeVar("ResultT")
EXIT_INTERRUPTED = 130


class Interrupts:
    """While entered, `requested` tells whether a person or the system asked this process to stop."""

    def __init__(self) -> None:
        self.requested = False
        self.polite = False
        """Set once there is a loop that looks at `requested`."""
        self._before: dict[int, Any] = {}
        self._can_break_off = False

    def raise_if_requested(self) -> None:
        """For where training has not begun. Raises KeyboardInterrupt where one was raised before and got lost."""
        if self.requested:
            raise KeyboardInterrupt

    def run(self, work: Callable[[], ResultT]) -> ResultT | None:
        """The result of `work`, which changes nothing; None where a request to stop breaks it off half way."""
        try:
            try:
                self._can_break_off = True
                return work()
            finally:
                self._can_break_off = False
        except _BrokenOff:
            return None

    def hold(self, action: Callable[[], None]) -> None:
        """Does, in the middle of `run`'s work, what must not be broken off half way."""
        self._can_break_off = False
        action()
        self._can_break_off = True
        if self.requested:
            raise _BrokenOff

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            # None: it was not Python's, and cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # the live view hides the cursor
            os._exit(EXIT_INTERRUPTED)
        self.requested = True
        if not self.polite:
            raise KeyboardInterrupt
        if self._can_break_off:
            raise _BrokenOff


class _BrokenOff(BaseException):
    """Ends work from within; not an Exception, so that nothing on the way takes it for a failure."""
