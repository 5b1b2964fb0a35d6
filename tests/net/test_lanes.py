"""Lanes: who gets in, over what bytes travel, and what a broken lane looks like to its users."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gossiptrain.config import LaneMode, NetworkSettings
from gossiptrain.net import lane_choice, lanes
from gossiptrain.net.framing import opened, receive_message, send_message
from gossiptrain.net.identity import Identity
from gossiptrain.net.lane_stream import LaneStream, shake_hands
from gossiptrain.net.lanes import LANE, LANE_WORTH_BYTES, LaneOffer, LaneRequest
from gossiptrain.net.libp2p import Libp2pTransport
from gossiptrain.net.tls import Credentials, Engine
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError, UnreachableError
from gossiptrain.net.wire import Wire
from tests.transports import until

BULK = "/test/bulk"
MANY = LANE_WORTH_BYTES
Scenario = Callable[[Libp2pTransport, Libp2pTransport], Awaitable[None]]


class Answering:
    """A handler that sends back what it hears, byte by byte, and notes who came."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    async def __call__(self, stream: Stream) -> None:
        self.streams.append(stream)
        while True:
            await stream.write(await stream.read_exactly(1))


@contextlib.asynccontextmanager
async def two(
    lane: LaneMode = "auto", other_lane: LaneMode = "auto", *, host: str = "/ip4/127.0.0.1/tcp/0"
) -> AsyncIterator[tuple[Libp2pTransport, Libp2pTransport]]:
    """Two peers; the first has dialled the second."""
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for mode in (lane, other_lane):
            network = NetworkSettings(host_maddrs=(host,), lane=mode)
            peers.append(await Libp2pTransport.start(network, Identity.generate()))
            stack.push_async_callback(peers[-1].close)
        alice, bob = peers
        await alice.connect(bob.addresses[0])
        yield alice, bob


def run_with_two(scenario: Scenario, *modes: LaneMode, **options: Any) -> None:
    async def main() -> None:
        async with two(*modes, **options) as (alice, bob):
            await scenario(alice, bob)

    asyncio.run(main())


async def offer_to(alice: Libp2pTransport, bob: Libp2pTransport, credentials: Credentials) -> LaneOffer:
    """What bob offers to alice where she announces these credentials."""
    async with opened(alice, bob.peer_id, protocol=LANE) as stream:
        await send_message(stream, LaneRequest(protocol=BULK, certificate=credentials.certificate.hex()))
        return await receive_message(stream, LaneOffer)


def dial(offer: LaneOffer) -> Wire:
    """A plain connection to the place of the offer."""
    _, _, host, _, port = offer.places[0].split("/")
    return Wire(socket.create_connection((host, int(port))))


async def enter(offer: LaneOffer, credentials: Credentials) -> LaneStream:
    """Takes up an offer, step by step."""
    wire = dial(offer)
    await wire.send(bytes.fromhex(offer.token))
    engine = Engine(credentials, expected=bytes.fromhex(offer.certificate), server=False)
    try:
        await shake_hands(wire, engine)
    except StreamClosedError:
        wire.end()
        raise
    return LaneStream(PeerId("bob"), {}, wire=wire, engine=engine)


async def is_turned_away(stream: LaneStream) -> bool:
    """Whether the other side ends the lane before a byte of it has been looked at."""
    try:
        async with asyncio.timeout(10.0):
            await stream.write(b"x")
            await stream.read_exactly(1)
    except StreamClosedError:
        return True
    finally:
        stream.abort()
    return False


@pytest.mark.parametrize("host", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"])
def test_bulk_streams_go_over_a_lane_and_others_through_the_daemon(host: str) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for bulk_bytes, kind in ((MANY, "direct"), (MANY - 1, "libp2p"), (0, "libp2p")):
            stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=bulk_bytes)
            await stream.write(b"x")
            assert await stream.read_exactly(1) == b"x"
            assert (stream.kind, handler.streams[-1].kind) == (kind, kind)
            assert alice.lanes_used == {bob.peer_id: "direct"}
            assert (stream.remote, handler.streams[-1].remote) == (bob.peer_id, alice.peer_id)
            await stream.close()

    run_with_two(scenario, host=host)


@pytest.mark.parametrize("modes", [("libp2p", "auto"), ("auto", "libp2p")])
def test_where_one_side_has_no_lanes_the_daemon_carries_everything(modes: tuple[LaneMode, LaneMode]) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        for _ in range(2):
            stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
            await stream.write(b"x")
            assert await stream.read_exactly(1) == b"x"
            assert stream.kind == "libp2p"
            await stream.close()
        assert alice.lanes_used == {bob.peer_id: "libp2p"}

    run_with_two(scenario, *modes)


def test_a_peer_that_wants_nothing_but_a_lane_is_told_that_there_is_none() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        with pytest.raises(UnreachableError, match=r"no lane to .*the other side offers none"):
            await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)

    run_with_two(scenario, "direct", "libp2p")


