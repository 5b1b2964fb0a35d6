"""Two ends of one connection over a pair of sockets, after a real handshake and without any libp2p."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from gossiptrain.net.direct.sealed_wire import SealedWire, shake_hands
from gossiptrain.net.direct.tls import Credentials, Engine
from gossiptrain.net.wire import Wire

LIMIT_S = 20.0
Scenario = Callable[[SealedWire, SealedWire], Awaitable[None]]


@functools.cache
def credentials(name: str) -> Credentials:
    """One certificate by name for all tests: a key takes a millisecond."""
    return Credentials.create()


async def sealed_pair() -> tuple[SealedWire, SealedWire]:
    """Who has dialled, and who has answered."""
    left, right = socket.socketpair()
    alice, bob = credentials("alice"), credentials("bob")
    return await asyncio.gather(
        shake_hands(Wire(left), Engine(alice, expected=bob.certificate, server=False)),
        shake_hands(Wire(right), Engine(bob, expected=alice.certificate, server=True)),
    )


def run_with_pair(scenario: Scenario) -> None:
    """Runs it with the two ends of a connection, in the event loop of the nodes; fails where anything is left
    behind."""

    async def main() -> None:
        unseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        left, right = await sealed_pair()
        try:
            async with asyncio.timeout(LIMIT_S):
                await scenario(left, right)
        finally:
            left.end()
            right.end()
        await settle()
        assert not unseen
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def settle() -> None:
    """Lets everybody go as far as they can without new bytes."""
    for _ in range(10):
        await asyncio.sleep(0)
