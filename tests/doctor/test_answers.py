"""What other peers say is foreign text, and what it means."""

from __future__ import annotations

import pytest

from gossiptrain.doctor.answers import Expected, is_ip, judged, no_handshake, other_version
from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.swarm.admission import Introduced
from gossiptrain.swarm.messages import Hello, KnockReply, Welcome
from tests.doctor.stage import ID

HELLO = Hello(protocol=6, run="ours", task="digits/mlp", model="ab", elements=1000, strategy="average")
OPEN = KnockReply(protocol=6, kind="open")
ADDRESS = parse_dial_address(f"/ip4/203.0.113.7/tcp/4011/p2p/{ID}")


def saying(hello: Hello) -> Introduced:
    return Introduced(OPEN, Welcome(hello=hello, accepted=False))


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        (Expected(), "ok"),
        (Expected(task="digits"), "ok"),
        (Expected(task="digits", run="ours"), "ok"),
        (Expected(task="digit"), "fault"),
        (Expected(run="theirs"), "fault"),
        (Expected(task="text", run="ours"), "fault"),
    ],
)
def test_a_run_is_compared_with_what_was_asked_for(expected: Expected, verdict: str) -> None:
    assert judged(saying(HELLO), expected).verdict == verdict


def test_a_private_swarm_is_told_from_a_fault() -> None:
    found = judged(Introduced(KnockReply(protocol=6, kind="private", refusal="kind")), Expected(run="ours"))
    assert found.verdict == "ok"
    assert "private swarm" in found.what


def test_a_peer_cannot_move_the_cursor() -> None:
    evil = HELLO.model_copy(update={"run": "a\x1b[2J\nb", "task": "\u202edigits"})
    for finding in (judged(saying(evil), Expected()), no_handshake("another peer lives there: \x1b[2J", ADDRESS)):
        assert all(letter.isprintable() for letter in finding.what + finding.remedy)


def test_an_address_with_the_right_id_is_ready_to_be_pasted() -> None:
    found = no_handshake(f"another peer lives there: {ID[:-1]}Y", ADDRESS)
    assert f"/ip4/203.0.113.7/tcp/4011/p2p/{ID[:-1]}Y" in found.remedy


def test_versions_are_told_as_far_as_they_are_known() -> None:
    assert "protocol 7" in other_version("7").what
    assert "words" in other_version("another").what


def test_what_is_no_address_is_not_taken_for_one() -> None:
    assert is_ip("203.0.113.7")
    assert is_ip("2001:db8::1")
    assert not is_ip("....")
