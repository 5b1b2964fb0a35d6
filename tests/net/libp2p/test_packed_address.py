"""The bytes of addresses, as libp2p defines them."""

from __future__ import annotations

import pytest

from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.hivemind_names import Multiaddr
from gossiptrain.net.libp2p.packed_address import address_text, packed_address, readable_texts

ID = "12D3KooWSmaZQPPpZee7qR5fQ34FRrh4Yf1VkBHDFH1CyyLBxvXp"


@pytest.mark.parametrize("place", ["/ip4/203.0.113.7/tcp/4001", "/ip6/::1/tcp/1", "/dns4/example.org/tcp/4011"])
def test_an_address_without_a_peer_is_packed_as_usual(place: str) -> None:
    assert packed_address(place) == Multiaddr(place).to_bytes()


def test_the_peer_on_the_way_is_packed_as_its_bare_identity() -> None:
    found = packed_address(f"/ip4/1.2.3.4/tcp/4001/p2p/{ID}/p2p-circuit")
    place, code, length, identity, circuit = found[:8], found[8:10], found[10], found[11:49], found[49:]
    assert place == bytes([0x04, 1, 2, 3, 4, 0x06, 0x0F, 0xA1])
    assert code == bytes([0xA5, 0x03])
    assert length == len(identity) == 38
    assert identity[:6] == bytes([0x00, 0x24, 0x08, 0x01, 0x12, 0x20]), "a protobuf with the public key, not hashed"
    assert circuit == bytes([0xA2, 0x02])


def test_what_was_packed_is_read_again() -> None:
    for _ in range(20):
        place = f"/ip4/1.2.3.4/tcp/4001/p2p/{Identity.generate().peer_id}/p2p-circuit"
        assert str(Multiaddr(packed_address(place))) == place


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/ip4/1.2.3.4/tcp/4001/p2p/0OIl", "Invalid character"),
        ("/nonsense/1", "Unknown Protocol"),
        ("/ip4/1.2.3.4/tcp", "requires address"),
    ],
)
def test_what_libp2p_cannot_read_is_refused(place: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        packed_address(place)


@pytest.mark.parametrize(
    "packed", [b"\x80", b"\xa5\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff" * 1025, b"\x7f\x01"]
)
def test_bytes_that_are_no_address_are_refused_and_passed_over_among_others(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"no address|more than any|varint|Invalid|Unknown|Protocol|binary"):
        address_text(packed)
    assert list(readable_texts([packed, packed_address("/ip4/1.2.3.4/tcp/1"), packed])) == ["/ip4/1.2.3.4/tcp/1"]
