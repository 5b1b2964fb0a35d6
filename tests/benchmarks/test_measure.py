"""Summaries, arguments and files of the benchmarks."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import measure


def test_a_summary_of_a_hundred_samples() -> None:
    found = measure.summary([float(value) for value in range(100, 0, -1)])
    assert (found.samples, found.minimum, found.median, found.p95, found.maximum) == (100, 1.0, 50.5, 95.0, 100.0)


def test_a_single_sample_is_all_there_is() -> None:
    found = measure.summary([0.25])
    assert (found.minimum, found.median, found.p95, found.maximum) == (0.25,) * 4


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60))
@settings(deadline=None, max_examples=100)
def test_at_least_95_percent_do_not_exceed_p95_and_no_smaller_sample_would_do(samples: list[int]) -> None:
    found = measure.summary(samples)
    assert found.median == statistics.median(samples)
    assert sum(sample <= found.p95 for sample in samples) >= 0.95 * len(samples)
    assert sum(sample < found.p95 for sample in samples) < 0.95 * len(samples)


@pytest.mark.parametrize("text", ["1", "65", "-3", "x", "", "2.5"])
def test_an_argument_out_of_range_is_refused_with_its_range(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 2 to 64"):
        measure.whole_number(2, 64)(text)
    assert measure.whole_number(2, 64)("64") == 64


def test_figures_and_table_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    measure.show_table("From ready to group", ["", "median"], [["8 peers", measure.milliseconds(0.0242)]])
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("From ready to group", "median", "8 peers", "24.2 ms"))


def test_the_file_says_what_was_measured_and_where(tmp_path: Path) -> None:
    measure.write_json(
        tmp_path / "out.json", benchmark="test", measured_on=measure.machine(), results=[measure.summary([1.0, 2.0])]
    )
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["benchmark"] == "test"
    assert content["results"] == [{"samples": 2, "minimum": 1.0, "median": 1.5, "p95": 2.0, "maximum": 2.0}]
    assert content["machine"].keys() == {"time", "cpu", "cores", "load_1min", "system", "python"}
    assert content["machine"]["cores"] >= 1
