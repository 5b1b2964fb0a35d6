"""Where this node accepts direct connections that others dial.

Owns the listening sockets, the tokens that are awaited there, each good for one connection and a short while, and the
check of whoever comes. Does not know what the tokens are given out for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossiptrain.net.direct.messages import PREAMBLE_BYTES, token_in
from gossiptrain.net.direct.sealed_wire import SealedWire, shake_hands
from gossiptrain.net.direct.tls import Credentials, Engine
from gossiptrain.net.handlers import HandlerTasks
from gossiptrain.net.listener import IpAddress, StreamListener, listening_tcp_socket
from gossiptrain.net.transport import Clock, StreamClosedError
from gossiptrain.net.wire import Wire

TOKEN_S = 10.0
"""A token that is not taken up for so long is void."""
HANDSHAKE_S = 3.0
MAX_EXPECTED = 1024
MAX_ARRIVING = 64
"""Connections that have not shown a token yet, at most."""


@dataclass(frozen=True)
class ExpectedPeer:
    """Who is expected with a token: its certificate, and what takes its connection."""

    certificate: bytes
    on_accept: Callable[[SealedWire], None]


@dataclass
class _Arrival:
    wire: Wire
    is_accepted: bool = False


class Acceptor:
    """Accepts the connections that are expected."""

    def __init__(self, credentials: Credentials, tasks: HandlerTasks, clock: Clock) -> None:
        self._credentials = credentials
        self._tasks = tasks
        self._clock = clock
        self._listeners: list[StreamListener] = []
        self._expected: dict[str, tuple[ExpectedPeer, float]] = {}
        """By token, with the time at which it becomes void; the oldest first."""
        self._arriving = 0
        self.ports: dict[int, int] = {}
        """Where it listens, by version of IP; empty where it does not."""

    def listen(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Opens the sockets; port 0: any free one. Raises OSError."""
        for host in dict.fromkeys(hosts):
            listening = listening_tcp_socket(host, self.ports.get(host.version, port))
            self.ports[host.version] = listening.getsockname()[1]
            self._listeners.append(StreamListener(listening, on_connection=self.admit))

    def port(self, version: int) -> int:
        """Where others are told to dial, by version of IP; 0: not at all."""
        return self.ports.get(version, 0)

    def expect(self, token: str, expected: ExpectedPeer) -> None:
        """Accepts one connection whose other side shows `token` and has the certificate."""
        self._drop_void_tokens()
        self._expected[token] = (expected, self._clock.now() + TOKEN_S)

    def forget(self, token: str) -> None:
        """From now on the token is void."""
        self._expected.pop(token, None)

    def close(self) -> None:
        """Takes no more connections. May be called twice."""
        for listener in self._listeners:
            listener.close()

    def _drop_void_tokens(self) -> None:
        now_s = self._clock.now()
        void = [token for token, (_, until_s) in self._expected.items() if until_s < now_s]
        for token in (*void, *list(self._expected)[: -MAX_EXPECTED + 1]):
            self.forget(token)

    def admit(self, connection: socket.socket) -> None:
        """Takes a connection, however it was made, if it turns out to be one that is expected. Owns it from now on."""
        if self._arriving >= MAX_ARRIVING:
            connection.close()
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arriving += 1
        arrival = _Arrival(Wire(connection))
        self._tasks.start(self._admit(arrival), name="arrival of a connection", release=lambda: self._leave(arrival))

    def _leave(self, arrival: _Arrival) -> None:
        self._arriving -= 1
        if not arrival.is_accepted:
            arrival.wire.end()

    async def _admit(self, arrival: _Arrival) -> None:
        """Nobody gets further without a token that is awaited and the certificate that was announced with it."""
        with contextlib.suppress(TimeoutError, StreamClosedError):
            async with asyncio.timeout(HANDSHAKE_S):
                token = token_in(await arrival.wire.receive_exactly(PREAMBLE_BYTES))
                self._drop_void_tokens()
                expected, _ = self._expected.pop(token or "", (None, 0.0))
                if expected is None:
                    return
                engine = Engine(self._credentials, expected=expected.certificate, server=True)
                sealed = await shake_hands(arrival.wire, engine)
            arrival.is_accepted = True
            expected.on_accept(sealed)
