"""Connections: who gets in, that they are used again, and what a broken connection looks like to its users."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gossiptrain.config import DirectMode, NetworkSettings
from gossiptrain.net import handlers
from gossiptrain.net.direct import acceptor, idle_pool, negotiation, path_choice
from gossiptrain.net.direct import connection as direct_connection
from gossiptrain.net.direct import connections as direct_connections
from gossiptrain.net.direct.acceptor import Acceptor
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.connections import DIRECT, DIRECT_WORTH_BYTES
from gossiptrain.net.direct.dialling import DialCredentials
from gossiptrain.net.direct.messages import (
    PREAMBLE_BYTES,
    CallBack,
    CalledBack,
    DirectOffer,
    DirectRefusal,
    DirectRequest,
    NoDirectConnectionError,
    preamble,
    token_in,
)
from gossiptrain.net.direct.negotiation import Negotiation, Sight
from gossiptrain.net.direct.sealed_wire import SealedWire, shake_hands
from gossiptrain.net.direct.stream import DirectStream
from gossiptrain.net.direct.tls import Credentials, Engine
from gossiptrain.net.framing import opened, receive_message, receive_one_of, send_message
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.stream import host_of
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError, UnreachableError
from gossiptrain.net.wire import Wire
from tests.net.direct.test_negotiation import nowhere
from tests.transports import until

BULK = "/test/bulk"
MANY = DIRECT_WORTH_BYTES
NOWHERE = 9
NOTHING_IN_SIGHT = Sight(lambda stream: None, nowhere)
"""A port at which nobody listens."""
Scenario = Callable[[Libp2pTransport, Libp2pTransport], Awaitable[None]]


class Answering:
    """A handler that sends back what it hears, byte by byte, and notes who came."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    async def __call__(self, stream: Stream) -> None:
        self.streams.append(stream)
        with contextlib.suppress(StreamClosedError):  # so an end in order is one
            while True:
                await stream.write(await stream.read_exactly(1))


@contextlib.asynccontextmanager
async def two(
    connection: DirectMode = "auto", other_direct: DirectMode = "auto", *, host: str = "/ip4/127.0.0.1/tcp/0"
) -> AsyncIterator[tuple[Libp2pTransport, Libp2pTransport]]:
    """Two peers; the first has dialled the second."""
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for mode in (connection, other_direct):
            network = NetworkSettings(host_maddrs=(host,), direct=mode)
            peers.append(await Libp2pTransport.start(network, Identity.generate()))
            stack.push_async_callback(peers[-1].close)
        alice, bob = peers
        await alice.connect(bob.addresses[0])
        yield alice, bob


def run_with_two(scenario: Scenario, *modes: DirectMode, **options: Any) -> None:
    async def main() -> None:
        async with two(*modes, **options) as (alice, bob):
            await scenario(alice, bob)

    asyncio.run(main())


async def offer_to(alice: Libp2pTransport, bob: Libp2pTransport, credentials: Credentials) -> DirectOffer:
    """What bob offers to alice where she announces these credentials."""
    async with opened(alice, bob.peer_id, protocol=DIRECT) as stream:
        await send_message(stream, DirectRequest(certificate=credentials.certificate.hex()))
        return await receive_message(stream, DirectOffer)


def dial(offer: DirectOffer) -> Wire:
    """A plain connection to the endpoint of the offer."""
    return Wire(socket.create_connection(("127.0.0.1", offer.port_ip4)))


async def enter(offer: DirectOffer, credentials: Credentials) -> SealedWire:
    """Takes up an offer, step by step."""
    wire = dial(offer)
    await wire.send(preamble(bytes.fromhex(offer.token)))
    try:
        return await shake_hands(wire, Engine(credentials, expected=bytes.fromhex(offer.certificate), server=False))
    except StreamClosedError:
        wire.end()
        raise


async def begin(wire: SealedWire) -> DirectStream:
    """The first stream on a connection that has been entered step by step."""
    stream = await DirectConnection(PeerId("bob"), wire, opens=True).begin(BULK, {}, on_close=lambda: None)
    assert stream is not None
    return stream


