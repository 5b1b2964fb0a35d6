"""How an attempt can end: what several failures come to and whom they blame, and where members of a round stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId, StreamClosedError
from gossiptrain.swarm.attempt import (
    FAILURES,
    Blame,
    GoneError,
    HaltedError,
    LinkFailedError,
    Outcome,
    Standing,
    Standings,
    blaming,
)
from gossiptrain.swarm.coding import UnreadableError

A, B, C = (PeerId(name) for name in "abc")
found = st.lists(st.tuples(st.sampled_from("abc").map(PeerId), st.sampled_from(Standing)))


def outcome_of(*failures: Exception) -> Outcome:
    """As an exchange does it: all that was raised comes in groups."""
    blame = Blame()
    try:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", failures[:1]), *failures[1:]])
    except* FAILURES as found:
        blame.add(found)
    return blame.outcome(bytes_sent=7)


def test_who_surely_failed_is_suspected_and_who_may_have_waited_is_only_waited_for() -> None:
    outcome = outcome_of(LinkFailedError(B, surely=True), LinkFailedError(A, surely=False))
    assert not outcome.finished
    assert outcome.suspects == (B,)
    assert outcome.waited_for == (A,)
    assert outcome.bytes_sent == 7


def test_who_is_gone_is_suspected_too_and_not_waited_for() -> None:
    found = {B: Standing.ELSEWHERE, A: Standing.SILENT}
    outcome = outcome_of(LinkFailedError(A, surely=False), LinkFailedError(C, surely=False), GoneError(found))
    assert outcome.suspects == (A, B)
    assert outcome.waited_for == (C,)
    assert outcome.gone == found


def test_that_values_were_unreadable_or_the_leader_stopped_it_blames_nobody() -> None:
    unreadable, halted = outcome_of(UnreadableError()), outcome_of(HaltedError())
    assert unreadable.unreadable
    assert not halted.unreadable
    assert unreadable.suspects == halted.suspects == unreadable.waited_for == halted.waited_for == ()


def test_errors_of_this_program_are_not_taken_for_failures_of_others() -> None:
    with pytest.raises(ExceptionGroup):
        outcome_of(HaltedError(), ZeroDivisionError())


@pytest.mark.parametrize("error", [StreamClosedError("x"), TimeoutError()])
def test_a_link_that_breaks_or_stands_still_is_half_the_blame(error: Exception) -> None:
    with pytest.raises(LinkFailedError) as failure, blaming(A):
        raise error
    assert failure.value.peer == A
    assert not failure.value.surely


@given(found)
def test_each_member_stands_where_the_strongest_evidence_puts_it(found: list[tuple[PeerId, Standing]]) -> None:
    standings = Standings()
    for peer, standing in found:
        standings.note([peer], standing)
    assert standings.gone == {peer for peer, _ in found}
    for standing in Standing:
        strongest = {peer for peer in standings.gone if max(s for p, s in found if p == peer) == standing}
        assert standings.those(standing) == strongest


@given(found, found)
def test_in_which_order_it_is_found_out_does_not_matter(
    some: list[tuple[PeerId, Standing]], more: list[tuple[PeerId, Standing]]
) -> None:
    one, other = Standings(), Standings()
    for standings, order in ((one, [*some, *more]), (other, [*more, *some])):
        for peer, standing in order:
            standings.update({peer: standing})
    assert all(one.those(standing) == other.those(standing) for standing in Standing)
