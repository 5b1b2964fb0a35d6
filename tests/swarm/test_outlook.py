"""What is to be expected of a peer some time after it has said so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.swarm.outlook import Outlook
from gossiptrain.swarm.own_heartbeat import OwnState

seconds = st.floats(0.0, 1e6)


@given(said_s=seconds, age_s=seconds)
def test_waits_pass_and_are_never_less_than_nothing(said_s: float, age_s: float) -> None:
    outlook = Outlook.of(OwnState(ready_in_s=said_s, ends_in_s=said_s), age_s=age_s)
    assert outlook.ready_in_s == outlook.ends_in_s == pytest.approx(max(0.0, said_s - age_s))


@given(age_s=seconds)
def test_who_cannot_say_when_still_cannot_say_it_later(age_s: float) -> None:
    assert Outlook.of(OwnState(), age_s=age_s) == Outlook(None, None, ended=False, finishing=False)


def test_who_is_late_has_not_ended_yet() -> None:
    late = Outlook.of(OwnState(ends_in_s=1.0), age_s=2.0)
    assert late.ends_in_s == 0.0
    assert not late.ended


@given(age_s=seconds)
def test_who_said_that_it_has_ended_has_ended(age_s: float) -> None:
    assert Outlook.of(OwnState(ends_in_s=0.0), age_s=age_s).ended
