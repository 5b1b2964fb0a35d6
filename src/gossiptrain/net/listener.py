"""A socket at which streams from other peers arrive.

Owns the accepting of connections. It happens in one step, so that closing finds each of them either in the queue of
the kernel or in the hands of the owner; asyncio's own server can lose one in between. Does not know what is said.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

_logger = logging.getLogger(__package__)
_BACKLOG = 128
_RETRY_S = 0.5

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class StreamListener:
    """Calls `on_connection` with each new connection, whose owner the callee becomes."""

    def __init__(self, listening: socket.socket, *, on_connection: Callable[[socket.socket], None]) -> None:
        """Owns `listening`, which listens already, from now on."""
        self._loop = asyncio.get_running_loop()
        self._on_connection = on_connection
        self._retry: asyncio.TimerHandle | None = None
        self._socket = listening
        listening.setblocking(False)
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


def listening_unix_socket(path: Path) -> socket.socket:
    """A Unix socket that listens at `path`. Raises OSError."""
    return _listening(socket.AF_UNIX, str(path))


def listening_tcp_socket(host: IpAddress, port: int) -> socket.socket:
    """A TCP socket that listens at `host`; port 0: any free one. Raises OSError."""
    return _listening(socket.AF_INET if host.version == 4 else socket.AF_INET6, (str(host), port))


def _listening(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
