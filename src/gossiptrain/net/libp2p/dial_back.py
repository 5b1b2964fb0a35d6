"""Whether others can dial this peer: asked of peers that it has dialled itself.

Owns the question, the answer, and what several answers mean together. Whoever is asked dials nobody but the address
from which the asker is seen to call, at ports that it names, and says no more than whether a libp2p peer answers there:
so nobody can have a third party dialled, or another service looked for. Does not know what follows from the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gossiptrain.core.recent import Recent
from gossiptrain.net.addresses import readable_addresses
from gossiptrain.net.framing import Message, ProtocolViolationError, call, receive_message, send_message
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import PeerId, Stream, Transport

DIAL_BACK = "/gossiptrain/reachable"
MAX_PORTS = 4
MAX_DIALS = 8
"""Questions that are answered at once."""
MAX_PEERS = 1024
"""Of so many it is remembered when they asked."""
ASK_EVERY_S = 5.0
"""A peer that asks sooner again is told nothing."""
DIAL_S = 2.0
"""Whoever has not answered by then is taken for unreachable: a router drops calls without a word."""
ANSWER_S = 2 * DIAL_S
QUESTION_S = 10.0
"""Longest wait for the whole question, once a stream is there for it."""
GREETING = b"\x13/multistream/1.0.0\n"
"""What every libp2p peer says first, https://github.com/multiformats/multistream-select."""

Verdict = Literal["unknown", "open", "near", "translated", "closed"]
"""`open`: others can dial this peer at a public address that it tells. `near`: from its own network, and nobody knows
of others. `translated`: a router has let the caller in, which is no promise for those that were never called. `closed`:
nobody is let in."""


class DialMe(Message):
    """The question: does the sender answer, at the address from which it is seen to call, at any of these ports?"""

    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(min_length=1, max_length=MAX_PORTS)]


class Dialled(Message):
    """The answer. host: where the asker was seen, empty where that cannot be told. port: at which it answers, or 0."""

    host: Annotated[str, StringConstraints(max_length=45, pattern=r"^[0-9a-f.:]*$")]
    port: Annotated[int, Field(ge=0, le=65535)]


@dataclass(frozen=True)
class Seen:
    """One answer. is_own: whether the place is one of the addresses that the asker tells others."""

    host: IpAddress
    port: int
    is_own: bool


class DialBack:
    """Asks, and answers."""

    def __init__(self, transport: Transport, host_of: Callable[[Stream], IpAddress | None]) -> None:
        """host_of: where the other end of a stream is; None where that is not known, or a relay stands between."""
        self._transport = transport
        self._host_of = host_of
        self._asked_s: Recent[PeerId, float] = Recent(MAX_PEERS)
        self._dials = asyncio.Semaphore(MAX_DIALS)

    async def serve(self) -> None:
        """From now on answers everybody who is connected."""
        await self._transport.serve(DIAL_BACK, self._answer)

    async def verdict(self, peers: Iterable[PeerId]) -> Verdict:
        """What connected peers find, all asked at once. `unknown` where none can tell."""
        answers = await asyncio.gather(*(self.ask(peer) for peer in peers))
        return judged([seen for seen in answers if seen is not None])

    async def ask(self, peer: PeerId) -> Seen | None:
        """What one peer finds; None where it cannot tell."""
        places = {
            (address.host, address.port)
            for address in readable_addresses(self._transport.addresses)
            if address.transport == "tcp" and not address.relayed
        }
        ports = tuple(sorted({port for _, port in places}))[:MAX_PORTS]
        if not ports:
            return None
        try:
            async with self._transport.clock.timeout(ANSWER_S):
                dialled = await call(
                    self._transport, peer, protocol=DIAL_BACK, request=DialMe(ports=ports), reply_kind=Dialled
                )
            host = ipaddress.ip_address(dialled.host)
        except (ConnectionError, TimeoutError, ProtocolViolationError, ValueError):
            return None
        # By name it may be known, too, which only the user can tell.
        is_own = (dialled.host, dialled.port) in places or _announced_by_name(self._transport.addresses, dialled.port)
        return Seen(host, dialled.port if dialled.port in ports else 0, is_own=is_own)

    async def _answer(self, stream: Stream) -> None:
        async with self._transport.clock.timeout(QUESTION_S):
            asked = await receive_message(stream, DialMe)
        host, now_s = self._host_of(stream), self._transport.clock.now()
        too_soon = now_s - self._asked_s.get(stream.remote, -ASK_EVERY_S) < ASK_EVERY_S
        self._asked_s[stream.remote] = now_s
        if host is None or too_soon:
            await send_message(stream, Dialled(host="", port=0))
            return
        async with self._dials:
            port = await _answering(host, asked.ports)
        await send_message(stream, Dialled(host=str(host), port=port))


def judged(answers: Sequence[Seen]) -> Verdict:
    """What answers mean together. Those who see a public address know more than those of the own network."""
    public = [seen for seen in answers if seen.host.is_global]
    if any(seen.port and seen.is_own for seen in public):
        return "open"
    if any(not seen.port for seen in public):
        return "closed"
    if public:
        return "translated"
    return "near" if any(seen.port for seen in answers) else "unknown"


def _announced_by_name(addresses: Iterable[str], port: int) -> bool:
    return any(address.ip is None and address.port == port for address in readable_addresses(addresses))


async def _answering(host: IpAddress, ports: Collection[int]) -> int:
    """The first of the ports at which a libp2p peer answers; 0 where none does in time."""
    tries = [asyncio.create_task(_greets(host, port)) for port in dict.fromkeys(ports)]
    try:
        async with asyncio.timeout(DIAL_S):
            for port, attempt in zip(dict.fromkeys(ports), tries, strict=True):
                if await attempt:
                    return port
    except TimeoutError:
        pass
    finally:
        for attempt in tries:
            attempt.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    return 0


async def _greets(host: IpAddress, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(str(host), port)
    except OSError:
        return False
    try:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            return await reader.readexactly(len(GREETING)) == GREETING
        return False
    finally:
        writer.transport.abort()
