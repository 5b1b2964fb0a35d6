"""Which way a bulk stream takes, and for how long a peer without a connection is not asked for one again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from gossiptrain.config import DirectMode
from gossiptrain.net.direct.connections import DIRECT_WORTH_BYTES, DirectConnections
from gossiptrain.net.direct.messages import NoDirectConnectionError
from gossiptrain.net.direct.path_choice import AVOID_S, LONGEST_AVOIDED_S, PathChoice
from gossiptrain.net.transport import Clock, PeerId, Stream, UnreachableError
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.time import run_virtual

BULK = "/test/bulk"
BOB, CAROL = PeerId("bob"), PeerId("carol")


class Ways:
    """Both ways to all peers, neither of which leads anywhere, and the choice between them."""

    def __init__(self, alike: Callable[[PeerId], Awaitable[Stream]], mode: DirectMode) -> None:
        self._alike = alike
        self.dialling_fails: Exception | None = None
        self.keeps_connections = False
        self.asked_for_connections: list[PeerId] = []
        self.prepared: list[PeerId] = []
        self.choice = PathChoice(cast(DirectConnections, self), mode, Clock())

    async def open_kept(self, peer: PeerId, protocol: str) -> Stream | None:
        """In the place of the connections: over one that is there."""
        return await self._opened(peer, "direct") if self.keeps_connections else None

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """In the place of the connections: over a new one."""
        assert protocol == BULK
        self.asked_for_connections.append(peer)
        if self.dialling_fails is not None:
            raise self.dialling_fails
        return await self._opened(peer, "direct")

    async def prepare(self, peer: PeerId) -> None:
        """In the place of the connections: beforehand."""
        self.prepared.append(peer)
        if self.dialling_fails is not None:
            raise self.dialling_fails

    async def kind_to(self, peer: PeerId = BOB, *, bulk_bytes: int = DIRECT_WORTH_BYTES) -> str:
        """The way that is chosen."""

        def over_libp2p() -> Awaitable[Stream]:
            return self._opened(peer, "libp2p")

        return (await self.choice.open(peer, BULK, bulk_bytes=bulk_bytes, over_libp2p=over_libp2p)).kind

    async def _opened(self, peer: PeerId, kind: str) -> Stream:
        stream = await self._alike(peer)
        stream.kind = kind
        return stream


def run_with(mode: DirectMode, scenario: Callable[[Ways], Awaitable[None]]) -> None:
    async def main() -> None:
        network = VirtualNetwork()
        alice = network.transport("alice")
        others = [network.transport(name) for name in (BOB, CAROL)]

        async def nothing(stream: Stream) -> None:
            await stream.wait_for_end()

        for other in others:
            await other.serve(BULK, nothing)
            await alice.connect(other.addresses[0])
        try:
            await scenario(Ways(lambda peer: alice.open_stream(peer, BULK), mode))
        finally:
            for transport in (alice, *others):
                await transport.close()

    run_virtual(main())


@pytest.mark.parametrize("mode", ["auto", "direct"])
def test_a_connection_is_taken_where_there_is_one(mode: DirectMode) -> None:
    async def scenario(ways: Ways) -> None:
        assert [await ways.kind_to() for _ in range(2)] == ["direct"] * 2
        assert ways.choice.last_used == {BOB: "direct"}

    run_with(mode, scenario)


def test_a_node_that_wants_no_connections_asks_for_none() -> None:
    async def scenario(ways: Ways) -> None:
        assert await ways.kind_to() == "libp2p"
        assert ways.asked_for_connections == []
        assert ways.choice.last_used == {BOB: "libp2p"}

    run_with("libp2p", scenario)


def test_after_a_failure_one_peer_is_not_asked_for_a_while_and_others_are() -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = NoDirectConnectionError("a firewall")
        assert [await ways.kind_to() for _ in range(3)] == ["libp2p"] * 3
        assert ways.asked_for_connections == [BOB]
        ways.dialling_fails = None
        assert await ways.kind_to(CAROL) == "direct"
        await asyncio.sleep(AVOID_S - 1.0)
        assert await ways.kind_to() == "libp2p"
        await asyncio.sleep(2.0)
        assert await ways.kind_to() == "direct"
        assert ways.choice.last_used == {BOB: "direct", CAROL: "direct"}

    run_with("auto", scenario)


def test_a_failure_that_goes_on_costs_fewer_and_fewer_attempts() -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = NoDirectConnectionError("a firewall")

        async def attempts_in(seconds: float) -> int:
            before = len(ways.asked_for_connections)
            for _ in range(200):
                assert await ways.kind_to() == "libp2p"
                await asyncio.sleep(seconds / 200)
            return len(ways.asked_for_connections) - before

        assert await attempts_in(7 * AVOID_S) == 3, "at once, after 1 and after 2 more pauses"
        await attempts_in(20 * LONGEST_AVOIDED_S)
        assert await attempts_in(10 * LONGEST_AVOIDED_S) in (9, 10, 11)
        ways.dialling_fails = None
        await asyncio.sleep(LONGEST_AVOIDED_S)
        assert await ways.kind_to() == "direct"
        ways.dialling_fails = NoDirectConnectionError("a firewall again")
        assert await attempts_in(7 * AVOID_S) == 3, "what was overcome is forgotten"

    run_with("auto", scenario)


def test_who_wants_nothing_but_direct_connections_is_told_why_there_is_none_and_tries_each_time() -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = NoDirectConnectionError("a firewall")
        for _ in range(2):
            with pytest.raises(UnreachableError, match="no connection to bob: a firewall"):
                await ways.kind_to()
        assert ways.asked_for_connections == [BOB, BOB]
        assert ways.choice.last_used == {}

    run_with("direct", scenario)


@pytest.mark.parametrize("mode", ["auto", "direct"])
def test_a_peer_that_is_not_there_is_not_taken_for_one_without_direct_connections(mode: DirectMode) -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = UnreachableError("gone")
        with pytest.raises(UnreachableError, match="gone"):
            await ways.kind_to()
        ways.dialling_fails = None
        assert await ways.kind_to() == "direct"

    run_with(mode, scenario)


def test_for_a_few_bytes_no_connection_is_dialled_and_one_that_is_there_is_taken() -> None:
    async def scenario(ways: Ways) -> None:
        assert await ways.kind_to(bulk_bytes=DIRECT_WORTH_BYTES - 1) == "libp2p"
        assert ways.choice.last_used == {}, "it says nothing about connections to this peer"
        ways.keeps_connections = True
        assert await ways.kind_to(bulk_bytes=1) == "direct"
        assert ways.asked_for_connections == []

    run_with("auto", scenario)


def test_a_connection_that_is_there_is_taken_though_none_could_be_had_a_moment_ago() -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = NoDirectConnectionError("a firewall")
        assert await ways.kind_to() == "libp2p"
        ways.keeps_connections = True
        assert await ways.kind_to() == "direct"

    run_with("auto", scenario)


def test_a_node_that_wants_no_direct_connections_takes_none_that_is_there() -> None:
    async def scenario(ways: Ways) -> None:
        ways.keeps_connections = True
        assert await ways.kind_to() == "libp2p"

    run_with("libp2p", scenario)


# Before a stream is needed.


def test_a_way_is_prepared_where_bulk_would_go_over_a_connection() -> None:
    async def scenario(ways: Ways) -> None:
        await ways.choice.prepare(BOB, bulk_bytes=DIRECT_WORTH_BYTES - 1)
        assert ways.prepared == []
        await ways.choice.prepare(BOB, bulk_bytes=DIRECT_WORTH_BYTES)
        assert ways.prepared == [BOB]

    run_with("auto", scenario)


def test_nothing_is_prepared_where_no_connections_are_wanted() -> None:
    async def scenario(ways: Ways) -> None:
        await ways.choice.prepare(BOB, bulk_bytes=DIRECT_WORTH_BYTES)
        assert ways.prepared == []

    run_with("libp2p", scenario)


def test_that_no_way_could_be_prepared_costs_one_attempt_in_a_while_and_a_stream_tries_by_itself() -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = NoDirectConnectionError("a firewall")
        for _ in range(2):
            await ways.choice.prepare(BOB, bulk_bytes=DIRECT_WORTH_BYTES)
        assert ways.prepared == [BOB]
        ways.dialling_fails = None
        assert await ways.kind_to() == "direct"
        await asyncio.sleep(AVOID_S + 1.0)
        await ways.choice.prepare(BOB, bulk_bytes=DIRECT_WORTH_BYTES)
        assert ways.prepared == [BOB, BOB]

    run_with("auto", scenario)


def test_where_a_stream_found_no_way_none_is_prepared_for_a_while() -> None:
    async def scenario(ways: Ways) -> None:
        ways.dialling_fails = NoDirectConnectionError("a firewall")
        assert await ways.kind_to() == "libp2p"
        await ways.choice.prepare(BOB, bulk_bytes=DIRECT_WORTH_BYTES)
        assert ways.prepared == []

    run_with("auto", scenario)
