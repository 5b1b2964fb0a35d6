"""The list of those who were thrown out: signed, growing, and of one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.revocations import LIMIT_BYTES, MOST_ENTRIES, Revocations
from gossiptrain.swarm.access.tokens import digest_of
from tests.swarm.founders import Founder

ALICE, BOB = PeerId("alice"), PeerId("bob")
FOUNDER = Founder()
LINK = FOUNDER.link()


def test_peers_and_invites_are_named_and_each_list_is_newer() -> None:
    first = FOUNDER.revoking(digest_of(ALICE))
    second = FOUNDER.revoking(LINK.invite.key, before=first)
    assert (first.serial, second.serial) == (1, 2)
    assert first.is_of(FOUNDER.swarm)
    assert second.is_of(FOUNDER.swarm)
    assert not second.is_of(Founder().swarm)
    assert second.names(ALICE, None)
    assert not first.names(BOB, LINK.invite)
    assert second.names(BOB, LINK.invite)
    given_instead = FOUNDER.authority.credential_for(BOB, origin=LINK.invite.key)
    assert second.names(BOB, given_instead.invite)
    assert Revocations.decode(second.encode()) == second


def test_a_list_that_was_changed_is_not_believed() -> None:
    encoded = bytearray(FOUNDER.revoking(digest_of(ALICE)).encode())
    encoded[40] ^= 1
    assert not Revocations.decode(bytes(encoded)).is_of(FOUNDER.swarm)


def test_a_list_has_room_for_so_many_and_no_more() -> None:
    full = FOUNDER.revoking(*(digest_of(PeerId(str(number))) for number in range(MOST_ENTRIES)))
    assert len(full.encode()) == LIMIT_BYTES
    assert Revocations.decode(full.encode()) == full
    with pytest.raises(ValueError, match="room for 120"):
        FOUNDER.revoking(digest_of(ALICE), before=full)


def test_only_the_one_order_is_read() -> None:
    two = FOUNDER.revoking(digest_of(ALICE), digest_of(BOB))
    encoded = two.encode()
    head, entries, signature = encoded[:43], encoded[43:-64], encoded[-64:]
    with pytest.raises(ValueError, match="not in order"):
        Revocations.decode(head + entries[32:] + entries[:32] + signature)
    with pytest.raises(ValueError, match="not in order"):
        Revocations.decode(head + entries[:32] * 2 + signature)


@given(st.binary(max_size=LIMIT_BYTES + 1))
def test_any_bytes_are_a_list_in_one_form_or_none(data: bytes) -> None:
    try:
        found = Revocations.decode(data)
    except ValueError:
        return
    assert found.encode() == data
    assert not found.is_of(FOUNDER.swarm)
