"""Tables by peer have room for so many, and the oldest entries make it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.recent import Recent


@given(st.lists(st.tuples(st.integers(0, 9), st.integers()), max_size=40), st.integers(1, 8))
def test_it_holds_what_was_set_last_and_never_more_than_its_limit(entries: list[tuple[int, int]], limit: int) -> None:
    recent: Recent[int, int] = Recent(limit)
    for key, value in entries:
        recent[key] = value
        assert len(recent) <= limit
    latest_first = list(dict(reversed(entries)))
    assert list(reversed(recent)) == latest_first[:limit]
    assert all(value == dict(entries)[key] for key, value in recent.items())
