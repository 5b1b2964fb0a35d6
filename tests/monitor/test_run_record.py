"""What is known of a run from its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.events import Event, Finished, event_to_json
from gossiptrain.monitor.run_record import MOST_POINTS, RunRecord, read_run
from tests.monitor.stream import OTHER, OWN, evaluated, round_of, started, step


def ended(number: int, *, seconds: float, time: float = 2000.0) -> Finished:
    return Finished(time=time, step=number, seconds=seconds, rounds=1, bytes_sent=421_000, reason="steps")


def folder_with(path: Path, *events: Event, rubbish: bytes = b"") -> Path:
    path.mkdir(parents=True)
    lines = "".join(event_to_json(event) + "\n" for event in events)
    (path / "metrics.jsonl").write_bytes(lines.encode() + rubbish)
    return path


def test_a_run_is_read_from_its_events(tmp_path: Path) -> None:
    told = (started(), step(40), round_of(3, OWN, OTHER), evaluated(0.91), ended(60, seconds=12.0))
    record = read_run(folder_with(tmp_path / "run", *told))
    assert (record.progress.step, record.progress.rounds, record.seconds) == (60, 1, 12.0)
    assert record.accuracy.values == [(50, 0.91)]
    assert record.disagreement.values == [(40, 0.0042)]
    assert record.damaged_lines == 0


def test_a_run_that_broke_off_has_run_until_its_last_event(tmp_path: Path) -> None:
    record = read_run(folder_with(tmp_path / "run", started(), step(70)))
    assert record.progress.finished is None
    assert record.seconds == 7.0


def test_the_times_of_a_resumed_run_add_up(tmp_path: Path) -> None:
    told = (started(), step(70), started(time=5000.0), step(90, time=5004.0), ended(95, seconds=5.0))
    record = read_run(folder_with(tmp_path / "run", *told))
    assert record.seconds == 12.0
    assert record.started_at == 5000.0


@pytest.mark.parametrize(
    "rubbish", [b"{", b"\xff\xfe\n", b"[]\n", b'{"event": "step"}\n', b"{" * 200_000], ids=lambda text: str(text[:9])
)
def test_what_cannot_be_read_is_counted_and_passed_over(tmp_path: Path, rubbish: bytes) -> None:
    record = read_run(folder_with(tmp_path / "run", started(), step(70), rubbish=rubbish))
    assert record.damaged_lines >= 1
    assert record.progress.step == 70


def test_events_of_a_newer_version_do_no_harm(tmp_path: Path) -> None:
    newer = b'{"event": "dream", "time": 3.0, "colour": "green"}\n'
    assert read_run(folder_with(tmp_path / "run", started(), rubbish=newer)).damaged_lines == 0


def test_the_best_accuracy_is_known_however_many_points_of_its_course_are_left() -> None:
    record = RunRecord(Path())
    assert record.best_accuracy is None
    for number in range(5 * MOST_POINTS):
        record.handle(evaluated(0.98765 if number == 77 else 0.5))
    assert len(record.accuracy.values) < MOST_POINTS
    assert record.best_accuracy == 0.98765
