"""That a helper carries what it should, although libp2p's daemon does not in one start of four."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.node import helper

HERE = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",))


def test_a_helper_that_carries_little_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Libp2pTransport] = []

    async def carries_much_the_second_time(relay: Libp2pTransport) -> bool:
        seen.append(relay)
        return len(seen) == 2

    monkeypatch.setattr(helper, "_carries_much", carries_much_the_second_time)

    async def main() -> None:
        transport = await helper._started(HERE, Identity.generate())
        try:
            assert seen[0].daemon_exited.is_set()
            assert seen[1] is transport
            assert not transport.daemon_exited.is_set()
        finally:
            await transport.close()

    asyncio.run(main())


def test_what_a_relay_carries_is_asked_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        transport = await Libp2pTransport.start(HERE, Identity.generate(), helper=True)
        try:
            monkeypatch.setattr(helper, "MUCH_BYTES", 1)
            assert await helper._carries_much(transport)
            monkeypatch.setattr(helper, "MUCH_BYTES", 1 << 62)
            assert not await helper._carries_much(transport)
        finally:
            await transport.close()

    asyncio.run(main())
