"""The log of a process: its levels, its place, and lines that nobody from outside can shape."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain import logs
from gossiptrain.errors import UsageError

SWARM, NET = logging.getLogger("gossiptrain.swarm"), logging.getLogger("gossiptrain.net")


@pytest.fixture(autouse=True)
def _nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (logs.LEVELS_VARIABLE, logs.FILE_VARIABLE, logs.DEBUG_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("debug", {"gossiptrain": logging.DEBUG}),
        ("INFO", {"gossiptrain": logging.INFO}),
        ("swarm=debug", {"gossiptrain": logging.WARNING, "gossiptrain.swarm": logging.DEBUG}),
        ("error, net=info", {"gossiptrain": logging.ERROR, "gossiptrain.net": logging.INFO}),
    ],
)
def test_a_level_is_for_all_floors_or_for_one(text: str, levels: dict[str, int]) -> None:
    assert logs.parse_levels(text) == levels


def test_levels_have_their_usual_names_whatever_other_libraries_call_them(tmp_path: Path) -> None:
    name = logging.getLevelName(logging.WARNING)
    try:
        logging.addLevelName(logging.WARNING, "WARN")
        with logs.shown("warning", file=tmp_path / "log.txt"):
            NET.warning("hello")
    finally:
        logging.addLevelName(logging.WARNING, name)
    assert "WARNING gossiptrain.net: hello" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("text", ["loud", "", "debug,", "cellar=debug", "swarm=loud", "=debug"])
def test_a_level_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="There is no log level"):
        logs.parse_levels(text)


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.wanted_levels() == "warning"
    monkeypatch.setenv(logs.DEBUG_VARIABLE, "1")
    assert logs.wanted_levels() == "debug"
    monkeypatch.setenv(logs.LEVELS_VARIABLE, "info")
    assert logs.wanted_levels() == "info"
    assert logs.wanted_levels("error") == "error"


def test_only_the_levels_that_are_wanted_are_written_and_nothing_afterwards(tmp_path: Path) -> None:
    with logs.shown("swarm=info", file=tmp_path / "log.txt"):
        SWARM.info("a group of %d", 4)
        SWARM.debug("not this")
        NET.info("nor this")
        NET.warning("but this")
    SWARM.warning("and no more")
    first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert first.endswith("INFO gossiptrain.swarm: a group of 4")
    assert second.endswith("WARNING gossiptrain.net: but this")
    assert not SWARM.isEnabledFor(logging.INFO)


def test_without_a_file_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.shown("info"):
        SWARM.info("hello")
    captured = capsys.readouterr()
    assert captured.err.endswith("INFO gossiptrain.swarm: hello\n")
    assert not captured.out


def test_processes_that_are_started_meanwhile_are_told_levels_and_place(tmp_path: Path) -> None:
    with logs.shown("debug", file=tmp_path / "log.txt"):
        assert os.environ[logs.LEVELS_VARIABLE] == "debug"
        assert os.environ[logs.FILE_VARIABLE] == str(tmp_path / "log.txt")
    assert logs.LEVELS_VARIABLE not in os.environ
    assert logs.FILE_VARIABLE not in os.environ


def test_the_place_that_the_environment_names_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.FILE_VARIABLE, str(tmp_path / "deep" / "all.txt"))
    with logs.shown("info", file=tmp_path / "log.txt"):
        SWARM.info("hello")
    assert "hello" in (tmp_path / "deep" / "all.txt").read_text()
    assert not (tmp_path / "log.txt").exists()


def test_where_nothing_is_said_no_file_is_made(tmp_path: Path) -> None:
    with logs.shown(file=tmp_path / "log.txt"):
        SWARM.info("not at the usual level")
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with logs.shown("info", file=tmp_path / "file" / "log.txt"):
        SWARM.info("hello")
    assert not capsys.readouterr().err


@given(st.text())
def test_a_text_of_others_stays_within_its_line_and_cannot_move_the_cursor(text: str) -> None:
    record = logging.LogRecord("gossiptrain.swarm", logging.INFO, "", 0, "they say %s", (text,), None)
    line = logs._OneLine("%(message)s").format(record)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_what_others_can_provoke_as_often_as_they_like_does_not_fill_the_disk(tmp_path: Path) -> None:
    with logs.shown("debug", file=tmp_path / "log.txt"):
        for number in range(1000):
            NET.error("handler %d failed", number)
        NET.error("something else")
        for _ in range(50):
            NET.debug("asked for")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    failures = sum("failed" in line for line in lines)
    assert logs.ALIKE_PER_MINUTE <= failures <= 2 * logs.ALIKE_PER_MINUTE  # twice where a minute is over just then
    assert sum("something else" in line for line in lines) == 1
    assert sum("asked for" in line for line in lines) == 50
