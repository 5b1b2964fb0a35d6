"""Help fits a screen and is in groups; what few people need is in a longer one."""

from __future__ import annotations

import pytest

from gossiptrain.cli.train_flags import TRAIN_FLAGS
from tests.processes import Command


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def shown_flags(text: str) -> set[str]:
    return {line.split()[0].partition("/")[0] for line in text.splitlines() if line.startswith("  --")}


def test_the_flags_that_most_people_need_fit_on_a_screen(gossip: Command) -> None:
    shown = gossip("train", "--help").out
    assert len(shown.splitlines()) <= 45
    assert shown_flags(shown) == {flag.spelling for flag in TRAIN_FLAGS if not flag.rare} | {"--help"}
    assert "gossip train --help-all" in shown.rstrip().splitlines()[-1]


def test_the_longer_help_has_all_of_them(gossip: Command) -> None:
    ended = gossip("train", "--help-all")
    assert ended.code == 0
    assert shown_flags(ended.out) == {flag.spelling for flag in TRAIN_FLAGS} | {"--help"}


def test_flags_stand_in_groups_and_every_group_once(gossip: Command) -> None:
    shown = gossip("train", "--help-all").out.splitlines()
    titles = [line for line in shown if line and " " not in line]
    assert titles == ["Network", "Rounds", "Data", "Training", "Output", "Other"]


def test_no_line_is_wider_than_the_terminal_but_commands_that_are_to_be_copied(
    gossip: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    for words in (["--help"], ["train", "--help-all"], ["simulate", "learn", "--help"], ["invite", "--help"]):
        long = [line for line in gossip(*words).out.splitlines() if len(line) > 72]
        assert all(line.startswith(("  gossip ", "Usage: ")) for line in long), long


def test_words_that_a_flag_takes_and_its_default_stand_at_the_end(gossip: Command) -> None:
    shown = " ".join(gossip("train", "--help").out.split())
    assert "--codec CODEC Values on the wire: fp32, fp16, bf16, int8 or int4 (fp32)" in shown
    assert "--log-format FORMAT How progress is shown: auto, live, plain or json (auto)" in shown
    assert "--batch N Samples in one step (by task)" in shown


def test_without_a_word_there_is_help_and_no_error(gossip: Command) -> None:
    for words in ((), ("simulate",)):
        ended = gossip(*words)
        assert (ended.code, ended.err) == (2, "")
        assert ended.out.startswith("Usage: gossip")


def test_a_command_with_few_flags_has_no_longer_help(gossip: Command) -> None:
    assert "--help-all" not in gossip("bootstrap", "--help").out
    assert "--relay/--no-relay" in gossip("bootstrap", "--help").out
