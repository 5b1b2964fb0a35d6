"""Tasks that answer streams which other peers opened.

Owns the life of a handler: one task per stream, the stream kept for its opener when the handler returns and aborted
when it does not; how many streams others may have open here; and what is said of a handler that fails. Does not know
protocols or transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

from gossiptrain.core.recent import Recent
from gossiptrain.net.transport import PeerId, Stream, StreamHandler

_logger = logging.getLogger(__package__)
LINGER_S = 5.0
"""Longest wait for the opener to read the last bytes and to end the stream."""
MAX_STREAMS_OF_ONE = 64
"""Streams that one peer may have open here; a round needs a handful. Its next ones are refused."""
MAX_STREAMS = 512
"""Streams that all peers together may have open here. Then whoever has most of them loses the oldest of them."""
MAX_SILENT = 128
"""Streams on which nothing was said yet, of all peers together. Whoever opens one speaks at once, so they are few; the
daemon takes far more memory for each than this process. Then whoever has most of them loses the oldest of them."""
FIRST_WORD_S = 30.0
"""Longest wait for the first word on a stream."""
SILENCE_S = 60.0
"""A failure that happens again within so long of the last that was told is not told again."""
MAX_FAILURES_TOLD = 64


class StreamLimits:
    """The streams that others have open at one transport: so many each, and so many in all."""

    def __init__(self) -> None:
        self._open: defaultdict[PeerId, dict[Stream, None]] = defaultdict(dict)
        self._silent: dict[Stream, None] = {}
        """Those on which nothing was said when they were last looked at, the oldest first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, stream: Stream) -> bool:
        """Counts a stream in, unless its peer has too many; makes room where there are too many in all."""
        if len(self._open.get(stream.remote, ())) >= MAX_STREAMS_OF_ONE:
            return False
        if self._count >= MAX_STREAMS:
            greediest = max(self._open.values(), key=len)
            self._drop(next(iter(greediest)))
        if len(self._silent) >= MAX_SILENT:
            self._silent = {silent: None for silent in self._silent if not silent.bytes_received}
        if len(self._silent) >= MAX_SILENT:
            greedy, _ = Counter(silent.remote for silent in self._silent).most_common(1)[0]
            self._drop(next(silent for silent in self._silent if silent.remote == greedy))
        self._silent[stream] = None
        self._open[stream.remote][stream] = None
        self._count += 1
        return True

    def leave(self, stream: Stream) -> None:
        """Counts a stream out; does nothing where that has happened already."""
        streams = self._open.get(stream.remote, {})
        if stream in streams:
            del streams[stream]
            self._silent.pop(stream, None)
            self._count -= 1
        if not streams:
            self._open.pop(stream.remote, None)

    def _drop(self, stream: Stream) -> None:
        stream.abort()
        self.leave(stream)


class HandlerTasks:
    """All running handlers of one transport."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Callable[[], None]] = {}
        self._told_s: Recent[tuple[str, str], float] = Recent(MAX_FAILURES_TOLD)
        self._closing = False

    def start(self, answering: Coroutine[Any, Any, None], *, name: str, release: Callable[[], None]) -> None:
        """Runs a handler in a task of its own. What it raises is told, unless a broken or silent peer explains it.

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
            self._tell(task.get_name(), error)

    def _tell(self, name: str, error: BaseException) -> None:
        """One line in a while, since others can provoke it as often as they like; never what they said."""
        kind, now_s = type(error).__name__, asyncio.get_running_loop().time()
        if now_s - self._told_s.get((name, kind), -SILENCE_S) >= SILENCE_S:
            self._told_s[name, kind] = now_s
            _logger.warning("%s failed on what another peer said (%s); the peer is cut off there", name, kind)
        _logger.debug("%s failed", name, exc_info=error)


async def answer(handler: StreamHandler, stream: Stream, limits: StreamLimits) -> None:
    """Runs `handler` on `stream` and leaves it to the opener to end the stream; aborts it where the handler raises.

    A stream that is over the limits is aborted unread, one on which nothing is said for `FIRST_WORD_S` as well.

    libp2p's daemon sometimes resets a stream that is closed at its writer's end, and the last bytes are lost: about
    once in 5,000 answers on two busy cores, which looked like the sudden death of a peer.
    """
    impatience = asyncio.get_running_loop().call_later(FIRST_WORD_S, _end_where_silent, stream)
    try:
        if not limits.enter(stream):
            return
        await handler(stream)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await stream.wait_for_end()
        await stream.close()
    finally:
        impatience.cancel()
        stream.abort()  # does nothing after an orderly close
        limits.leave(stream)


def _end_where_silent(stream: Stream) -> None:
    if not stream.bytes_received:
        stream.abort()
