"""Invites and credentials count only as their makers have signed them, and have one form only."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.tokens import (
    CREDENTIAL_BYTES,
    INVITE_BYTES,
    NEVER,
    Authority,
    Credential,
    Invite,
    new_seed,
)
from tests.swarm.founders import Founder, changed

ALICE, BOB = PeerId("alice"), PeerId("bob")
FOUNDER = Founder()
LINK = FOUNDER.link()


def test_a_peer_makes_its_credential_itself_and_everybody_can_check_it() -> None:
    credential = LINK.credential(ALICE)
    assert credential.is_of(ALICE, FOUNDER.swarm)
    assert not credential.is_of(BOB, FOUNDER.swarm)
    assert not credential.is_of(ALICE, Founder().swarm)
    encoded = credential.encode()
    assert len(encoded) == CREDENTIAL_BYTES
    assert Credential.decode(encoded) == credential


@pytest.mark.parametrize("field", ["key", "not_before_s", "not_after_s", "uses", "role", "origin", "swarm"])
def test_whoever_changes_a_field_breaks_the_signature(field: str) -> None:
    other = {"uses": 6, "role": "helper", "not_before_s": 0, "not_after_s": NEVER}.get(field, b"x" * 32)
    assert LINK.invite.is_of(FOUNDER.swarm)
    assert not changed(LINK.credential(ALICE), **{field: other}).is_of(ALICE, FOUNDER.swarm)


def test_who_signs_with_another_key_is_not_believed() -> None:
    stranger = Authority(new_seed())
    invite = dataclasses.replace(
        stranger.invite(LINK.invite.key, not_before_s=0, not_after_s=1, uses=1, role="trainer")
    )
    claimed = dataclasses.replace(invite, swarm=FOUNDER.swarm)
    assert not claimed.is_of(FOUNDER.swarm)
    assert not Credential.of(ALICE, LINK.invite, new_seed()).is_of(ALICE, FOUNDER.swarm)


def test_what_the_authority_gives_a_peer_is_the_same_each_time_and_does_not_expire() -> None:
    given = FOUNDER.authority.credential_for(ALICE)
    assert given == FOUNDER.authority.credential_for(ALICE)
    assert given != FOUNDER.authority.credential_for(BOB)
    assert given.is_of(ALICE, FOUNDER.swarm)
    assert not given.is_of(BOB, FOUNDER.swarm)
    assert not given.invite.expires
    assert FOUNDER.authority.credential_for(ALICE, origin=LINK.invite.key).invite.origin == LINK.invite.key


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(INVITE_BYTES - 1),
        bytes(INVITE_BYTES + 1),
        bytes(INVITE_BYTES),
        b"\x02" + LINK.invite.encode()[1:],
        LINK.invite.encode()[:97] + (NEVER + 1).to_bytes(8, "big") * 2 + LINK.invite.encode()[113:],
        LINK.invite.encode()[:113] + b"\x00\x00" + LINK.invite.encode()[115:],
        LINK.invite.encode()[:113] + b"\xff\xff" + LINK.invite.encode()[115:],
        LINK.invite.encode()[:115] + b"\x03" + LINK.invite.encode()[116:],
    ],
)
def test_what_nobody_would_have_written_is_not_read(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"invite|cannot be"):
        Invite.decode(data)


@given(st.binary(max_size=2 * CREDENTIAL_BYTES) | st.binary(min_size=CREDENTIAL_BYTES, max_size=CREDENTIAL_BYTES))
def test_any_bytes_are_a_credential_in_one_form_or_none(data: bytes) -> None:
    try:
        credential = Credential.decode(data)
    except ValueError:
        return
    assert credential.encode() == data
    assert not credential.is_of(ALICE, FOUNDER.swarm)
