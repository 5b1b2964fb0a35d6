"""Where a node is dialled for a direct connection, and where it never is."""

from __future__ import annotations

import ipaddress

import pytest

from gossiptrain.net.direct.dialling import DialCredentials
from gossiptrain.net.direct.messages import (
    CallBack,
    DirectOffer,
    DirectRefusal,
    DirectRequest,
    NoDirectConnectionError,
    new_token,
)
from gossiptrain.net.direct.negotiation import Negotiation, Places, Sight
from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.direct.tls import Credentials
from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.handlers import HandlerTasks
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import Stream
from tests.transports import MakeTransport, run_on

PROTOCOL = "/test/direct"
PORT = 6379


async def offer_a_port(stream: Stream) -> None:
    """Offers a connection at a port of its choice, and cannot dial itself."""
    await receive_message(stream, DirectRequest)
    certificate = Credentials.create().certificate.hex()
    await send_message(stream, DirectOffer(certificate=certificate, token=new_token(), port_ip4=PORT, port_ip6=PORT))
    await receive_message(stream, CallBack)
    await send_message(stream, DirectRefusal())


async def nowhere(stream: Stream) -> Places | None:
    """What a relay that is not to be believed sees."""
    return None


def dialled_by_one_whose_peer_is_at(host: IpAddress | None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The places that a node dials to reach a peer, which libp2p reaches at `host`; None: through others only."""
    places: list[tuple[str, int]] = []

    async def dial(host: IpAddress, port: int, dial_credentials: DialCredentials) -> SealedWire:
        places.append((str(host), port))
        raise NoDirectConnectionError("not now")

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        await bob.serve(PROTOCOL, offer_a_port)
        await alice.connect(bob.addresses[0])
        sight = Sight(lambda stream: host, nowhere)
        negotiation = Negotiation(alice, HandlerTasks(), sight=sight, on_direct=lambda connection: connection.end())
        monkeypatch.setattr(negotiation._dialler, "dial", dial)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        with pytest.raises(NoDirectConnectionError):
            await negotiation.negotiate(stream)
        stream.abort()

    run_on("virtual", scenario)
    return places


def test_a_node_is_dialled_at_the_host_where_libp2p_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    places = dialled_by_one_whose_peer_is_at(ipaddress.ip_address("203.0.113.7"), monkeypatch)
    assert places == [("203.0.113.7", PORT)]


def test_where_libp2p_is_not_connected_to_it_directly_nobody_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dialled_by_one_whose_peer_is_at(None, monkeypatch) == []


def dialled_by_one_that_is_to_call_back(
    host: IpAddress | None, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, int]]:
    """The places that a node dials that somebody, whom libp2p reaches at `host`, asks to call back."""
    places: list[tuple[str, int]] = []

    async def dial(host: IpAddress, port: int, dial_credentials: DialCredentials) -> SealedWire:
        places.append((str(host), port))
        raise NoDirectConnectionError("not now")

    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        sight = Sight(lambda stream: host, nowhere)
        asked = Negotiation(bob, HandlerTasks(), sight=sight, on_direct=lambda connection: connection.end())
        monkeypatch.setattr(asked._dialler, "dial", dial)
        monkeypatch.setattr(asked._acceptor, "ports", {4: PORT})
        await bob.serve(PROTOCOL, asked.offer)
        await alice.connect(bob.addresses[0])
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        await send_message(stream, DirectRequest(certificate=Credentials.create().certificate.hex()))
        await receive_message(stream, DirectOffer)
        await send_message(stream, CallBack(port_ip4=PORT, port_ip6=PORT))
        await receive_message(stream, DirectRefusal)
        stream.abort()

    run_on("virtual", scenario)
    return places


def test_who_asks_to_be_called_back_is_called_where_libp2p_reaches_it_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = ipaddress.ip_address("203.0.113.7")
    assert dialled_by_one_that_is_to_call_back(host, monkeypatch) == [("203.0.113.7", PORT)]
    assert dialled_by_one_that_is_to_call_back(None, monkeypatch) == []
