"""One connection between two computers that each stand behind a router, which lets in nothing but answers.

Owns a port at which this side listens and from which it calls at the same time. Where both sides do so, each router has
seen its own computer call before the call of the other one arrives, takes that for an answer, and lets it in (Ford,
Srisuresh and Kegel, Peer-to-Peer Communication Across Network Address Translators, 2005). It takes a router that shows
to others the port that a program uses, on one side at least. Does not know what tells the sides where they are, nor who
the other one is: the callers check that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from gossiptrain.net.listener import IpAddress

PUNCH_S = 3.0
"""Within it the system calls three times, after 0, 1 and 3 s: the first call may come before the other side's."""
RETRY_S = 0.1
"""After a call that was refused: a router may say so instead of staying silent."""


class Hole:
    """The port. Use it as a context manager; what `opened` has returned outlives it."""

    def __init__(self, version: int) -> None:
        """version: of IP. Raises OSError."""
        self._family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._listening = self._bound(0)
        self.port: int = self._listening.getsockname()[1]
        self._listening.listen(8)

    def __enter__(self) -> Hole:
        return self

    def __exit__(self, *failure: object) -> None:
        self._listening.close()

    async def opened(self, host: IpAddress, port: int) -> socket.socket:
        """The first connection with that host, whichever side's call it was. Raises TimeoutError after `PUNCH_S`.

        Where `port` is wrong, since the other side's router shows another one, the call only opens the own router.
        """
        tries = {asyncio.create_task(self._accepted(host)), asyncio.create_task(self._connected(host, port))}
        try:
            async with asyncio.timeout(PUNCH_S):
                done, _ = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for attempt in tries:
                attempt.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    async def _accepted(self, host: IpAddress) -> socket.socket:
        while True:
            connection, place = await asyncio.get_running_loop().sock_accept(self._listening)
            if place[0] == str(host):
                return connection
            connection.close()

    async def _connected(self, host: IpAddress, port: int) -> socket.socket:
        while True:
            connection = self._bound(self.port)
            try:
                await asyncio.get_running_loop().sock_connect(connection, (str(host), port))
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError):
                    raise
            else:
                return connection
            await asyncio.sleep(RETRY_S)

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with contextlib.suppress(OSError):
                bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bound.bind(("", port))
        except BaseException:
            bound.close()
            raise
        return bound
