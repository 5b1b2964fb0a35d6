"""How long the command line's trainer waits for others at its end."""

from __future__ import annotations

import pytest

from gossiptrain.training.last_rounds import grace_after


@pytest.mark.parametrize(
    ("trained_s", "longest_s"),
    [
        pytest.param(0.0, 30.0, id="of no time at all"),
        pytest.param(120.0, 30.0, id="short"),
        pytest.param(450.0, 45.0, id="of minutes"),
        pytest.param(86400.0, 60.0, id="of a day"),
    ],
)
def test_who_says_when_it_ends_is_waited_for_by_a_tenth_of_the_training_and_within_bounds(
    trained_s: float, longest_s: float
) -> None:
    assert grace_after(trained_s, ending_time_s=10.0).longest_s == pytest.approx(longest_s)


@pytest.mark.parametrize("ending_time_s", [0.0, 10.0, 600.0])
def test_who_cannot_say_when_it_ends_is_waited_for_as_long_as_the_setting_says(ending_time_s: float) -> None:
    assert grace_after(3600.0, ending_time_s=ending_time_s).unknown_s == ending_time_s


def test_the_setting_may_be_longer_than_all_bounds() -> None:
    assert grace_after(60.0, ending_time_s=600.0).longest_s == 600.0
