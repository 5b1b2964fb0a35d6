"""On what grounds a leader leaves somebody out."""

from __future__ import annotations

from gossiptrain.swarm.leader import unexplained


def test_who_only_broke_off_because_of_another_is_not_blamed() -> None:
    """The link between a and b broke; both then ended their streams to c and d."""
    waits = {("a", "b"), ("b", "a"), ("c", "a"), ("c", "b"), ("d", "a"), ("d", "b")}
    assert unexplained(waits) == {("a", "b"), ("b", "a")}


def test_one_that_everybody_waits_for_is_blamed_by_all() -> None:
    waits = {("a", "d"), ("b", "d"), ("c", "d")}
    assert unexplained(waits) == waits


def test_a_chain_of_waits_begins_at_its_last_link() -> None:
    assert unexplained({("a", "b"), ("b", "c"), ("c", "d")}) == {("c", "d")}


def test_where_everybody_waits_for_another_all_count() -> None:
    circle = {("a", "b"), ("b", "c"), ("c", "a")}
    assert unexplained(circle) == circle


def test_nothing_follows_from_no_waits() -> None:
    assert unexplained(set()) == set()
