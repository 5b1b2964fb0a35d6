"""The fewest faults with which a run fails are found in few runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.simulate.swarms.shrink import smallest


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=3))
def test_exactly_those_that_are_needed_together_are_kept(count: int, needed: set[int]) -> None:
    needed = {number for number in needed if number < count}
    assert set(smallest(range(count), needed.issubset, most_runs=1000)) == needed


def test_one_of_many_is_found_in_a_few_runs() -> None:
    runs: list[tuple[int, ...]] = []

    def fails(part: tuple[int, ...]) -> bool:
        runs.append(part)
        return 17 in part

    assert smallest(range(32), fails) == (17,)
    assert len(runs) < 16
    assert len(set(runs)) == len(runs)


def test_where_runs_are_used_up_what_is_left_still_fails() -> None:
    asked: list[tuple[int, ...]] = []

    def fails(part: tuple[int, ...]) -> bool:
        asked.append(part)
        return {3, 28} <= set(part)

    assert {3, 28} <= set(smallest(range(32), fails, most_runs=5))
    assert len(asked) <= 5
