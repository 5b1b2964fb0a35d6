"""When a round is due: after so many steps or seconds, whichever comes first, and how long until then."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.config import GossipSettings
from gossiptrain.training.pacing import RECENT_S, RETRY_S, EndForecast, Pace


def pace(*, every_steps: int | None = None, every_seconds: float | None = None, now_s: float = 0.0) -> Pace:
    return Pace(GossipSettings(every_steps=every_steps, every_seconds=every_seconds), now_s=now_s)


def after_steps(count: int, *, seconds_each: float = 0.1, every_steps: int | None = None) -> tuple[Pace, float]:
    """A pace that has seen so many steps of equal length, and the time at which the last one ended."""
    counted = pace(every_steps=every_steps)
    for number in range(1, count + 1):
        counted.step_done(number * seconds_each)
    return counted, count * seconds_each


def test_a_round_is_due_after_so_many_steps() -> None:
    counted, now_s = after_steps(9, every_steps=10)
    assert not counted.is_due(now_s)
    counted.step_done(now_s + 0.1)
    assert counted.is_due(now_s + 0.1)


def test_a_round_is_due_after_so_many_seconds_however_few_steps_were_made() -> None:
    counted = pace(every_seconds=5.0, now_s=100.0)
    assert not counted.is_due(104.9)
    assert counted.is_due(105.0)


@pytest.mark.parametrize(("steps", "now_s"), [(10, 1.0), (1, 5.0)])
def test_with_both_set_whichever_comes_first_counts(steps: int, now_s: float) -> None:
    counted = pace(every_steps=10, every_seconds=5.0)
    for _ in range(steps):
        counted.step_done(now_s)
    assert counted.is_due(now_s)


def test_the_forecast_is_unknown_until_a_step_was_made() -> None:
    assert pace(every_steps=10).due_in_s(3.0) is None
    assert pace(every_seconds=10.0).due_in_s(3.0) == 7.0


@given(st.integers(1, 50), st.integers(0, 60), st.floats(0.001, 10.0))
@settings(deadline=None, max_examples=100)
def test_the_forecast_is_the_steps_that_are_left_at_the_speed_of_the_steps_so_far(
    every_steps: int, made: int, seconds_each: float
) -> None:
    counted, now_s = after_steps(made, seconds_each=seconds_each, every_steps=every_steps)
    forecast_s = counted.due_in_s(now_s)
    if made == 0:
        assert forecast_s is None
    else:
        assert forecast_s == pytest.approx(max(0, every_steps - made) * seconds_each, rel=1e-6)


@given(st.floats(0.1, 100.0), st.floats(0.0, 300.0))
@settings(deadline=None, max_examples=100)
def test_a_round_is_due_exactly_when_the_forecast_is_zero(every_seconds: float, now_s: float) -> None:
    counted = pace(every_seconds=every_seconds)
    forecast_s = counted.due_in_s(now_s)
    assert forecast_s is not None
    assert forecast_s >= 0.0
    assert counted.is_due(now_s) == (forecast_s == 0.0)


def test_a_slower_step_moves_the_forecast_towards_it() -> None:
    counted, now_s = after_steps(5, seconds_each=1.0, every_steps=100)
    before_s = counted.due_in_s(now_s)
    counted.step_done(now_s + 3.0)
    after_s = counted.due_in_s(now_s + 3.0)
    assert before_s == pytest.approx(95 * 1.0)
    assert after_s == pytest.approx(94 * 1.2)


def test_after_a_committed_round_counting_starts_again() -> None:
    counted, now_s = after_steps(12, every_steps=10)
    counted.round_committed(0, now_s)
    assert not counted.is_due(now_s)
    assert counted.due_in_s(now_s) == pytest.approx(10 * 0.1)
    timed = pace(every_seconds=5.0)
    timed.round_committed(0, 5.0)
    assert timed.due_in_s(7.0) == 3.0


@given(st.integers(1, 100), st.integers(0, 30), st.integers(0, 400))
@settings(deadline=None, max_examples=100)
def test_rounds_are_as_far_apart_as_they_are_meant_to_be_or_a_third_longer_than_they_take(
    every_steps: int, waited: int, during: int
) -> None:
    """From group to group, with a step each second; `waited` for the group, the round then takes `during` steps."""
    counted, now_s = after_steps(every_steps + waited, seconds_each=1.0, every_steps=every_steps)
    timed = pace(every_seconds=float(every_steps))
    for each in (counted, timed):
        each.group_found(now_s)
    for _ in range(during):
        now_s += 1.0
        counted.step_done(now_s)
    for each in (counted, timed):
        each.round_committed(0, now_s)
    apart = max(every_steps, 4 / 3 * during)
    assert timed.due_in_s(now_s) == pytest.approx(apart - during)
    assert counted.due_in_s(now_s) == pytest.approx(apart - during)


def test_a_group_that_came_to_nothing_is_forgotten() -> None:
    timed = pace(every_seconds=5.0)
    timed.group_found(5.0)
    timed.round_failed(6.0)
    timed.round_committed(0, 8.0)
    assert timed.due_in_s(8.0) == 5.0


def test_after_a_failed_round_the_next_try_waits_a_moment_and_no_longer() -> None:
    counted, now_s = after_steps(10, every_steps=10)
    counted.round_failed(now_s)
    assert not counted.is_due(now_s)
    assert not counted.is_due(now_s + 0.9 * RETRY_S)
    assert counted.is_due(now_s + RETRY_S)


def test_a_peer_that_wants_to_merge_makes_the_round_due_at_once() -> None:
    counted, now_s = after_steps(1, every_steps=1000)
    counted.request_round_now(3)
    assert counted.is_due(now_s)
    assert counted.due_in_s(now_s) == 0.0


def test_a_request_for_a_round_is_over_after_that_round_or_one_try() -> None:
    for number, is_due in ((2, True), (3, False), (4, False)):
        counted, now_s = after_steps(1, every_steps=1000)
        counted.request_round_now(3)
        counted.round_committed(number, now_s)
        assert counted.is_due(now_s + RETRY_S) == is_due
    counted, now_s = after_steps(1, every_steps=1000)
    counted.request_round_now(3)
    counted.round_failed(now_s)
    assert not counted.is_due(now_s + RETRY_S)


def test_rounds_with_a_fragment_follow_each_other_more_quickly() -> None:
    counted = Pace(GossipSettings(every_steps=20), now_s=0.0, fragments=4)
    timed = Pace(GossipSettings(every_seconds=20.0), now_s=0.0, fragments=4)
    for step in range(1, 6):
        assert not counted.is_due(step - 1.0)
        counted.step_done(float(step))
        timed.step_done(float(step))
    assert counted.is_due(5.0)
    assert timed.is_due(5.0)
    assert counted.usual_steps == timed.usual_steps == 5.0
    often = Pace(GossipSettings(every_steps=2), now_s=0.0, fragments=8)
    assert often.usual_steps == 1.0, "no more than one in a step"


def test_one_long_step_changes_nothing_of_how_many_are_usual_between_rounds() -> None:
    """As where a model is evaluated, for longer than two rounds are apart."""
    timed = pace(every_seconds=5.0)
    now_s = 0.0
    for number in range(3):
        for _ in range(50):
            now_s += 0.1
            timed.step_done(now_s)
        timed.round_committed(number, now_s)
    timed.step_done(now_s + 20.0)
    assert timed.usual_steps == pytest.approx(50.0)
    timed.round_committed(3, now_s + 20.0)
    assert timed.usual_steps == pytest.approx(50.0)


def test_another_speed_is_the_usual_one_after_some_rounds() -> None:
    timed = pace(every_seconds=10.0)
    assert timed.usual_steps is None
    now_s = 0.0
    for number, seconds_each in enumerate([0.1] * 5 + [0.5] * 3):
        for _ in range(20):
            now_s += seconds_each
            timed.step_done(now_s)
        assert timed.usual_steps == pytest.approx(100.0)
        timed.round_committed(number, now_s)
    assert timed.usual_steps == pytest.approx(20.0)


def test_steps_of_another_process_say_nothing_of_the_speed() -> None:
    timed = pace(every_seconds=10.0)
    timed.resume(1000)
    timed.step_done(1.0)
    assert timed.usual_steps == pytest.approx(10.0)


# The last step.


def test_the_end_is_forecast_by_the_time_that_steps_take() -> None:
    forecast = EndForecast(now_s=10.0)
    found_s = [forecast.left_s(made=made, left=100 - made, now_s=10.0 + 0.5 * made) for made in (1, 10, 40, 99)]
    assert found_s == pytest.approx([49.5, 45.0, 30.0, 0.5])


def test_steps_that_were_slow_long_ago_say_little_of_the_end() -> None:
    """As on a computer that was busy until now; whoever ends within the grace of others is waited for."""
    forecast = EndForecast(now_s=0.0)
    for made in range(1, 31):
        slow_s = forecast.left_s(made=made, left=200 - made, now_s=1.0 * made)
    assert slow_s == pytest.approx(170.0)
    for made in range(31, 131):
        fast_s = forecast.left_s(made=made, left=200 - made, now_s=30.0 + (made - 30) / 50)
    assert fast_s == pytest.approx(70 / 50, rel=0.05)


def test_a_pause_of_late_does_not_put_the_end_off() -> None:
    forecast = EndForecast(now_s=0.0)
    for made in range(1, 101):
        forecast.left_s(made=made, left=200 - made, now_s=0.1 * made)
    assert forecast.left_s(made=101, left=99, now_s=10.0 + 5 * RECENT_S) == pytest.approx(99 * 20.0 / 101)
