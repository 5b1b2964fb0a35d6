"""Links: short, in one form, and nothing of their secret in any message."""

from __future__ import annotations

import dataclasses

import pytest

from gossiptrain.errors import UsageError
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.link import MOST_ADDRESSES, InviteLink
from tests.swarm.founders import ADDRESS, Founder

FOUNDER = Founder()
LINK = FOUNDER.link()
TEXT = LINK.encode()
SECRET_PART = TEXT.partition("#")[2]


@pytest.mark.parametrize("run", ["run", "my run, no. 7", "läuft/../?a=#&d=", "x" * 200])
def test_a_link_is_read_as_it_was_written(run: str) -> None:
    link = dataclasses.replace(LINK, run=run, addresses=(ADDRESS, ADDRESS.replace("4011", "4012")))
    assert InviteLink.parse(f"  {link.encode()}\n") == link


def test_a_link_with_two_addresses_fits_a_qr_code_that_can_be_read_from_a_screen() -> None:
    assert len(dataclasses.replace(LINK, addresses=(ADDRESS, ADDRESS)).encode()) < 600


def test_a_helpers_link_does_not_hold_the_secret() -> None:
    link = FOUNDER.link(role="helper")
    assert link.secret == bytes(32)
    assert InviteLink.parse(link.encode()) == link
    with pytest.raises(UsageError):
        InviteLink.parse(dataclasses.replace(link, secret=FOUNDER.secret).encode())


BROKEN = {
    "empty": "",
    "an address": ADDRESS,
    "cut": TEXT[:-1],
    "without its secret": TEXT.partition("#")[0],
    "another letter": TEXT[:-20] + ("A" if TEXT[-20] != "A" else "B") + TEXT[-19:],
    "another ending of the same bytes": TEXT[:-1] + chr(ord(TEXT[-1]) + 1),
    "padded": TEXT + "=",
    "another scheme": TEXT.replace("gossip://", "https://"),
    "no address": TEXT.replace(f"&a={ADDRESS}", ""),
    "an address without an id": TEXT.replace(ADDRESS, "/ip4/127.0.0.1/tcp/4011"),
    "too many addresses": dataclasses.replace(LINK, addresses=(ADDRESS,) * (MOST_ADDRESSES + 1)).encode(),
    "endless": TEXT.replace("run", "r" * 5000),
    "two lines": TEXT.replace("#", "\n#"),
    "another spelling of the run": TEXT.replace("/run?", "/%72un?"),
    "of another authority": dataclasses.replace(
        LINK, invite=dataclasses.replace(LINK.invite, swarm=Founder().swarm)
    ).encode(),
    "another key": dataclasses.replace(LINK, seed=Founder().seed).encode(),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_link_that_was_changed_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        InviteLink.parse(text)
    assert "cannot be used" in str(refused.value)
    assert SECRET_PART[:24] not in str(refused.value)
    assert SECRET_PART[-24:] not in str(refused.value)


def test_nothing_secret_is_said_of_a_link() -> None:
    for said in (str(LINK), repr(LINK), f"{LINK}"):
        assert SECRET_PART[100:124] not in said
        for secret in (LINK.seed, LINK.secret):
            assert secret.hex() not in said
            assert repr(secret) not in said


def test_a_peer_of_the_link_has_a_credential() -> None:
    assert LINK.credential(PeerId("alice")).is_of(PeerId("alice"), FOUNDER.swarm)