async def is_turned_away(wire: SealedWire) -> bool:
    """Whether the other side ends the connection before a stream on it has begun."""
    try:
        async with asyncio.timeout(10.0):
            await begin(wire)
    except StreamClosedError:
        return True
    finally:
        wire.end()
    return False


async def is_ended(wire: Wire) -> bool:
    """Whether the other side ends the connection soon."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10.0):
            try:
                while True:
                    await wire.receive(memoryview(bytearray(100)))
            except StreamClosedError:
                return True
    return False


async def echo(alice: Libp2pTransport, bob: Libp2pTransport, *, bulk_bytes: int = MANY) -> str:
    """Opens a stream, has a byte sent back, ends it in order; over what it went."""
    stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=bulk_bytes)
    await stream.write(b"x")
    assert await stream.read_exactly(1) == b"x"
    await stream.close()
    return stream.kind


async def until_idle(*peers: Libp2pTransport) -> None:
    """Until all their streams over connections are over, at both ends of each."""

    def are_idle() -> bool:
        return not any(peer._direct._streams or not all_free(peer) for peer in peers)

    await until(are_idle)


def all_free(peer: Libp2pTransport) -> bool:
    return all(connection.is_free for connection in kept_by(peer))


def kept_by(peer: Libp2pTransport) -> list[DirectConnection]:
    """Its idle connections, those of others included."""
    return list(peer._direct._idle._expiries)


@dataclass
class Asked:
    """How often peers have asked for a connection, with all that follows."""

    times: int = 0
    admitted: int = 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    negotiate, take = Negotiation.negotiate, Negotiation._take

    async def counting(self: Negotiation, stream: Stream) -> DirectConnection:
        found.times += 1
        return await negotiate(self, stream)

    def welcoming(self: Negotiation, peer: PeerId, wire: SealedWire) -> None:
        found.admitted += 1
        take(self, peer, wire)

    monkeypatch.setattr(Negotiation, "negotiate", counting)
    monkeypatch.setattr(Negotiation, "_take", welcoming)
    return found


# Which way.


@pytest.mark.parametrize("host", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"])
def test_bulk_streams_go_over_a_direct_connection_and_others_through_the_daemon(host: str) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for bulk_bytes, kind in ((MANY - 1, "libp2p"), (MANY, "direct"), (0, "libp2p")):
            stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=bulk_bytes)
            await stream.write(b"x")
            assert await stream.read_exactly(1) == b"x"
            assert (stream.kind, handler.streams[-1].kind) == (kind, kind)
            assert (stream.remote, handler.streams[-1].remote) == (bob.peer_id, alice.peer_id)
            await stream.close()
        assert alice.paths_used == {bob.peer_id: "direct"}

    run_with_two(scenario, host=host)


@pytest.mark.parametrize("modes", [("libp2p", "auto"), ("auto", "libp2p")])
def test_where_one_side_takes_no_direct_connections_the_daemon_carries_everything(
    modes: tuple[DirectMode, DirectMode],
) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        assert [await echo(alice, bob) for _ in range(2)] == ["libp2p"] * 2
        assert alice.paths_used == {bob.peer_id: "libp2p"}

    run_with_two(scenario, *modes)


def test_a_peer_that_wants_nothing_but_a_direct_connection_is_told_that_there_is_none() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        with pytest.raises(UnreachableError, match=r"no connection to .*the other side offers none"):
            await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)

    run_with_two(scenario, "direct", "libp2p")


def test_where_neither_can_dial_the_other_it_costs_one_attempt_in_a_while(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        with monkeypatch.context() as nobody_can_dial:
            nobody_can_dial.setattr(Acceptor, "port", lambda self, version: NOWHERE)
            nobody_can_dial.setattr(bob._direct._negotiation, "_sight", NOTHING_IN_SIGHT)
            assert [await echo(alice, bob) for _ in range(3)] == ["libp2p"] * 3
        assert asked.times == 1
        monkeypatch.setattr(path_choice, "AVOID_S", 0.0)
        alice._path_choice._avoided.clear()
        assert await echo(alice, bob) == "direct", "the way is taken once it is there"

    run_with_two(scenario)


# Who gets in.


def test_an_offer_is_good_for_one_connection() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        credentials = Credentials.create()
        offer = await offer_to(alice, bob, credentials)
        stream = await begin(await enter(offer, credentials))
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        stream.abort()
        with pytest.raises(StreamClosedError):
            await enter(offer, credentials)
        assert len(handler.streams) == 1

    run_with_two(scenario)


def test_an_offer_that_is_too_old_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "TOKEN_S", -1.0)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        credentials = Credentials.create()
        with pytest.raises(StreamClosedError):
            await enter(await offer_to(alice, bob, credentials), credentials)
        assert not handler.streams

    run_with_two(scenario)


def test_whoever_has_the_token_but_not_the_certificate_stays_outside(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        offer = await offer_to(alice, bob, Credentials.create())
        # In TLS 1.3 the client has finished before the server has looked at its certificate.
        assert await is_turned_away(await enter(offer, Credentials.create()))
        assert not handler.streams
        assert asked.admitted == 0

    run_with_two(scenario)


def test_whoever_answers_with_another_certificate_gets_no_byte() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for certificate in (Credentials.create().certificate.hex(), "00ff"):
            offer = await offer_to(alice, bob, alice._direct._negotiation._credentials)
            with pytest.raises(NoDirectConnectionError, match="not who it should be"):
                await alice._direct._negotiation._dialler.dial(
                    ipaddress.ip_address("127.0.0.1"),
                    offer.port_ip4,
                    DialCredentials(bytes.fromhex(offer.token), bytes.fromhex(certificate)),
                )
        assert not handler.streams

    run_with_two(scenario)


@pytest.mark.parametrize("words", [b"", b"x" * 31, b"x" * 32, b"GET / HTTP/1.1\r\nHost: somewhere.else\r\n\r\n"])
def test_strangers_are_turned_away(monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    monkeypatch.setattr(acceptor, "HANDSHAKE_S", 0.5)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        offer = await offer_to(alice, bob, Credentials.create())
        wire = dial(offer)
        await wire.send(words)
        assert await is_ended(wire)
        wire.end()

    run_with_two(scenario)


def test_no_more_than_so_many_strangers_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "MAX_ARRIVING", 2)
    monkeypatch.setattr(acceptor, "HANDSHAKE_S", 60.0)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        offer = await offer_to(alice, bob, Credentials.create())
        waiting = [dial(offer) for _ in range(2)]
        await until(lambda: bob._direct._negotiation._acceptor._arriving == 2)
        third = dial(offer)
        assert await is_ended(third)
        for wire in (*waiting, third):
            wire.end()
        await until(lambda: bob._direct._negotiation._acceptor._arriving == 0)

    run_with_two(scenario)


def test_offers_that_nobody_takes_up_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "MAX_EXPECTED", 3)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        credentials = Credentials.create()
        for _ in range(10):
            last = await offer_to(alice, bob, credentials)
        assert len(bob._direct._negotiation._acceptor._expected) == 3
        (await begin(await enter(last, credentials))).abort()

    run_with_two(scenario)


def test_a_connection_without_a_stream_does_not_stay_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_pool, "IDLE_S", 0.1)
    monkeypatch.setattr(idle_pool, "GRACE_S", 0.1)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        credentials = Credentials.create()
        entered = await enter(await offer_to(alice, bob, credentials), credentials)
        assert await is_ended(entered.wire)
        assert not kept_by(bob)
        entered.end()

    run_with_two(scenario)


# Connections are kept.


def test_the_next_stream_goes_over_the_connection_that_is_there(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        await bob.serve("/test/other", handler)
        for _ in range(5):
            assert await echo(alice, bob) == "direct"
            await until_idle(alice, bob)
        stream = await alice.open_stream(bob.peer_id, "/test/other", bulk_bytes=1)
        assert stream.kind == "direct", "for a few bytes too, as it costs nothing"
        assert (asked.times, asked.admitted) == (1, 1)
        assert {(stream.remote, stream.kind) for stream in handler.streams} == {(alice.peer_id, "direct")}
        await stream.close()

    run_with_two(scenario)


def test_each_side_opens_over_connections_of_its_own(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await alice.serve(BULK, Answering())
        await bob.serve(BULK, Answering())
        for _ in range(10):
            assert [*await asyncio.gather(echo(alice, bob), echo(bob, alice))] == ["direct"] * 2
            await until_idle(alice, bob)
        assert asked.times == 2

    run_with_two(scenario)


def test_streams_at_once_take_connections_of_their_own_and_few_are_kept(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for _ in range(2):
            streams = [await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY) for _ in range(4)]
            for number, stream in enumerate(streams):
                await stream.write(bytes([number]))
            assert [await stream.read_exactly(1) for stream in streams] == [bytes([number]) for number in range(4)]
            for stream in streams:
                await stream.close()
            await until_idle(alice, bob)
            await until(lambda: len(kept_by(bob)) == idle_pool.MAX_ALIKE)
            assert len(kept_by(alice)) == idle_pool.MAX_ALIKE
        assert asked.times == 4 + (4 - idle_pool.MAX_ALIKE)

    run_with_two(scenario)


@pytest.mark.parametrize("who", ["opener", "handler"])
def test_a_stream_that_is_aborted_takes_its_connection_along(asked: Asked, who: str) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
        await stream.write(b"x")
        await stream.read_exactly(1)
        (stream if who == "opener" else handler.streams[-1]).abort()
        await stream.wait_for_end()
        await stream.close()
        await until(lambda: not alice._direct._streams and not bob._direct._streams)
        assert not kept_by(alice)
        assert await echo(alice, bob) == "direct"
        assert asked.times == 2

    run_with_two(scenario)


def test_bytes_that_nobody_read_are_not_in_the_next_stream(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        async def talk(stream: Stream) -> None:
            await stream.write(b"more than is read")

        await bob.serve("/test/talk", talk)
        await bob.serve(BULK, Answering())
        stream = await alice.open_stream(bob.peer_id, "/test/talk", bulk_bytes=MANY)
        assert await stream.read_exactly(4) == b"more"
        await stream.close()
        assert await echo(alice, bob) == "direct"
        assert asked.times == 2

    run_with_two(scenario)


def test_a_handler_that_raises_takes_the_connection_along(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        async def fail(stream: Stream) -> None:
            raise ConnectionError("as by a broken link")

        await bob.serve("/test/fail", fail)
        stream = await alice.open_stream(bob.peer_id, "/test/fail", bulk_bytes=MANY)
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        await stream.close()
        await until(lambda: not kept_by(alice) and not kept_by(bob))

    run_with_two(scenario)


def test_an_opener_that_forgets_its_stream_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "LINGER_S", 0.1)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        async def answer(stream: Stream) -> None:
            await stream.write(b"x")

        await bob.serve(BULK, answer)
        stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
        await stream.wait_for_end()
        await stream.close()
        assert not kept_by(alice)
        await until(lambda: not kept_by(bob))

    run_with_two(scenario)


def test_a_protocol_that_is_not_served_is_refused_over_a_kept_connection_and_the_connection_stays(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await echo(alice, bob)
        await until_idle(alice, bob)
        for _ in range(2):
            with pytest.raises(UnreachableError, match="does not speak"):
                await alice.open_stream(bob.peer_id, "/test/unknown", bulk_bytes=MANY)
        assert await echo(alice, bob) == "direct"
        assert asked.times == 1

    run_with_two(scenario)


def test_an_idle_connection_is_given_up_at_both_ends(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    monkeypatch.setattr(idle_pool, "IDLE_S", 0.1)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await echo(alice, bob)
        await until(lambda: not kept_by(alice) and not kept_by(bob))
        assert await echo(alice, bob) == "direct"
        assert asked.times == 2

    run_with_two(scenario)


@pytest.mark.parametrize("who", ["opener", "other"])
def test_closing_a_node_ends_its_kept_connections_and_the_other_side_hears_of_it(who: str) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await echo(alice, bob)
        await until_idle(alice, bob)
        assert kept_by(alice)
        assert kept_by(bob)
        await (alice if who == "opener" else bob).close()
        await until(lambda: not kept_by(alice) and not kept_by(bob))

    run_with_two(scenario)


async def lose_connections(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
    """Until neither has a connection on which alice could open a stream."""
    await until_idle(alice, bob)
    alice._direct._idle.end_all(bob.peer_id)
    await until(lambda: not kept_by(bob))


# A kept connection that is of no use any more.


def cut(peer: Libp2pTransport) -> None:
    """Ends all its idle connections, as if its computer had."""
    for connection in kept_by(peer):
        connection.end()


@pytest.mark.parametrize("noticed", [True, False])
def test_a_kept_connection_that_the_other_side_has_ended_is_replaced_unnoticed(asked: Asked, noticed: bool) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await echo(alice, bob)
        await until_idle(alice, bob)
        cut(bob)
        if noticed:
            await until(lambda: not kept_by(alice))
        assert await echo(alice, bob) == "direct"
        assert asked.times == 2

    run_with_two(scenario)


def test_kept_connections_that_say_nothing_any_more_are_replaced_after_a_moment(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    """As behind a router that has forgotten the connection: nothing arrives, and nobody says so."""
    monkeypatch.setattr(direct_connections, "ANSWER_S", 0.2)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        streams = [await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY) for _ in range(2)]
        for stream in streams:
            await stream.close()
        await until_idle(alice, bob)
        lost = kept_by(alice)
        assert len(lost) == 2
        silent: set[Wire] = {connection._wire.wire for connection in lost}
        send = Wire.send

        async def send_into_the_void(self: Wire, data: bytes) -> None:
            if self not in silent:
                await send(self, data)

        monkeypatch.setattr(Wire, "send", send_into_the_void)
        assert await echo(alice, bob) == "direct"
        assert asked.times == 2 + 1
        assert all(wire.ended for wire in silent), "both, so that it takes a moment once"

    run_with_two(scenario)


def test_where_a_kept_connection_is_gone_and_no_new_one_can_be_had_libp2p_carries_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        assert await echo(alice, bob) == "direct"
        await until_idle(alice, bob)
        monkeypatch.setattr(Acceptor, "port", lambda self, version: NOWHERE)
        monkeypatch.setattr(bob._direct._negotiation, "_sight", NOTHING_IN_SIGHT)
        cut(bob)
        assert await echo(alice, bob) == "libp2p"

    run_with_two(scenario)


def test_an_opening_over_a_kept_connection_that_is_given_up_leaves_neither_stream_nor_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for waits in range(12):
            await echo(alice, bob)
            await until_idle(alice, bob)
            opening = asyncio.create_task(alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY))
            for _ in range(waits):
                await asyncio.sleep(0)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await opening).abort()
            await until(lambda: not alice._direct._streams and not bob._direct._streams)

    run_with_two(scenario)


def test_bytes_that_are_not_what_was_sealed_end_the_stream() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
        assert isinstance(stream, DirectStream)
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        await stream._wire.wire.send(b"\x17\x03\x03\x00\x20" + b"garbage " * 4)
        await until(lambda: not bob._direct._streams)
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        stream.abort()

    run_with_two(scenario)


# Where only one side can be dialled.


@pytest.fixture
def bob_cannot_be_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can alice; but she is the only one who is asked to call back."""
    monkeypatch.setattr(Acceptor, "port", lambda self, version: NOWHERE)


