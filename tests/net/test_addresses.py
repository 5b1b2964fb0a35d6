"""Addresses that people type, and those to hand out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import (
    join_addresses,
    parse_announce_address,
    parse_dial_address,
    parse_listen_address,
    readable_addresses,
)
from gossiptrain.net.identity import encode_base58
from gossiptrain.net.libp2p.hivemind_names import Multiaddr, PeerID
from gossiptrain.net.transport import PeerId

PEER = PeerId("12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY")
RELAY = PeerId("12D3KooWKki5XQ6hVjyiqrPGTUJxi3cfKvy3KtL7mDkdt9TPZu14")
RSA_PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


@pytest.mark.parametrize(
    "address",
    [
        f"/ip4/127.0.0.1/tcp/4011/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4011/p2p/{PEER}/",
        f"/ip6/::1/tcp/4011/p2p/{PEER}",
        f"/ip4/192.0.2.1/udp/4011/quic-v1/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/4011/ws/p2p/{PEER}",
        f"/dns4/example.org/tcp/4011/p2p/{RSA_PEER}",
        f"/dns/my-host.local/tcp/65535/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/4011/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    ],
)
def test_addresses_to_dial(address: str) -> None:
    parsed = parse_dial_address(address)
    assert parsed.peer in (PEER, RSA_PEER)
    assert parsed.relayed is ("p2p-circuit" in address)


@pytest.mark.parametrize(
    "address",
    ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/4011", "/ip6/::/tcp/4011", "/ip4/0.0.0.0/udp/4011/quic-v1"],
)
def test_addresses_to_listen_on(address: str) -> None:
    assert parse_listen_address(address).port in (0, 4011)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("", "form"),
        ("127.0.0.1:4011", "form"),
        ("ip4/127.0.0.1/tcp/4011", "form"),
        ("/ip4/127.0.0.1", "form"),
        ("/ip5/127.0.0.1/tcp/4011", "'ip5'"),
        ("/ip4/127.0.0.256/tcp/4011", "IPv4"),
        ("/ip4/localhost/tcp/4011", "IPv4"),
        ("/ip4/::1/tcp/4011", "IPv4"),
        ("/ip6/127.0.0.1/tcp/4011", "IPv6"),
        ("/ip6/fe80::1%eth0/tcp/4011", "IPv6"),
        ("/dns4/-/tcp/4011", "domain name"),
        ("/dns4/a b/tcp/4011", "domain name"),
        ("/ip4/127.0.0.1/sctp/4011", "neither tcp nor udp"),
        ("/ip4/127.0.0.1/tcp/65536", "port"),
        ("/ip4/127.0.0.1/tcp/-1", "port"),
        ("/ip4/127.0.0.1/tcp/²", "port"),
        ("/ip4/127.0.0.1/tcp/", "form"),
        ("/ip4/127.0.0.1/udp/4011", "QUIC"),
        ("/ip4/127.0.0.1/udp/4011/quic", "QUIC"),
        ("/ip4/127.0.0.1/tcp/4011/carrier-pigeon", "carrier-pigeon"),
        ("/ip4/127.0.0.1/tcp/4011/p2p", "p2p/ID"),
        ("/ip4/127.0.0.1/tcp/4011/p2p/x/y", "p2p/ID"),
        ("/ip4/127.0.0.1/tcp/4011/p2p/nobody", "'nobody'"),
        (f"/ip4/127.0.0.1/tcp/4011/p2p/{PEER[:-1]}", "id of a peer"),
        (f"/ip4/127.0.0.1/tcp/4011/p2p/bad/p2p-circuit/p2p/{PEER}", "'bad'"),
        ("/" + "a" * 600, "too long"),
    ],
)
def test_every_fault_is_named(address: str, fault: str) -> None:
    for parse in (parse_dial_address, parse_listen_address, parse_announce_address):
        with pytest.raises(AddressError, match=fault) as caught:
            parse(address)
        assert "looks like /ip4/" in caught.value.remedy


def test_dialling_needs_to_know_the_peer() -> None:
    with pytest.raises(AddressError, match=r"/p2p/ID is missing") as caught:
        parse_dial_address("/ip4/192.0.2.1/tcp/4011")
    assert "/ip4/192.0.2.1/tcp/4011/p2p/12D3KooW..." in caught.value.remedy
    for place, fault in (("/ip4/0.0.0.0/tcp/4011", "every address"), ("/ip4/192.0.2.1/tcp/0", "port 0")):
        with pytest.raises(AddressError, match=fault):
            parse_dial_address(f"{place}/p2p/{PEER}")


def test_listening_and_announcing_have_their_own_rules() -> None:
    with pytest.raises(AddressError, match="not on a name"):
        parse_listen_address("/dns4/example.org/tcp/4011")
    with pytest.raises(AddressError, match="adds its own"):
        parse_listen_address(f"/ip4/0.0.0.0/tcp/4011/p2p/{PEER}")
    with pytest.raises(AddressError, match="real port"):
        parse_announce_address("/ip4/203.0.113.7/tcp/0")
    assert parse_announce_address("/dns4/example.org/tcp/4011").port == 4011


@pytest.mark.parametrize("name", ["my_host", "a.my_host.org", "example.org.", "-a", "a-", "ab--cd", "a..b", "a" * 64])
def test_names_that_libp2p_does_not_take_are_not_taken_here(name: str) -> None:
    for place, parse in (
        (f"/dns4/{name}/tcp/4011/p2p/{PEER}", parse_dial_address),
        (f"/dns4/{name}/tcp/4011", parse_announce_address),
    ):
        with pytest.raises(AddressError, match="domain name"):
            parse(place)


def test_a_peer_does_not_live_at_many_computers() -> None:
    with pytest.raises(AddressError, match="many computers"):
        parse_dial_address(f"/ip4/224.0.0.1/tcp/4011/p2p/{PEER}")


_LABELS = st.text("aZ09-_.xn", min_size=1, max_size=66)
_HOSTS = (
    st.tuples(st.just("ip4"), st.ip_addresses(v=4).map(str))
    | st.tuples(st.just("ip6"), st.ip_addresses(v=6).map(str) | st.just("::ffff:1.2.3.4"))
    | st.tuples(st.sampled_from(["dns", "dns4", "dns6"]), st.lists(_LABELS, min_size=1, max_size=4).map(".".join))
    | st.tuples(st.sampled_from(["ip4", "ip6", "dns4"]), st.text(min_size=1, max_size=20))
)
_UPPER = st.sampled_from(
    ["tcp/4011", "tcp/0/ws", "udp/4011/quic-v1", "tcp/00080", "tcp/80/", "udp/80", "tcp/65536", "tcp/٣", "tcp/80/tls"]
)
_MULTIHASHES = st.binary(min_size=1, max_size=42).map(lambda key: bytes([0, len(key)]) + key) | st.binary(
    min_size=32, max_size=32
).map(lambda digest: b"\x12\x20" + digest)
_IDS = st.sampled_from([PEER, RSA_PEER]) | _MULTIHASHES.map(encode_base58)
_TAILS = st.just("") | _IDS.map("/p2p/{}".format) | _IDS.map(f"/p2p/{RELAY}/p2p-circuit/p2p/{{}}".format)


@given(_HOSTS, _UPPER, _TAILS)
@settings(max_examples=300)
def test_whatever_is_taken_here_libp2p_takes_as_well(host: tuple[str, str], upper: str, tail: str) -> None:
    text = f"/{host[0]}/{host[1]}/{upper}{tail}"
    for address in readable_addresses([text]):
        assert str(Multiaddr(Multiaddr(address.text).to_bytes()))
        place = Multiaddr(address.place).to_bytes()
        assert Multiaddr(address.text).to_bytes().startswith(place)
        if address.peer is not None:
            assert PeerID.from_base58(address.peer).to_base58() == address.peer


@given(
    st.text(max_size=60) | st.lists(st.sampled_from(["", "ip4", "127.0.0.1", "tcp", "80", "p2p", PEER])).map("/".join)
)
def test_no_text_does_any_other_harm(text: str) -> None:
    for parse in (parse_dial_address, parse_listen_address, parse_announce_address):
        with contextlib.suppress(AddressError):
            parse(text)


def test_addresses_are_sorted_by_who_can_use_them() -> None:
    def at(place: str) -> str:
        return f"{place}/p2p/{PEER}"

    computer = (at("/ip4/127.0.0.1/tcp/1"), at("/ip6/::1/tcp/1"))
    network = tuple(
        at(f"/{kind}/{host}/tcp/1")
        for kind, host in (
            ("ip4", "192.168.1.5"),
            ("ip4", "10.0.0.1"),
            ("ip4", "192.0.2.7"),
            ("ip4", "100.64.0.1"),
            ("ip4", "169.254.1.1"),
            ("ip6", "fe80::1"),
            ("ip6", "fd00::1"),
        )
    )
    internet = (
        at("/ip4/8.8.8.8/tcp/1"),
        at("/ip6/2606:4700::1/tcp/1"),
        at("/dns4/example.org/tcp/1"),
        at(f"/ip4/10.0.0.1/tcp/1/p2p/{RELAY}/p2p-circuit"),
    )
    exotic = at("/ip4/8.8.8.8/udp/1/quic-v1/webtransport")
    found = join_addresses((*internet, exotic, *network, *computer))
    assert found.this_computer == computer
    assert found.this_network == network
    assert found.internet == internet
    assert join_addresses(()).internet == ()
