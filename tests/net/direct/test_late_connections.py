"""A connection through two routers may take longer than a stream can wait: the next stream takes it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

import pytest

from gossiptrain.net.direct import connections as direct_connections
from gossiptrain.net.direct.dialling import DialCredentials
from gossiptrain.net.direct.messages import DirectOffer
from gossiptrain.net.direct.negotiation import Sight
from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import Stream
from tests.net.direct.test_connections import BULK, Answering, echo, kept_by, run_with_two
from tests.net.direct.test_negotiation import nowhere
from tests.transports import until

HERE = ipaddress.ip_address("127.0.0.1")


class Routers:
    """What stands between two peers: once they are open, a connection comes through."""

    def __init__(self, alice: Libp2pTransport) -> None:
        self.are_open = asyncio.Event()
        self.attempts = 0
        negotiation = alice._direct._negotiation
        self._dialler = negotiation._dialler
        sight = Sight(lambda stream: None, nowhere)
        alice._direct._sight = negotiation._sight = sight
        negotiation._punch = self._punch  # type: ignore[method-assign]

    async def _punch(self, offer: DirectOffer, stream: Stream) -> SealedWire:
        self.attempts += 1
        await self.are_open.wait()
        credentials = DialCredentials(bytes.fromhex(offer.token), bytes.fromhex(offer.certificate))
        return await self._dialler.dial(HERE, offer.port_ip4, credentials)


def run_behind_routers(scenario: Callable[[Libp2pTransport, Libp2pTransport, Routers], Awaitable[None]]) -> None:
    async def with_two(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await scenario(alice, bob, Routers(alice))

    run_with_two(with_two)


@pytest.fixture(autouse=True)
def nobody_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_connections, "PATIENCE_S", 0.1)


def test_the_first_stream_does_without_and_the_next_one_takes_it() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport, routers: Routers) -> None:
        for _ in range(3):
            assert await echo(alice, bob) == "libp2p"
            alice._path_choice._avoided.clear()
        assert routers.attempts == 1, "while one attempt goes on no other is begun"
        routers.are_open.set()
        await until(lambda: bool(kept_by(alice)))
        assert await echo(alice, bob) == "direct"

    run_behind_routers(scenario)


def test_it_is_made_though_whoever_wanted_it_has_given_up() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport, routers: Routers) -> None:
        asking = asyncio.create_task(echo(alice, bob))
        await until(lambda: routers.attempts == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        routers.are_open.set()
        await until(lambda: bool(kept_by(alice)))
        assert await echo(alice, bob) == "direct"

    run_behind_routers(scenario)


def test_one_that_fails_late_is_tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossiptrain.net.direct.negotiation.REACH_S", 0.3)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport, routers: Routers) -> None:
        assert await echo(alice, bob) == "libp2p"
        await until(lambda: not alice._direct._attempts)
        assert not kept_by(alice)
        alice._path_choice._avoided.clear()
        routers.are_open.set()
        assert await echo(alice, bob) == "direct"
        assert routers.attempts == 2

    run_behind_routers(scenario)


def test_closing_ends_an_attempt_that_goes_on() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport, routers: Routers) -> None:
        assert await echo(alice, bob) == "libp2p"
        [attempt] = alice._direct._attempts.values()
        await alice.close()
        assert attempt.cancelled()
        assert not kept_by(alice)

    run_behind_routers(scenario)
