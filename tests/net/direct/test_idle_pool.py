"""Which connections are kept between two streams, for how long, and which one is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from gossiptrain.net.direct import idle_pool
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.idle_pool import GRACE_S, IDLE_S, MAX_ALIKE, IdlePool
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.time import run_virtual

ALICE, BOB = PeerId("alice"), PeerId("bob")


@dataclass(eq=False)
class FakeConnection:
    """As much of a connection as is looked at here."""

    peer: PeerId = BOB
    opens: bool = True
    is_free: bool = True
    key_limit_reached: bool = False
    is_idle: bool = False
    ended: bool = False
    on_broken: list[Callable[[], None]] = field(default_factory=list)

    def set_idle(self, on_broken: Callable[[], None] | None) -> None:
        self.is_idle = True
        assert (on_broken is not None) is self.opens
        if on_broken is not None:
            self.on_broken.append(on_broken)

    def set_active(self) -> None:
        self.is_idle = False

    def end(self) -> None:
        self.ended = True


class Kept:
    """A pool of idle connections, of the fake kind."""

    def __init__(self) -> None:
        self.connections = IdlePool()

    def keep(self, connection: FakeConnection) -> FakeConnection:
        self.connections.keep(cast(DirectConnection, connection))
        return connection

    def release(self, connection: FakeConnection) -> None:
        self.connections.release(cast(DirectConnection, connection))

    def take(self, peer: PeerId = BOB) -> FakeConnection | None:
        return cast("FakeConnection | None", self.connections.take(peer))


def run(scenario: Callable[[Kept], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Kept())

    run_virtual(main())


def test_a_connection_is_taken_once_and_by_its_peer() -> None:
    async def scenario(kept: Kept) -> None:
        connection = kept.keep(FakeConnection())
        assert connection.is_idle
        assert kept.take(ALICE) is None
        assert kept.take() is connection
        assert not connection.is_idle
        assert kept.take() is None
        await asyncio.sleep(2 * IDLE_S)
        assert not connection.ended, "it is the taker's now"

    run(scenario)


def test_the_connection_that_was_used_last_is_taken_first() -> None:
    async def scenario(kept: Kept) -> None:
        first, second = kept.keep(FakeConnection()), kept.keep(FakeConnection())
        assert [kept.take(), kept.take()] == [second, first]

    run(scenario)


def test_a_connection_whose_last_stream_is_not_over_is_passed_by() -> None:
    async def scenario(kept: Kept) -> None:
        connection = kept.keep(FakeConnection(is_free=False))
        assert kept.take() is None
        connection.is_free = True
        assert kept.take() is connection

    run(scenario)


def test_a_connection_on_which_the_other_side_opens_is_not_taken() -> None:
    async def scenario(kept: Kept) -> None:
        kept.keep(FakeConnection(opens=False))
        assert kept.take() is None

    run(scenario)


@pytest.mark.parametrize(("opens", "idle_s"), [(True, IDLE_S), (False, IDLE_S + GRACE_S)])
def test_nothing_is_idle_for_ever_and_the_side_that_opens_gives_up_first(opens: bool, idle_s: float) -> None:
    async def scenario(kept: Kept) -> None:
        connection = kept.keep(FakeConnection(opens=opens))
        await asyncio.sleep(idle_s - 1)
        assert not connection.ended
        await asyncio.sleep(2)
        assert connection.ended
        assert len(kept.connections) == 0

    run(scenario)


def test_each_idle_time_begins_anew() -> None:
    async def scenario(kept: Kept) -> None:
        connection = kept.keep(FakeConnection())
        for _ in range(5):
            await asyncio.sleep(IDLE_S - 1)
            assert kept.take() is connection
            kept.keep(connection)
        assert not connection.ended

    run(scenario)


def test_a_broken_connection_is_ended_and_not_taken() -> None:
    async def scenario(kept: Kept) -> None:
        connection = kept.keep(FakeConnection())
        connection.on_broken[-1]()
        assert connection.ended
        assert kept.take() is None

    run(scenario)


def test_of_too_many_connections_for_one_purpose_the_oldest_are_ended() -> None:
    async def scenario(kept: Kept) -> None:
        others = [kept.keep(FakeConnection(peer=ALICE)), kept.keep(FakeConnection(opens=False))]
        connections = [kept.keep(FakeConnection()) for _ in range(MAX_ALIKE + 2)]
        assert [connection.ended for connection in connections] == [True] * 2 + [False] * MAX_ALIKE
        assert not any(connection.ended for connection in others)

    run(scenario)


@pytest.mark.parametrize("opens", [True, False])
def test_of_too_many_connections_one_way_the_oldest_are_ended(monkeypatch: pytest.MonkeyPatch, opens: bool) -> None:
    monkeypatch.setattr(idle_pool, "MAX_IDLE", 3)

    async def scenario(kept: Kept) -> None:
        other_way = kept.keep(FakeConnection(opens=not opens))
        connections = [kept.keep(FakeConnection(peer=PeerId(f"peer {number}"), opens=opens)) for number in range(5)]
        assert [connection.ended for connection in connections] == [True, True, False, False, False]
        assert not other_way.ended

    run(scenario)


def test_a_connection_whose_key_limit_is_reached_is_not_kept() -> None:
    async def scenario(kept: Kept) -> None:
        connection = kept.keep(FakeConnection(key_limit_reached=True))
        assert connection.ended
        assert len(kept.connections) == 0

    run(scenario)


def test_all_connections_to_one_peer_can_be_ended_and_the_others_stay() -> None:
    async def scenario(kept: Kept) -> None:
        to_bob = [kept.keep(FakeConnection()), kept.keep(FakeConnection(is_free=False))]
        others = [kept.keep(FakeConnection(peer=ALICE)), kept.keep(FakeConnection(opens=False))]
        kept.connections.end_all(BOB)
        assert all(connection.ended for connection in to_bob)
        assert not any(connection.ended for connection in others)

    run(scenario)


def test_after_closing_nothing_is_kept() -> None:
    async def scenario(kept: Kept) -> None:
        early = [kept.keep(FakeConnection()), kept.keep(FakeConnection(opens=False))]
        kept.connections.close()
        kept.connections.close()
        late = kept.keep(FakeConnection())
        assert all(connection.ended for connection in (*early, late))

    run(scenario)


def test_what_is_not_there_can_be_released() -> None:
    async def scenario(kept: Kept) -> None:
        connection = FakeConnection()
        kept.release(connection)
        assert not connection.ended

    run(scenario)
