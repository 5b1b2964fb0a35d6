"""What a member makes of what others show: when it counts, for whom, and for how many."""

from __future__ import annotations

import pytest

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.private import ANSWER_BYTES, KNOCK_BYTES, SKEW_S, NotAdmitted, PrivateAccess
from gossiptrain.swarm.access.secret import SwarmSecret
from gossiptrain.swarm.access.tokens import NEVER, digest_of
from tests.swarm.founders import DAY_S, NOW_S, Founder

ALICE, BOB, CAROL, DAVE = PeerId("alice"), PeerId("bob"), PeerId("carol"), PeerId("dave")


def meet(caller: PrivateAccess, me: PeerId, answerer: PrivateAccess, peer: PeerId) -> None:
    """Both show what they have. Raises NotAdmitted."""
    caller.check_answer(peer, answerer.admit(me, caller.knock(peer)))


def reason_of(caller: PrivateAccess, me: PeerId, answerer: PrivateAccess, peer: PeerId) -> str:
    with pytest.raises(NotAdmitted) as refused:
        meet(caller, me, answerer, peer)
    return refused.value.reason


def test_two_that_came_with_links_let_each_other_in_without_the_founder() -> None:
    founder = Founder()
    alice, bob = founder.invited(ALICE), founder.invited(BOB)
    meet(alice, ALICE, bob, BOB)
    meet(bob, BOB, alice, ALICE)
    assert (len(alice.knock(BOB)), len(bob.admit(ALICE, alice.knock(BOB)))) == (KNOCK_BYTES, ANSWER_BYTES)


@pytest.mark.parametrize(
    ("now_s", "reason"),
    [
        (NOW_S - SKEW_S, ""),
        (NOW_S - SKEW_S - 1, "early"),
        (NOW_S + DAY_S + SKEW_S, ""),
        (NOW_S + DAY_S + SKEW_S + 1, "expired"),
    ],
)
def test_an_invite_counts_as_long_as_it_says_but_for_what_clocks_differ(now_s: int, reason: str) -> None:
    founder = Founder()
    bob = founder.own(BOB, unix_time=lambda: float(now_s))
    alice = founder.invited(ALICE)
    if reason:
        assert reason_of(alice, ALICE, bob, BOB) == reason
    else:
        meet(alice, ALICE, bob, BOB)


def test_as_many_may_come_as_the_invite_says_and_each_of_them_again() -> None:
    founder = Founder()
    bob, link = founder.invited(BOB), founder.link(uses=2)
    for peer in (ALICE, CAROL, ALICE):
        meet(founder.invited(peer, link), peer, bob, BOB)
    assert reason_of(founder.invited(DAVE, link), DAVE, bob, BOB) == "used"
    meet(founder.invited(CAROL, link), CAROL, bob, BOB)


def test_who_has_met_the_founder_is_a_member_for_good() -> None:
    founder, kept = Founder(), []
    link = founder.link(uses=1)
    alice = founder.invited(ALICE, link, keep=lambda credential, _: kept.append(credential))
    meet(alice, ALICE, founder.own(BOB), BOB)
    assert alice.credential.invite.not_after_s == NEVER
    assert alice.credential.invite.origin == link.invite.key
    assert kept == [alice.credential]
    late = founder.invited(CAROL, unix_time=lambda: float(NOW_S + 100 * DAY_S))
    meet(alice, ALICE, late, CAROL)
    # It has been counted all the same.
    elsewhere = founder.invited(DAVE)
    meet(alice, ALICE, elsewhere, DAVE)
    assert reason_of(founder.invited(CAROL, link), CAROL, elsewhere, DAVE) == "used"


def test_what_does_not_expire_is_not_replaced() -> None:
    founder = Founder()
    alice = founder.invited(ALICE, founder.forever())
    before = alice.credential
    meet(alice, ALICE, founder.own(BOB), BOB)
    assert alice.credential is before


def test_a_member_cannot_make_another_one_a_founder() -> None:
    """Whoever answers may put anything beside its credential; only what the authority has signed is taken."""
    founder, other = Founder(), Founder()
    alice, bob = founder.invited(ALICE), founder.invited(BOB)
    mine = alice.credential
    forged = other.authority.credential_for(ALICE, origin=mine.invite.key)
    context = b"answer" + digest_of(BOB) + digest_of(ALICE)
    answer = SwarmSecret(founder.secret).seal(bob.credential.encode() + forged.encode(), context)
    alice.check_answer(BOB, answer)
    assert alice.credential is mine


def test_who_was_thrown_out_is_let_in_by_nobody_who_has_heard_of_it() -> None:
    founder = Founder()
    link = founder.link()
    alice, carol, bob = founder.invited(ALICE, link), founder.invited(CAROL, link), founder.invited(BOB)
    meet(alice, ALICE, bob, BOB)
    meet(carol, CAROL, bob, BOB)
    first = founder.revoking(digest_of(ALICE))
    assert bob.learn(first.encode())
    assert (bob.is_revoked(ALICE), bob.is_revoked(CAROL)) == (True, False)
    assert reason_of(alice, ALICE, bob, BOB) == "revoked"
    second = founder.revoking(link.invite.key, before=first)
    assert bob.learn(second.encode())
    assert bob.is_revoked(CAROL)
    assert reason_of(carol, CAROL, bob, BOB) == "revoked"
    # A founder's peer gives no new credential to somebody whose invite is out.
    own = founder.own(DAVE)
    assert own.learn(second.encode())
    assert reason_of(carol, CAROL, own, DAVE) == "revoked"


def test_only_a_newer_list_of_the_same_authority_is_taken() -> None:
    founder = Founder()
    bob = founder.invited(BOB)
    first = founder.revoking(digest_of(ALICE))
    second = founder.revoking(digest_of(CAROL), before=first)
    assert bob.learn(second.encode())
    for data in (first.encode(), second.encode(), Founder().revoking(digest_of(DAVE)).encode(), b"", b"x" * 5000):
        assert not bob.learn(data)
    forged = bytearray(founder.revoking(digest_of(DAVE), before=second).encode())
    forged[-1] ^= 1
    assert not bob.learn(bytes(forged))
    assert bob.revocations == second
