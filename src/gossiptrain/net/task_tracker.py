"""Tasks that foreign code starts and forgets.

Owns the tracking of all tasks that come, directly or through one another, from one piece of code, so that they can be
ended together and what they raise is not left lying about. Does not know what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import weakref
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

_logger = logging.getLogger(__package__)
_current: contextvars.ContextVar[TaskTracker | None] = contextvars.ContextVar("task_family", default=None)
_prepared: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


class TaskTracker:
    """The tasks created inside `with tracker.tracking():` and, in turn, by those tasks."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def tracking(self) -> Iterator[None]:
        """Tasks that are created in this block are tracked. Must be used inside a running event loop."""
        _prepare(asyncio.get_running_loop())
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    async def close(self) -> None:
        """Cancels all tracked tasks, also those that they start while they end, and waits for them."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _add(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.debug("a background task failed", exc_info=error)


def _prepare(loop: asyncio.AbstractEventLoop) -> None:
    """Makes the loop tell trackers of new tasks. Only a task's context knows who its ancestors are."""
    if loop in _prepared:
        return
    _prepared.add(loop)
    make_task = loop.get_task_factory()

    def make_tracked_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
    ) -> asyncio.Future[Any]:
        task = (
            asyncio.Task(coroutine, loop=loop, **options)
            if make_task is None
            else make_task(loop, coroutine, **options)
        )
        family = _current.get()
        if family is not None and isinstance(task, asyncio.Task):
            family._add(task)
        return task

    loop.set_task_factory(make_tracked_task)
