"""A trainer's word counts for a few of its usual periods."""

from __future__ import annotations

import pytest

from gossiptrain.node.forecast import PERIODS, PROGRESS_S, REMEMBERED_GAPS, Forecast


def after_words_every(period_s: float, count: int = 20) -> tuple[Forecast, float]:
    """A forecast, and when the last word came."""
    forecast = Forecast()
    for number in range(count):
        forecast.heard(number * period_s)
    return forecast, (count - 1) * period_s


def test_before_its_first_word_a_trainer_is_not_late() -> None:
    assert not Forecast().is_stale(1000.0)


@pytest.mark.parametrize("period_s", [0.01, PROGRESS_S])
def test_a_trainer_with_short_steps_is_believed_for_three_periods(period_s: float) -> None:
    forecast, last_s = after_words_every(period_s)
    assert not forecast.is_stale(last_s + PERIODS * PROGRESS_S - 0.01)
    assert forecast.is_stale(last_s + PERIODS * PROGRESS_S + 0.01)


@pytest.mark.parametrize("period_s", [2.0, 30.0])
def test_one_with_long_steps_is_believed_for_as_many_steps_soon(period_s: float) -> None:
    forecast, last_s = after_words_every(period_s)
    assert not forecast.is_stale(last_s + 2.9 * period_s)
    assert forecast.is_stale(last_s + 3.1 * period_s)


def test_with_its_next_word_it_is_believed_again() -> None:
    forecast, last_s = after_words_every(PROGRESS_S)
    assert forecast.is_stale(last_s + 60.0)
    forecast.heard(last_s + 60.0)
    assert not forecast.is_stale(last_s + 61.0)


def test_having_been_stopped_once_does_not_make_it_believed_for_long() -> None:
    forecast, last_s = after_words_every(PROGRESS_S, count=REMEMBERED_GAPS)
    forecast.heard(last_s + 600.0)
    assert forecast.is_stale(last_s + 600.0 + PERIODS * PROGRESS_S + 0.01)
