"""Waiting for conditions in an event loop, never for time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.processes import GENEROUS_S, POLL_S


async def until(condition: Callable[[], bool], what: str, *, within_s: float = GENEROUS_S) -> None:
    """Waits until `condition` holds, while other tasks go on. Raises AssertionError that says `what` did not come."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(POLL_S)
