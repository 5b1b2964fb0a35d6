"""What follows from measured rounds for trainings of other sizes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks.links import curve
from benchmarks.links.__main__ import Row, Samples
from benchmarks.links.curve import BOUND_S, MOST_MB, Point, cell_at, points_of, share_of
from benchmarks.measure import summary

OURS, WAITS = (
    Point(system, mbit=100.0, delay_ms=0.0, megabytes=10.0, line_s=1.2, round_s=2.0, first_s=None, load_1min=0.0)
    for system in ("gossiptrain-direct-fp32", "gloo")
)


def test_a_system_that_holds_steps_up_loses_the_time_of_its_rounds() -> None:
    found = share_of(WAITS, megabytes=100.0, every_s=60.0)
    assert found.training == pytest.approx(60 / (60 + 20))
    assert found.rounds_an_hour == pytest.approx(45)


def test_one_that_averages_beside_the_steps_loses_none_and_leaves_a_third_of_their_time_between_two() -> None:
    usual = share_of(OURS, megabytes=100.0, every_s=60.0)
    assert (usual.training, usual.rounds_an_hour) == (1.0, 60.0)
    assert share_of(OURS, megabytes=100.0, every_s=10.0).rounds_an_hour == pytest.approx(3600 / (4 / 3 * 20))


def test_what_the_delay_adds_to_a_round_does_not_grow_with_the_model() -> None:
    far = Point(
        "gloo", mbit=100.0, delay_ms=100.0, megabytes=10.0, line_s=1.2, round_s=2.3, first_s=None, load_1min=0.0
    )
    assert far.round_of(10.0) == pytest.approx(2.3)
    assert far.round_of(100.0) == pytest.approx(0.3 + 20.0)


@pytest.mark.parametrize("mbit", [1.0, 20.0, 200.0])
def test_a_measured_vector_is_as_long_as_the_line_carries_in_so_many_seconds(mbit: float) -> None:
    assert cell_at(mbit, 40.0, hosts=4).bound_s == pytest.approx(BOUND_S, rel=0.05)
    assert cell_at(100_000.0, 0.0, hosts=4).size == MOST_MB


def test_a_system_without_a_complete_round_has_no_point() -> None:
    where = cell_at(20.0, 0.0, hosts=4)
    rows = [
        Row(
            where,
            bound_s=where.bound_s,
            system=name,
            first_s=None,
            later_s=later,
            first_to_tcp=None,
            to_tcp=None,
            to_hivemind=None,
            incomplete=[],
            samples=Samples(),
            load_1min=0.0,
        )
        for name, later in (("gloo", summary([2.0, 3.0, 4.0])), ("hivemind", None))
    ]
    (point,) = points_of(rows)
    assert (point.system, point.round_s, point.megabytes) == ("gloo", 3.0, where.size)


def test_points_that_were_measured_before_are_shown_for_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "curve.json"
    source.write_text(json.dumps({"results": [asdict(OURS), asdict(WAITS)]}))
    assert curve.main(["--from", str(source), "--millions", "25", "--every", "60"]) == 0
    shown = capsys.readouterr().out
    assert "computed from measured rounds" in shown
    assert "100 % (60)" in shown
    assert "75 % (45)" in shown