@pytest.mark.usefixtures("bob_cannot_be_dialled")
@pytest.mark.parametrize("host", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"])
def test_who_cannot_be_dialled_calls_back_and_bytes_flow_as_they_should(host: str, asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for _ in range(3):
            assert await echo(alice, bob) == "direct"
            await until_idle(alice, bob)
        assert asked.times == 1, "such a connection is kept like any other"
        assert {stream.remote for stream in handler.streams} == {alice.peer_id}
        assert alice.paths_used == {bob.peer_id: "direct"}

    run_with_two(scenario, host=host)


@pytest.mark.usefixtures("bob_cannot_be_dialled")
def test_who_has_called_back_once_is_not_dialled_again_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await echo(alice, bob)
        await lose_connections(alice, bob)
        dialled: list[int] = []
        dial = alice._direct._negotiation._dialler.dial

        async def counting(host: IpAddress, port: int, dial_credentials: DialCredentials) -> SealedWire:
            dialled.append(port)
            return await dial(host, port, dial_credentials)

        monkeypatch.setattr(alice._direct._negotiation._dialler, "dial", counting)
        assert await echo(alice, bob) == "direct"
        assert not dialled
        await lose_connections(alice, bob)
        monkeypatch.setattr(bob._direct._negotiation, "_sight", NOTHING_IN_SIGHT)
        assert await echo(alice, bob) == "libp2p"
        alice._path_choice._avoided.clear()
        assert await echo(alice, bob) == "libp2p"
        assert dialled == [NOWHERE], "and where that fails, it is dialled the next time"

    run_with_two(scenario)


async def have_it_call(
    alice: Libp2pTransport, bob: Libp2pTransport, credentials: Credentials, call: CallBack
) -> tuple[DirectOffer, bool]:
    """Asks bob for a connection and then to call back; his offer, and whether he says that he has."""
    async with opened(alice, bob.peer_id, protocol=DIRECT) as stream:
        await send_message(stream, DirectRequest(certificate=credentials.certificate.hex()))
        offer = await receive_message(stream, DirectOffer)
        await send_message(stream, call)
        return offer, isinstance(await receive_one_of(stream, CalledBack, DirectRefusal), CalledBack)


def listening() -> tuple[socket.socket, int]:
    """A listening socket of somebody else."""
    acceptor = socket.create_server(("127.0.0.1", 0))
    acceptor.setblocking(False)
    return acceptor, acceptor.getsockname()[1]


def test_nobody_is_called_at_another_host_than_the_one_it_is_connected_from(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        endpoints: list[Any] = []

        async def dial(host: IpAddress, port: int, dial_credentials: DialCredentials) -> SealedWire:
            endpoints.append((host, port))
            raise NoDirectConnectionError("not now")

        monkeypatch.setattr(bob._direct._negotiation._dialler, "dial", dial)
        _, called = await have_it_call(alice, bob, Credentials.create(), CallBack(port_ip4=4011, port_ip6=4012))
        assert not called
        assert endpoints == [(ipaddress.ip_address("127.0.0.1"), 4011)]
        await have_it_call(alice, bob, Credentials.create(), CallBack(port_ip4=0, port_ip6=4012))
        assert len(endpoints) == 1, "it takes no connections by this version of IP"

    run_with_two(scenario)


def test_whoever_is_called_and_has_not_the_certificate_gets_no_byte(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        acceptor, port = listening()
        loop = asyncio.get_running_loop()

        async def answer_as_somebody_else() -> None:
            connection, _ = await loop.sock_accept(acceptor)
            wire = Wire(connection)
            assert token_in(await wire.receive_exactly(PREAMBLE_BYTES)), "it is of no more use"
            stranger = Credentials.create()
            with pytest.raises(StreamClosedError):
                await shake_hands(wire, Engine(stranger, expected=stranger.certificate, server=True))
            wire.end()

        with acceptor:
            call = CallBack(port_ip4=port, port_ip6=0)
            answering = asyncio.create_task(answer_as_somebody_else())
            _, called = await have_it_call(alice, bob, Credentials.create(), call)
            await answering
        assert not called
        assert asked.admitted == 0

    run_with_two(scenario)


def test_whoever_calls_back_with_another_certificate_than_announced_is_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(negotiation, "REACH_S", 0.5)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        bob._direct._negotiation._credentials = Credentials.create()  # announced, not used
        with pytest.raises(NoDirectConnectionError):
            await alice._direct.open(bob.peer_id, BULK)
        assert not kept_by(alice)

    run_with_two(scenario)


def test_the_token_of_a_connection_that_was_called_back_opens_nothing_else(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        credentials = Credentials.create()
        offer, called = await have_it_call(alice, bob, credentials, CallBack(port_ip4=9, port_ip6=9))
        assert not called
        with pytest.raises(StreamClosedError):
            await enter(offer, credentials)
        assert asked.admitted == 0

    run_with_two(scenario)


def test_a_call_back_that_does_not_come_in_time_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Acceptor, "port", lambda self, version: 0)
    monkeypatch.setattr(negotiation, "REACH_S", 0.2)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        dial, late = bob._direct._negotiation._dialler.dial, asyncio.Event()

        async def dial_late(*arguments: Any) -> SealedWire:
            await late.wait()
            return await dial(*arguments)

        monkeypatch.setattr(bob._direct._negotiation._dialler, "dial", dial_late)
        assert await echo(alice, bob) == "libp2p"
        assert not alice._direct._negotiation._acceptor._expected
        late.set()
        await until(lambda: not bob._direct._streams and not kept_by(bob))

    run_with_two(scenario)


def test_a_node_that_listens_nowhere_dials_and_is_not_dialled() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        for node in (alice, bob):
            await node.serve(BULK, Answering())
        alice._direct._negotiation._acceptor.ports.clear()
        assert await echo(alice, bob) == "direct"
        with pytest.raises(NoDirectConnectionError):
            await bob._direct.open(alice.peer_id, BULK)

    run_with_two(scenario)


def test_where_a_node_is_dialled_does_not_follow_from_what_it_says_of_its_addresses() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        bob.addresses = (f"/ip4/192.0.2.1/tcp/6379/p2p/{bob.peer_id}",)
        await bob.serve(BULK, Answering())
        assert await echo(alice, bob) == "direct"
        assert "places" not in DirectOffer.model_fields, "an offer has no word for a host"

    run_with_two(scenario)


def test_it_is_known_where_the_other_end_of_a_stream_of_libp2p_is_and_of_no_other() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        stream = await alice.open_stream(bob.peer_id, BULK)
        await stream.write(b"x")
        await stream.read_exactly(1)
        assert str(host_of(stream)) == str(host_of(handler.streams[-1])) == "127.0.0.1"
        await stream.close()
        await echo(alice, bob)
        assert host_of(handler.streams[-1]) is None

    run_with_two(scenario)


# Before they are needed.


def test_a_connection_that_was_prepared_carries_the_next_stream_at_once(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        (kept,) = kept_by(alice)
        assert kept.is_fresh
        for _ in range(2):
            await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        assert kept_by(alice) == [kept]
        assert await echo(alice, bob) == "direct"
        assert asked.times == 1

    run_with_two(scenario)


def test_a_kept_connection_is_asked_whether_it_works_and_replaced_where_it_does_not(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    monkeypatch.setattr(direct_connection, "FRESH_S", 0.0)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        (kept,) = kept_by(alice)
        await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        assert (kept_by(alice), asked.times) == ([kept], 1)

        async def dies(self: DirectConnection) -> None:
            monkeypatch.undo()
            raise StreamClosedError("it has died")

        monkeypatch.setattr(DirectConnection, "ping", dies)
        await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        assert kept not in kept_by(alice)
        assert await echo(alice, bob) == "direct"

    run_with_two(scenario)


def test_whoever_opens_a_stream_waits_for_the_connection_that_is_being_prepared(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    begun, may_go_on, negotiate = asyncio.Event(), asyncio.Event(), Negotiation.negotiate

    async def held_up(self: Negotiation, stream: Stream) -> DirectConnection:
        begun.set()
        await may_go_on.wait()
        return await negotiate(self, stream)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        preparing = asyncio.create_task(alice.prepare(bob.peer_id, bulk_bytes=MANY))
        await begun.wait()
        echoed = asyncio.create_task(echo(alice, bob))
        await asyncio.sleep(0)
        may_go_on.set()
        assert await echoed == "direct"
        await preparing
        assert asked.times == 1

    monkeypatch.setattr(Negotiation, "negotiate", held_up)
    run_with_two(scenario)


def test_nothing_is_prepared_while_a_stream_is_open(asked: Asked) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
        await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        assert (kept_by(alice), asked.times) == ([], 1)
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        await stream.close()

    run_with_two(scenario)


def test_where_no_connection_can_be_prepared_streams_go_through_the_daemon() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        await alice.prepare(bob.peer_id, bulk_bytes=MANY)
        assert await echo(alice, bob) == "libp2p"

    run_with_two(scenario, "auto", "libp2p")
