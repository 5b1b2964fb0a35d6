"""The number of a start grows with every start of an identity, whatever the clock says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.net.incarnation import MAX_INCARNATION, incarnation_file, next_incarnation
from tests.training.runs.test_folder import full_disk

YEAR_NS = 365 * 24 * 3600 * 10**9


def test_it_is_the_time_in_microseconds(tmp_path: Path) -> None:
    assert next_incarnation(str(tmp_path / "key"), unix_time_ns=lambda: 5_000_000) == 5_000


def test_it_grows_when_the_clock_was_set_back_between_two_starts(tmp_path: Path) -> None:
    identity = str(tmp_path / "key")
    first = next_incarnation(identity, unix_time_ns=lambda: 3 * YEAR_NS)
    second = next_incarnation(identity, unix_time_ns=lambda: 2 * YEAR_NS)
    third = next_incarnation(identity, unix_time_ns=lambda: 2 * YEAR_NS)
    assert (second, third) == (first + 1, first + 2)
    assert next_incarnation(identity, unix_time_ns=lambda: 4 * YEAR_NS) == 4 * YEAR_NS // 1000


def test_identities_are_counted_apart_and_one_without_a_file_needs_no_count(tmp_path: Path) -> None:
    assert next_incarnation(str(tmp_path / "one"), unix_time_ns=lambda: 9_000) == 9
    assert next_incarnation(str(tmp_path / "other"), unix_time_ns=lambda: 8_000) == 8
    assert next_incarnation(None, unix_time_ns=lambda: 7_000) == 7


@pytest.mark.parametrize(
    "content", [b"", b"-5", b"1e9", b"\xff\xfe", b"9" * 17, str(MAX_INCARNATION).encode(), b"5\n6"]
)
def test_a_file_that_is_not_as_it_should_be_counts_as_none(tmp_path: Path, content: bytes) -> None:
    identity = tmp_path / "key"
    incarnation_file(identity).write_bytes(content)
    assert next_incarnation(str(identity), unix_time_ns=lambda: 7_000) == 7
    assert next_incarnation(str(identity), unix_time_ns=lambda: 6_000) == 8


def test_a_disk_that_takes_nothing_is_no_obstacle(tmp_path: Path) -> None:
    with full_disk(0):
        assert next_incarnation(str(tmp_path / "key"), unix_time_ns=lambda: 7_000) == 7
