"""A Unix socket at which the daemon hands over streams from other peers.

Owns the accepting of connections. It happens in one step, so that closing finds each of them either in the queue of
the kernel or in the hands of the owner; asyncio's own server can lose one in between. Does not know what is said.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path

_logger = logging.getLogger(__name__)
_BACKLOG = 128
_RETRY_S = 0.5


class UnixListener:
    """Calls `on_connection` with each new connection, whose owner the callee becomes."""

    def __init__(self, path: Path, *, on_connection: Callable[[socket.socket], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_connection = on_connection
        self._retry: asyncio.TimerHandle | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
            self._socket.listen(_BACKLOG)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise
        self._watch()

    def close(self) -> None:
        """Takes no more connections. May be called twice."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _watch(self) -> None:
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it went away again
        except OSError as error:
            # Out of files or memory: the connection stays in the queue. Trying at once would fill the processor.
            _logger.warning("a stream from another peer has to wait: %s", error.strerror)
            self._loop.remove_reader(self._socket)
            self._retry = self._loop.call_later(_RETRY_S, self._watch)
            return
        connection.setblocking(False)
        self._on_connection(connection)
