"""What several failures at once come to, and whom they blame."""

from __future__ import annotations

import pytest

from gossiptrain.net.transport import PeerId, StreamClosedError
from gossiptrain.swarm.attempt import Outcome
from gossiptrain.swarm.blame import FAILURES, Blame, GoneError, HaltedError, LinkFailedError, blaming
from gossiptrain.swarm.coding import UnreadableError
from gossiptrain.swarm.standing import Standing

A, B, C = (PeerId(name) for name in "abc")


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
