"""A listening Unix socket: connections are taken one by one, and a shortage of files is waited out."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest

from gossiptrain.net.listener import StreamListener, listening_unix_socket
from tests.transports import until


def dial(path: Path) -> socket.socket:
    """A connection to the socket at `path`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def test_each_connection_is_handed_over(tmp_path: Path) -> None:
    async def main() -> None:
        taken: list[socket.socket] = []
        listener = StreamListener(listening_unix_socket(tmp_path / "socket"), on_connection=taken.append)
        dialled = [dial(tmp_path / "socket") for _ in range(3)]
        await until(lambda: len(taken) == 3)
        listener.close()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            dial(tmp_path / "socket")
        for connection in dialled + taken:
            connection.close()

    asyncio.run(main())


def test_a_shortage_of_files_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        taken: list[socket.socket] = []
        refusals = [OSError(errno.EMFILE, "Too many open files"), BlockingIOError()]
        accept = socket.socket.accept

        def scarce(self: socket.socket) -> tuple[socket.socket, object]:
            if refusals:
                raise refusals.pop()
            return accept(self)

        monkeypatch.setattr(socket.socket, "accept", scarce)
        monkeypatch.setattr("gossiptrain.net.listener._RETRY_S", 0.01)
        listener = StreamListener(listening_unix_socket(tmp_path / "socket"), on_connection=taken.append)
        with dial(tmp_path / "socket"):
            await until(lambda: len(taken) == 1)
            taken[0].close()
        refusals.append(OSError(errno.EMFILE, "Too many open files"))
        monkeypatch.setattr("gossiptrain.net.listener._RETRY_S", 3600)
        with dial(tmp_path / "socket"):
            await until(lambda: not refusals)
            listener.close()  # while it waits

    asyncio.run(main())


def test_a_place_where_nothing_can_listen_is_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            listening_unix_socket(tmp_path / "no" / "socket")

    asyncio.run(main())