def test_an_address_that_leads_nowhere_costs_one_attempt_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        asked: list[str] = []
        places = lanes.Lanes._places

        def nowhere(self: lanes.Lanes) -> tuple[str, ...]:
            asked.append("once more")
            return ("/ip4/127.0.0.1/tcp/9", "/ip4/0.0.0.0/tcp/4000", "/dns/nowhere.invalid/tcp/4", "nonsense")

        monkeypatch.setattr(lanes.Lanes, "_places", nowhere)
        for _ in range(3):
            stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
            assert stream.kind == "libp2p"
            await stream.close()
        assert len(asked) == 1
        monkeypatch.setattr(lanes.Lanes, "_places", places)
        monkeypatch.setattr(lane_choice, "AVOID_S", 0.0)
        alice._lane_choice._avoided_until_s.clear()
        stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=MANY)
        assert stream.kind == "direct", "the way is taken once it is there"
        await stream.close()

    run_with_two(scenario)


# Who gets in.


def test_an_offer_is_good_for_one_lane() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        credentials = Credentials.create()
        offer = await offer_to(alice, bob, credentials)
        stream = await enter(offer, credentials)
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        stream.abort()
        with pytest.raises(StreamClosedError):
            await enter(offer, credentials)
        assert len(handler.streams) == 1

    run_with_two(scenario)


def test_an_offer_that_is_too_old_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "OFFER_S", -1.0)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        credentials = Credentials.create()
        with pytest.raises(StreamClosedError):
            await enter(await offer_to(alice, bob, credentials), credentials)
        assert not handler.streams

    run_with_two(scenario)


def test_whoever_has_the_token_but_not_the_certificate_stays_outside() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        offer = await offer_to(alice, bob, Credentials.create())
        # In TLS 1.3 the client has finished before the server has looked at its certificate.
        assert await is_turned_away(await enter(offer, Credentials.create()))
        assert not handler.streams

    run_with_two(scenario)


def test_whoever_answers_with_another_certificate_gets_no_byte() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        for certificate in (Credentials.create().certificate.hex(), "00ff"):
            offer = await offer_to(alice, bob, alice._lanes._credentials)
            with pytest.raises(lanes.NoLaneError, match="not who it should be"):
                await alice._lanes._dial(bob.peer_id, offer.model_copy(update={"certificate": certificate}))
        assert not handler.streams

    run_with_two(scenario)


@pytest.mark.parametrize("words", [b"", b"x" * 31, b"x" * 32, b"GET / HTTP/1.1\r\nHost: somewhere.else\r\n\r\n"])
def test_strangers_are_turned_away(monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    monkeypatch.setattr(lanes, "HANDSHAKE_S", 0.5)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        offer = await offer_to(alice, bob, Credentials.create())
        wire = dial(offer)
        await wire.send(words)
        async with asyncio.timeout(10.0):
            await wire.wait_for_end(memoryview(bytearray(100)))
        wire.end()

    run_with_two(scenario)


def test_no_more_than_so_many_strangers_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_ARRIVING", 2)
    monkeypatch.setattr(lanes, "HANDSHAKE_S", 60.0)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        offer = await offer_to(alice, bob, Credentials.create())
        waiting = [dial(offer) for _ in range(2)]
        await until(lambda: bob._lanes._arriving == 2)
        third = dial(offer)
        async with asyncio.timeout(10.0):
            await third.wait_for_end(memoryview(bytearray(100)))
        for wire in (*waiting, third):
            wire.end()

    run_with_two(scenario)


def test_offers_that_nobody_takes_up_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_OFFERS", 3)

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(BULK, Answering())
        credentials = Credentials.create()
        for _ in range(10):
            last = await offer_to(alice, bob, credentials)
        assert len(bob._lanes._offers) <= 4
        (await enter(last, credentials)).abort()

    run_with_two(scenario)


# When the lane breaks.


def test_bytes_that_are_not_what_was_sealed_end_the_stream() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        handler = Answering()
        await bob.serve(BULK, handler)
        credentials = Credentials.create()
        stream = await enter(await offer_to(alice, bob, credentials), credentials)
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        await stream._wire.send(b"\x17\x03\x03\x00\x20" + b"garbage " * 4)
        await until(lambda: not bob._lanes._streams)
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(1)
        stream.abort()

    run_with_two(scenario)


def test_a_node_that_listens_nowhere_offers_nothing() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        bob.addresses = ("/dns/example.org/tcp/4011/p2p/" + bob.peer_id,)
        await bob.serve(BULK, Answering())
        with pytest.raises(lanes.NoLaneError):
            await alice._lanes.open(bob.peer_id, BULK)

    run_with_two(scenario)


def test_the_nearest_address_is_tried_first() -> None:
    places = [f"/ip4/{host}/tcp/4011" for host in ("8.8.4.4", "192.168.1.7", "127.0.0.1", "224.0.0.1")]

    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        ordered = alice._lanes._ordered(bob.peer_id, places)
        assert [str(host) for host, _ in ordered] == ["127.0.0.1", "192.168.1.7", "8.8.4.4"]
        alice._lanes._reached_at[bob.peer_id] = ipaddress.ip_address("8.8.4.4")
        assert str(alice._lanes._ordered(bob.peer_id, places)[0][0]) == "8.8.4.4"

    run_with_two(scenario)
