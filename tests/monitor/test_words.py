"""Figures in words, and foreign text made harmless."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.monitor.words import (
    History,
    counted,
    data_size,
    duration,
    number,
    paths_in_words,
    percent,
    printable,
    short_peer,
    sparkline,
)
from tests.monitor.stream import HOSTILE


@given(st.text(max_size=300), st.integers(1, 100))
@settings(deadline=None, max_examples=100)
def test_foreign_text_becomes_one_short_line_that_controls_nothing(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
    assert len(shown.splitlines()) <= 1
    assert printable(shown, limit) == shown


def test_what_can_be_seen_stays_and_what_cannot_leaves_a_mark() -> None:
    assert printable("grün 学習 [red]") == "grün 学習 [red]"
    assert printable(HOSTILE) == "�[2J�]0;owned�[red]bold[/red]�abc  "
    assert printable("abcdef", 4) == "abc…"


def test_peers_are_told_apart_by_the_end_of_their_id() -> None:
    assert short_peer("12D3KooWabcdefghij") == "…efghij"
    assert short_peer("alice") == "alice"
    assert short_peer("x" * 10_000 + "\n") == "…xxxxx…"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(0.41234), "0.4123"),
        (number(0.8, 3), "0.800"),
        (number(99.96, 3), "100"),
        (number(5123.4, 3), "5,123"),
        (number(1e300), "1.000e+300"),
        (number(math.nan), "–"),
        (number(None), "–"),
        (percent(0.912), "91.2 %"),
        (percent(1.0), "100.0 %"),
        (percent(0.0042), "0.42 %"),
        (percent(0.0), "0.0 %"),
        (percent(math.inf), "–"),
        (percent(None), "–"),
        (data_size(0), "0 B"),
        (data_size(999), "999 B"),
        (data_size(1_000), "1.0 kB"),
        (data_size(421_000), "421 kB"),
        (data_size(999_900), "1.0 MB"),
        (data_size(34_200_000), "34.2 MB"),
        (data_size(2**63), "9223 PB"),
        (duration(0.183), "183 ms"),
        (duration(0.9999), "1.0 s"),
        (duration(12.34), "12.3 s"),
        (duration(59.99), "1:00 min"),
        (duration(75), "1:15 min"),
        (duration(7300), "2:01 h"),
        (duration(1e300), "–"),
        (duration(-1), "–"),
        (duration(None), "–"),
        (counted(1, "peer"), "1 peer"),
        (counted(1200, "round"), "1,200 rounds"),
    ],
)
def test_figures_read_well(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.floats() | st.none())
@settings(deadline=None, max_examples=100)
def test_any_figure_is_short(value: float | None) -> None:
    for shown in (number(value), percent(value), duration(value)):
        assert 1 <= len(shown) <= 16


def test_a_sparkline_rises_and_falls_with_its_values() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], width=8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"
    assert sparkline([3, 3, 3], width=10) == "▁▁▁"
    assert sparkline([], width=10) == ""
    assert sparkline([1, 2], width=0) == ""
    assert sparkline([1, 10, 100], width=3, logarithmic=True) == "▁▅█"  # On a plain scale ten would look like one.
    assert sparkline([0, 1], width=2, logarithmic=True) == "▁█"


def test_the_history_of_a_long_run_stays_short_and_keeps_its_course() -> None:
    history = History(capacity=16)
    for value in range(1000):
        history.append(value)
    assert 8 <= len(history.values) <= 16
    assert history.values == sorted(history.values)
    assert history.values[0] < 100
    assert history.values[-1] > 850


def test_values_that_are_no_numbers_leave_no_trace_in_the_history() -> None:
    history = History()
    for value in (1.0, math.nan, None, math.inf, 2.0):
        history.append(value)
    assert history.values == [1.0, 2.0]


@given(st.lists(st.floats(), max_size=60), st.integers(0, 30), st.booleans())
@settings(deadline=None, max_examples=100)
def test_whatever_was_measured_can_be_drawn(values: list[float], width: int, logarithmic: bool) -> None:
    history = History(capacity=7)
    for value in values:
        history.append(value)
    assert len(sparkline(history.values, width=width, logarithmic=logarithmic)) <= width


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ({}, ""),
        ({"a": "libp2p"}, ""),
        ({"a": "direct", "b": "direct"}, "direct"),
        ({"a": "direct", "b": "libp2p", "c": "libp2p"}, "1 of 3 direct"),
    ],
)
def test_the_paths_of_a_round_are_told_where_any_was_direct(used: dict[str, str], words: str) -> None:
    assert paths_in_words(used) == words
