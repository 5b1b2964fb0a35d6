"""Strangers may connect, as many as a peer bears; a flood of them costs those it consists of, and nobody else."""

from __future__ import annotations

import asyncio
import os

import pytest
from benchmarks.floods.dialect import MULTISTREAM, HostileConnection, line

from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.libp2p import strangers as room
from gossiptrain.net.libp2p.hivemind_names import PeerID, p2pd_pb2
from gossiptrain.net.libp2p.strangers import MAX_GROWTH_BYTES, PATIENCE_S, Strangers, resident_bytes
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import Clock, PeerId, Stream
from tests.transports import MakeTransport, run_on, until


class Guests:
    """Connections of others to one peer, and whether they are still there."""

    def __init__(self, host: Libp2pTransport) -> None:
        self._host = host
        address = parse_dial_address(host.addresses[0])
        self._place = address.host, address.port
        self._listening: dict[HostileConnection, asyncio.Task[None]] = {}

    async def come(self) -> HostileConnection:
        connection = await HostileConnection.open(*self._place)
        self._listening[connection] = asyncio.create_task(connection.listen())
        # The daemon lists a connection a moment after the handshake has ended on this side.
        while connection.peer not in await self._listed():  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.01)
        return connection

    async def _listed(self) -> set[str]:
        response = await self._host._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.LIST_PEERS))
        return {PeerID(info.id).to_base58() for info in response.peers}

    def stays(self, connection: HostileConnection) -> bool:
        return not self._listening[connection].done()

    async def leave(self) -> None:
        for connection in self._listening:
            connection.close()
        await asyncio.gather(*self._listening.values())


class StandingClock(Clock):
    """Its time passes only where the test lets it."""

    now_s = 0.0

    def now(self) -> float:
        return self.now_s


async def host_of(make: MakeTransport) -> Libp2pTransport:
    host = await make("host")
    assert isinstance(host, Libp2pTransport)
    return host


def test_where_strangers_are_too_many_those_who_had_time_to_say_who_they_are_are_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "MAX_STRANGERS", 2)

    async def scenario(make: MakeTransport) -> None:
        host = await host_of(make)
        guests, members = Guests(host), set[PeerId]()
        clock = StandingClock()
        looks = Strangers(host._control, clock, is_known=members.__contains__, memory_bytes=lambda: 0)
        member, first, second = [await guests.come() for _ in range(3)]
        members.add(member.peer)
        for clock.now_s in (0.0, PATIENCE_S):
            assert await looks.look() == frozenset(), "two strangers are borne"
        third = await guests.come()
        assert await looks.look() == {first.peer, second.peer}, "who has just come may be about to shake hands"
        await until(lambda: not guests.stays(first) and not guests.stays(second))
        assert guests.stays(member)
        assert guests.stays(third)
        assert await looks.look() == frozenset()
        await guests.leave()

    run_on("libp2p", scenario)


def test_where_they_come_faster_than_their_time_is_over_those_who_came_first_are_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "MAX_STRANGERS", 3)

    async def scenario(make: MakeTransport) -> None:
        host = await host_of(make)
        guests, clock = Guests(host), StandingClock()
        looks = Strangers(host._control, clock, is_known=lambda peer: False, memory_bytes=lambda: 0)
        early = [await guests.come() for _ in range(4)]
        assert await looks.look() == frozenset(), "nobody is cut off who has just come"
        late = [await guests.come() for _ in range(3)]
        clock.now_s = PATIENCE_S / 2
        assert await looks.look() == {guest.peer for guest in early}
        await until(lambda: not any(guests.stays(guest) for guest in early))
        clock.now_s = PATIENCE_S
        assert await looks.look() == frozenset(), "as many as are borne have the usual time"
        assert all(guests.stays(guest) for guest in late)
        await guests.leave()

    run_on("libp2p", scenario)


def test_few_strangers_who_take_much_memory_are_too_many() -> None:
    async def scenario(make: MakeTransport) -> None:
        host = await host_of(make)
        guests, clock, taken = Guests(host), StandingClock(), [100 << 20]
        looks = Strangers(host._control, clock, is_known=lambda peer: False, memory_bytes=lambda: taken[-1])
        taken.append(200 << 20)
        assert await looks.look() == frozenset(), "with nobody there it is no stranger's"
        stranger = await guests.come()
        await looks.look()
        clock.now_s = PATIENCE_S
        taken.append((200 << 20) + MAX_GROWTH_BYTES)
        assert await looks.look() == frozenset()
        taken.append((201 << 20) + MAX_GROWTH_BYTES)
        assert await looks.look() == {stranger.peer}
        await until(lambda: not guests.stays(stranger))
        await guests.leave()

    run_on("libp2p", scenario)


def test_what_the_daemon_takes_for_long_is_no_strangers_fault() -> None:
    async def scenario(make: MakeTransport) -> None:
        host = await host_of(make)
        guests, taken = Guests(host), [100 << 20]
        clock = StandingClock()
        looks = Strangers(host._control, clock, is_known=lambda peer: False, memory_bytes=lambda: taken[-1])
        stranger = await guests.come()
        taken.append((100 << 20) + MAX_GROWTH_BYTES)
        for clock.now_s in range(300):
            assert await looks.look() == frozenset()
        taken.append((104 << 20) + MAX_GROWTH_BYTES)
        assert await looks.look() == frozenset()
        assert guests.stays(stranger)
        await guests.leave()

    run_on("libp2p", scenario)


def test_a_peer_that_bounds_strangers_goes_on_answering_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_STRANGERS", 0)
    monkeypatch.setattr(room, "PERIOD_S", 0.05)
    monkeypatch.setattr(room, "PATIENCE_S", 0.2)

    async def echo(stream: Stream) -> None:
        await stream.write(await stream.read_exactly(1))

    async def scenario(make: MakeTransport) -> None:
        host, member = await host_of(make), await make("member")
        await host.serve("/test/echo", echo)
        await member.connect(host.addresses[0])
        stream = await member.open_stream(host.peer_id, "/test/echo")
        host.bound_strangers(lambda peer: peer == member.peer_id)
        guests = Guests(host)
        stranger = await guests.come()
        for _ in range(20):
            await stranger.begin(line(MULTISTREAM) + line("/test/echo"))
        await until(lambda: not guests.stays(stranger))
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        await stream.close()
        await guests.leave()

    run_on("libp2p", scenario)


def test_the_memory_of_a_process_that_has_ended_is_none() -> None:
    assert resident_bytes(os.getpid()) > 1 << 20
    assert resident_bytes(2**22 + 1) == 0
