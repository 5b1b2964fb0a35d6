"""Tasks that answer streams which other peers opened.

Owns the life of a handler: one task per stream, the stream closed when it returns and aborted when it does not. Does
not know protocols or transports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from gossiptrain.net.transport import Stream, StreamHandler

_logger = logging.getLogger(__name__)


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
    """Runs `handler` on `stream`, closes the stream when it returns and aborts it when it raises."""
    try:
        await handler(stream)
        await stream.close()
    finally:
        stream.abort()  # does nothing after an orderly close
