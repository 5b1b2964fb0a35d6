"""Dialling the lanes of other nodes.

Owns which of a node's addresses are tried and in what order, and the proof at each that the right node lives there.
Does not know how the addresses became known, nor what a lane is used for.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from gossiptrain.net.addresses import readable_addresses
from gossiptrain.net.lane_door import HANDSHAKE_S
from gossiptrain.net.lane_words import LaneOffer, NoLaneError
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.sealed_wire import SealedWire, shake_hands
from gossiptrain.net.tls import Credentials, Engine
from gossiptrain.net.transport import PeerId
from gossiptrain.net.wire import Wire

DIAL_S = 1.0
"""Longest wait for one address; a node has several, and some of them lead nowhere."""
STAGGER_S = 0.1
"""After so long without an answer the next address is tried as well."""

Place: TypeAlias = tuple[IpAddress, int]


@dataclass(frozen=True)
class Ticket:
    """What a node must be shown, and what it must show itself."""

    token: bytes
    certificate: bytes


class LaneDialler:
    """Dials other nodes, and remembers where each was reached."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._reached_at: dict[PeerId, IpAddress] = {}

    async def dial_offer(self, peer: PeerId, offer: LaneOffer) -> SealedWire:
        """Dials the places of `offer` until one of them leads to `peer`. Raises NoLaneError."""
        ticket = Ticket(bytes.fromhex(offer.token), bytes.fromhex(offer.certificate))
        return await self.dial(peer, self._ordered(peer, offer.places), ticket)

    async def dial(self, peer: PeerId, places: Sequence[Place], ticket: Ticket) -> SealedWire:
        """Dials `places`, in their order, until one of them leads to `peer`. Raises NoLaneError."""
        failures = []
        async with aclosing(_answers(places)) as answers:
            async for host, answer in answers:
                try:
                    if isinstance(answer, OSError):
                        raise answer
                    entered = await self._enter(answer, ticket)
                except OSError as error:
                    failures.append(f"{host}: {str(error) or 'no answer in time'}")
                    continue
                self._reached_at[peer] = host
                return entered
        self._reached_at.pop(peer, None)
        raise NoLaneError("; ".join(failures) or "the other side has no address for it")

    def _ordered(self, peer: PeerId, places: Sequence[str]) -> list[Place]:
        """Where to try, the likeliest first: where it worked before, then the nearest."""
        found = []
        for address in readable_addresses(places):
            ip = address.ip
            if ip is not None and address.transport == "tcp" and not (ip.is_unspecified or ip.is_multicast):
                found.append((ip, address.port))
        known = self._reached_at.get(peer)
        return sorted(found, key=lambda place: (place[0] != known, not place[0].is_loopback, place[0].is_global))

    async def _enter(self, wire: Wire, ticket: Ticket) -> SealedWire:
        try:
            engine = Engine(self._credentials, expected=ticket.certificate, server=False)
            async with asyncio.timeout(HANDSHAKE_S):
                await wire.send(ticket.token)
                return await shake_hands(wire, engine)
        except BaseException:
            wire.end()
            raise


async def _answers(places: Sequence[Place]) -> AsyncGenerator[tuple[IpAddress, Wire | OSError], None]:
    """Connections to `places` in the order in which they come about, or why there is none. The taker owns each."""
    waiting = deque(places)
    dialling: dict[asyncio.Task[Wire], IpAddress] = {}
    try:
        while waiting or dialling:
            if waiting:
                host, port = waiting.popleft()
                dialling[asyncio.create_task(_connect(host, port))] = host
            done, _ = await asyncio.wait(
                dialling, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, OSError):
                    raise error
                yield dialling.pop(task), error or task.result()
    finally:
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        for task in dialling:
            if not task.cancelled() and task.exception() is None:
                task.result().end()


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
