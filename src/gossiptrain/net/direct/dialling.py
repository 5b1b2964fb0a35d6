"""Dialling direct connections to other nodes.

Owns the connection to one node and the proof that the right node lives there. Does not know who chooses the host; nodes
themselves have no say in it beyond where libp2p already is connected to them.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from gossiptrain.net.direct.acceptor import HANDSHAKE_S
from gossiptrain.net.direct.messages import NoDirectConnectionError, preamble
from gossiptrain.net.direct.sealed_wire import SealedWire, shake_hands
from gossiptrain.net.direct.tls import Credentials, Engine
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.wire import Wire

DIAL_S = 1.0
"""Longest wait for a connection; where there is none, the other side may dial instead."""


@dataclass(frozen=True)
class DialCredentials:
    """What a node must be shown, and what it must show itself."""

    token: bytes
    certificate: bytes


class DirectDialler:
    """Dials other nodes."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def dial(self, host: IpAddress, port: int, dial_credentials: DialCredentials) -> SealedWire:
        """A sealed connection to the node that the ticket is for. Raises NoDirectConnectionError with the reason."""
        try:
            return await self.enter(await _connect(host, port), dial_credentials)
        except OSError as error:
            raise NoDirectConnectionError(f"{host}: {str(error) or 'no answer in time'}") from error

    async def enter(self, wire: Wire, dial_credentials: DialCredentials) -> SealedWire:
        """Seals a connection, and owns it. Raises StreamClosedError, TimeoutError."""
        try:
            engine = Engine(self._credentials, expected=dial_credentials.certificate, server=False)
            async with asyncio.timeout(HANDSHAKE_S):
                await wire.send(preamble(dial_credentials.token))
                return await shake_hands(wire, engine)
        except BaseException:
            wire.end()
            raise


async def _connect(host: IpAddress, port: int) -> Wire:
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(DIAL_S):
            await asyncio.get_running_loop().sock_connect(connection, (str(host), port))
    except BaseException:
        connection.close()
        raise
    return Wire(connection)
