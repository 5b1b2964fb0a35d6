"""The panel of one peer, at all sizes of a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gossiptrain.events import Event, NodeChanged, Notice
from gossiptrain.monitor.event_text import EventText, Sentence
from gossiptrain.monitor.panel import PeerPanel
from gossiptrain.monitor.progress import PeerProgress
from tests.monitor.stream import HOSTILE, OTHER, OWN, finished, peer, round_of, short_run, started, step


def panel(*events: Event, width: int = 100, height: int = 40) -> str:
    progress, event_text, messages = PeerProgress(), EventText(), list[Sentence]()
    for event in events:
        progress.handle(event)
        message = event_text.tell(event)
        if message is not None:
            messages.append(message)
    console = Console(file=io.StringIO(), width=width, height=height, record=True, color_system="truecolor")
    console.print(PeerPanel(progress, messages))
    return console.export_text()


def test_a_wide_panel_shows_run_peer_addresses_progress_swarm_rounds_and_messages() -> None:
    text = panel(*short_run())
    for words in [
        "run digits  ─",
        f"peer     {OWN}",
        "listens  /ip4/127.0.0.1/tcp/4011  /ip4/192.168.1.7/tcp/4011",
        "step 50 of 100",
        "50 %  5.0 s left  epoch 4.17",
        "loss 0.250  █▄▁",
        "test accuracy 91.2 %",
        "merged 97.2 %",
        "5,123 samples/s",
        "2 peers   3 rounds   1.3 MB sent, 12.6 kB/s   disagreement 0.42 % █▄▁",
        "…other1  here        3",
        "…other2  lost        2",
        "1      3  83 ms  421 kB        20.0 %",
        "3      2  83 ms  421 kB        0.42 %",
        "peer …other2 does not answer any more, 2 peers now",
        "merged model: test accuracy 97.2 %",
    ]:
        assert words in text


@pytest.mark.parametrize(
    ("told", "title"),
    [
        ({"run": "cifar10", "task": "cifar10/convnet 8-16-32-64", "called": "cifar10 tiny"}, "╭─  cifar10 tiny  ──"),
        (
            {"run": "spring", "task": "cifar10/convnet 8-16-32-64", "called": "cifar10 tiny"},
            "╭─  run spring · cifar10 tiny  ──",
        ),
        ({"run": "digits", "task": "digits/mlp 64-128-64-10", "called": "digits"}, "╭─  digits  ──"),
        ({"run": "spirals", "task": "model"}, "╭─  run spirals · task model  ──"),
        ({"run": "spirals", "task": "spirals"}, "╭─  run spirals  ──"),
    ],
)
def test_the_title_says_task_and_model_as_they_were_typed(told: dict[str, Any], title: str) -> None:
    assert panel(started(**told), step(1)).splitlines()[0].startswith(title)


def test_where_there_is_no_room_for_its_whole_id_the_title_names_the_peer() -> None:
    text = panel(started(run="cifar10", called="cifar10 tiny"), step(1), width=60, height=15)
    assert text.startswith("╭─  cifar10 tiny · peer …ownown  ──")


def test_in_a_terminal_of_the_usual_size_it_fits() -> None:
    text = panel(*short_run(), width=80, height=24)
    assert len(text.splitlines()) <= 20
    assert "…other1  here" in text
    assert "disagreement 0.42 %" in text


def test_a_narrow_one_keeps_the_figures_and_drops_the_tables() -> None:
    text = panel(*short_run(), width=50)
    for words in ("step 50 of 100", "loss 0.250", "test accuracy 91.2 %", "2 peers   3 rounds", "disagreement 0.42 %"):
        assert words in text
    assert "…other1  here" not in text


def test_a_very_narrow_one_drops_the_frame_too() -> None:
    text = panel(*short_run(), width=30)
    assert "│" not in text
    for words in ("step 50 of 100", "loss 0.250", "test accuracy 91.2 %", "disagreement 0.42 %"):
        assert words in text


def test_a_low_one_is_low() -> None:
    assert len(panel(*short_run(), height=10).splitlines()) <= 7


@given(st.integers(1, 200), st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_no_line_is_ever_wider_than_the_terminal(width: int, height: int) -> None:
    for line in panel(*short_run(), finished(), width=width, height=height).splitlines():
        assert len(line) <= width


def test_before_the_first_step_it_says_that_it_gets_ready() -> None:
    assert "starting" in panel()
    assert "getting ready to train" in panel(started())


def test_without_planned_steps_there_is_no_bar() -> None:
    text = panel(started(), step(10))
    assert "step 10  epoch 0.83" in text
    assert "left" not in text


def test_the_end_is_shown() -> None:
    text = panel(*short_run(), finished())
    assert "step 100 of 100" in text
    assert "100 %  done" in text


def test_a_network_that_is_down_is_said_in_front() -> None:
    assert "network down   1 peer" in panel(started(), step(1), NodeChanged(state="down", reason="killed"))


def test_more_peers_than_fit_are_counted() -> None:
    peers = [peer(f"peer-{index}", "joined", index + 2) for index in range(12)]
    assert "+7 more" in panel(started(), step(1), *peers)


def test_the_last_meeting_with_a_peer_is_told() -> None:
    text = panel(started(), round_of(1, OWN, OTHER), peer("another", "joined", 3), step(300))
    assert "29.0 s ago" in text
    assert "not yet" in text


@pytest.mark.parametrize("width", [100, 60, 30])
def test_foreign_text_is_shown_as_it_is_and_controls_nothing(width: int) -> None:
    hostile = started(peer_id=HOSTILE, run=HOSTILE, task=HOSTILE, addresses=(HOSTILE,) * 50)
    text = panel(
        hostile, peer(HOSTILE, "joined", 2), round_of(1, HOSTILE), step(1), Notice(message=HOSTILE), width=width
    )
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
    assert "[red]" in text


def test_while_it_trains_it_says_how_to_end_and_at_the_end_no_message_is_cut() -> None:
    running, done = short_run(), [*short_run(), finished(loss=0.123, accuracy=0.987)]
    assert "Ctrl+C: merge with the others, save and end" in panel(*running, width=80, height=24)
    shown = panel(*done, width=80, height=24)
    assert "Ctrl+C" not in shown
    assert "test accuracy 98.7 %" in " ".join(shown.replace("│", " ").split())


def test_the_disagreement_of_a_peer_that_is_alone_now_is_not_shown_as_if_it_were_of_now() -> None:
    assert "disagreement 0.42 %" in panel(*short_run())
    assert "disagreement 0.42 %" not in panel(*short_run(), peer(OTHER, "lost", 1))
