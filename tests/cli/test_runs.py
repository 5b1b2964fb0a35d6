"""`gossip runs`: runs side by side."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gossiptrain.training.runs.folder import RunFolder, is_in_use
from tests.monitor.stream import HOSTILE, OTHER, OWN, evaluated, round_of, started, step
from tests.monitor.test_run_record import ended, folder_with
from tests.processes import Command


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def two_runs(folder: Path) -> tuple[Path, Path]:
    told = (started(), step(40), round_of(3, OWN, OTHER), evaluated(0.91), ended(60, seconds=12.0))
    first = folder_with(folder / "runs" / "first", *told)
    second = folder_with(folder / "runs" / "second", started(time=3000.0, task="text/small"), step(70, time=3007.0))
    return first, second


def test_runs_stand_in_the_order_of_their_start_with_what_they_came_to(gossip: Command, tmp_path: Path) -> None:
    two_runs(tmp_path)
    ended_ = gossip("runs")
    assert ended_.code == 0
    header, _, first, second = (line.split() for line in ended_.out.splitlines())
    assert header == ["run", "task", "steps", "rounds", "loss", "accuracy", "time", "state"]
    assert first == ["first", "digits", "60", "1", "0.3000", "91.0", "%", "12.0", "s", "done"]
    assert second == ["second", "text", "70", "0", "0.5000", "–", "7.0", "s", "broken", "off"]


def test_a_run_that_is_still_written_to_is_running(gossip: Command, tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "runs" / "live", "digits") as folder:
        folder.metrics.write_text(f"{started().model_dump_json()}\n", encoding="utf-8")
        assert is_in_use(folder.path)
        assert gossip("runs").out.splitlines()[-1].split()[-1] == "running"
    assert not is_in_use(folder.path)
    assert not is_in_use(tmp_path)


def test_run_folders_are_named_one_by_one_or_by_what_holds_them(gossip: Command, tmp_path: Path) -> None:
    first, _ = two_runs(tmp_path)
    assert len(gossip("runs", first).out.splitlines()) == 3
    assert len(gossip("runs", first, tmp_path / "runs").out.splitlines()) == 4, "each once"


def test_where_there_is_no_run_it_says_what_one_is(gossip: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    ended_ = gossip("runs")
    assert ended_.code == 2
    assert "There is no run in runs." in ended_.err
    assert gossip("runs", tmp_path / "nowhere").code == 2


def test_the_report_has_the_figures_as_they_are(gossip: Command, tmp_path: Path) -> None:
    two_runs(tmp_path)
    gossip("runs", "--report", "runs.json")
    first, second = json.loads((tmp_path / "runs.json").read_text(encoding="utf-8"))["runs"]
    assert (first["steps"], first["accuracy"], first["best_accuracy"], first["state"]) == (60, 0.91, 0.91, "done")
    assert (second["loss"], second["accuracy"], second["task"]) == (0.5, None, "text/small")


def test_the_picture_shows_every_run_by_name(gossip: Command, tmp_path: Path) -> None:
    two_runs(tmp_path)
    (tmp_path / "runs" / "second").rename(tmp_path / "runs" / "_second $x")
    assert gossip("runs", "--picture", "runs.svg").code == 0
    text = "".join(ET.parse(tmp_path / "runs.svg").getroot().itertext())
    assert "first" in text
    assert "second $x" in text
    assert gossip("runs", "--picture", "runs.bmp").code == 2


def test_what_stands_in_metrics_or_names_cannot_move_the_cursor(gossip: Command, tmp_path: Path) -> None:
    folder_with(tmp_path / "runs" / "x\x1b[2J", started(task=HOSTILE), step(3), rubbish=b"{")
    shown = gossip("runs").out
    assert "\x1b" not in shown
    assert "1 line of its metrics could not be read" in shown
