"""A whole swarm in one table, and the same in one line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gossiptrain.monitor.swarm_table import KEY_HELP, SwarmTable
from tests.monitor.stream import HOSTILE, OTHER, OWN, THIRD, evaluated, finished, round_of, started, step


def shown(table: SwarmTable, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, record=True, color_system="truecolor")
    console.print(table)
    return console.export_text()


def row(table: SwarmTable, label: str, width: int = 120) -> list[str]:
    """The cells of the row of `label`, without the spaces."""
    (line,) = [line for line in shown(table, width).splitlines() if line.split()[:1] == [label]]
    return line.split()


def swarm() -> SwarmTable:
    """Peers a and b in the midst of training, c killed, d just added."""
    table = SwarmTable(title="gossip demo")
    for label, peer_id in (("a", OWN), ("b", OTHER), ("c", THIRD)):
        table.handle(label, started(peer_id=peer_id))
    for label, loss, accuracy in (("a", 0.41, 0.912), ("b", 0.52, 0.881), ("c", 9.0, 0.1)):
        table.handle(label, step(120, loss=loss))
        table.handle(label, evaluated(accuracy))
        table.handle(label, round_of(1, OWN, OTHER, THIRD, disagreement=0.2))
    table.killed("c")
    for label in ("a", "b"):
        table.handle(label, round_of(2, OWN, OTHER, disagreement=0.0042))
        table.handle(label, step(340 if label == "a" else 330, loss=0.41 if label == "a" else 0.52))
    table.add("d")
    return table


def test_each_peer_is_a_row_with_all_its_figures() -> None:
    table = swarm()
    header = next(line for line in shown(table).splitlines() if line.startswith("peer"))
    for name in ("peer", "step", "loss", "test accuracy", "last group", "round time", "bytes sent", "state"):
        assert name in header
    assert row(table, "a") == ["a", "340", "0.410", "91.2", "%", "a", "b", "83", "ms", "842", "kB", "training"]
    assert row(table, "c") == ["c", "120", "9.00", "10.0", "%", "a", "b", "c", "83", "ms", "421", "kB", "killed"]
    assert row(table, "d") == ["d", "–", "–", "–", "–", "–", "0", "B", "joining"]


def test_disagreement_its_course_and_the_keys_stand_below() -> None:
    lines = shown(swarm()).splitlines()
    assert lines[0] == "gossip demo"
    assert lines[-2] == "disagreement  0.42 %  █▁  2 rounds"
    assert lines[-1] == KEY_HELP == "[k] kill a random peer  [a] add a peer  [q] stop and save"
    assert KEY_HELP not in shown(SwarmTable(key_help=""))


def test_a_round_that_several_peers_report_counts_once() -> None:
    table = swarm()
    assert table.rounds == 2
    assert table.disagreements.values == [0.2, 0.0042]
    assert table.disagreement == 0.0042


def test_rounds_of_one_number_in_different_groups_count_each() -> None:
    table = SwarmTable()
    table.handle("a", round_of(5, "a", "b"))
    table.handle("c", round_of(5, "c", "d"))
    assert table.rounds == 2


def test_the_end_of_a_peer_is_its_state_even_where_it_was_killed_afterwards() -> None:
    table = swarm()
    table.handle("a", finished())
    table.killed("a")
    assert table.state("a") == "done"
    assert table.state("b") == "training"
    assert table.state("c") == "killed"


def test_the_merged_model_is_told_when_it_is_known() -> None:
    table = swarm()
    assert "merged" not in shown(table)
    table.handle("a", evaluated(0.972, of="merged"))
    assert "merged model: test accuracy 97.2 %" in shown(table)
    assert row(table, "a")[3] == "91.2"


def test_all_columns_fit_a_terminal_of_the_usual_width() -> None:
    assert row(swarm(), "a", width=80) == row(swarm(), "a", width=120)
    assert "…" not in shown(swarm(), width=80)


def test_a_narrow_terminal_keeps_the_columns_that_matter_most() -> None:
    assert row(swarm(), "a", width=45) == ["a", "340", "0.410", "91.2", "%", "training"]


@given(st.integers(1, 160))
@settings(deadline=None, max_examples=30)
def test_no_line_is_ever_wider_than_the_terminal(width: int) -> None:
    for line in shown(swarm(), width).splitlines():
        assert len(line) <= width


def test_the_same_in_one_line_for_a_pipe() -> None:
    assert swarm().plain_line() == (
        "3 peers (1 joining)  1 killed  step 330 to 340  loss 0.4100 to 0.5200  accuracy 88.1 to 91.2 %  "
        "2 rounds (last: 2 peers, 83 ms)  2.1 MB sent  disagreement 0.42 %"
    )
    assert SwarmTable().plain_line() == ("0 peers  step –  loss –  accuracy –  0 rounds  0 B sent  disagreement –")


def test_a_large_group_is_cut_short() -> None:
    table = SwarmTable()
    table.handle("a", round_of(1, *(f"p{index}" for index in range(16))))
    assert "p0 p1 p10 p11 p12 p13 +10" in shown(table)


@pytest.mark.parametrize("width", [120, 45])
def test_foreign_text_controls_nothing(width: int) -> None:
    table = SwarmTable(title=HOSTILE)
    table.handle(HOSTILE, started(peer_id=HOSTILE))
    table.handle(HOSTILE, round_of(1, HOSTILE, HOSTILE * 50))
    text = shown(table, width) + table.plain_line()
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
