"""What counts as the time that the death of a helper costs."""

from __future__ import annotations

from benchmarks.relay_loss import Loss, _loss

KILLED_S = 100.0


def test_the_first_round_after_the_kill_may_have_begun_before_and_does_not_count() -> None:
    told_s = [[99.0, 101.0, 104.0, 110.0], [99.5, 101.0, 105.0]]
    assert _loss(told_s, KILLED_S) == Loss(next_round_s=5.0, longest_gap_s=6.0)


def test_one_that_comes_to_no_round_any_more_is_not_hidden_by_the_others() -> None:
    assert _loss([[99.0, 101.0, 102.0], [99.0, 101.0]], KILLED_S) == Loss(None, None)
