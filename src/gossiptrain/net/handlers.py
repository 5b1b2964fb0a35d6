"""Tasks that answer streams which other peers opened.

Owns the life of a handler: one task per stream, the stream kept for its opener when the handler returns and aborted
when it does not. Does not know protocols or transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from gossiptrain.net.transport import Stream, StreamHandler

_logger = logging.getLogger(__package__)
LINGER_S = 5.0
"""Longest wait for the opener to read the last bytes and to end the stream."""


class HandlerTasks:
    """All running handlers of one transport."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Callable[[], None]] = {}
        self._closing = False

    def start(self, answering: Coroutine[Any, Any, None], *, name: str, release: Callable[[], None]) -> None:
        """Runs a handler in a task of its own. What it raises is logged, unless a broken or silent peer explains it.

        `release` is called at its end, also where it is cancelled before its first line runs.
        """
        if self._closing:
            answering.close()
            release()
            return
        task = asyncio.create_task(answering, name=name)
        self._tasks[task] = release
        task.add_done_callback(self._finished)

    def cancel(self) -> None:
        """Cancels all handlers but the calling one, without waiting for them. No more are started."""
        self._closing = True
        for task in self._others():
            task.cancel()

    async def close(self) -> None:
        """Cancels all handlers but the calling one and waits until they have ended. No more are started."""
        others = self._others()
        self.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _others(self) -> list[asyncio.Task[None]]:
        current = asyncio.current_task()
        return [task for task in self._tasks if task is not current]

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task)()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            _logger.error("%s failed", task.get_name(), exc_info=error)


async def answer(handler: StreamHandler, stream: Stream) -> None:
    """Runs `handler` on `stream` and leaves it to the opener to end the stream; aborts it where the handler raises.

    libp2p's daemon sometimes resets a stream that is closed at its writer's end, and the last bytes are lost: about
    once in 5,000 answers on two busy cores, which looked like the sudden death of a peer.
    """
    try:
        await handler(stream)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await stream.wait_for_end()
        await stream.close()
    finally:
        stream.abort()  # does nothing after an orderly close
