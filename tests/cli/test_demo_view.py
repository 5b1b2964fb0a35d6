"""What a demonstration looks like, in a terminal, in a pipe and for programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gossiptrain.cli.demo_view import (
    DemoView,
    JsonDemoView,
    LiveDemoView,
    PlainDemoView,
    SwarmEventText,
    demo_view,
)
from gossiptrain.errors import UsageError
from gossiptrain.events import Event, Joined, Notice, RoundFailed, event_from_json
from gossiptrain.monitor.swarm_table import SwarmTable
from tests.monitor.stream import HOSTILE, OTHER, OWN, finished, peer, round_of, started, step


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def show(view: DemoView, table: SwarmTable, label: str, event: Event) -> None:
    table.handle(label, event)
    view.handle(label, event)


def two_peers(swarm_event_text: SwarmEventText) -> None:
    swarm_event_text.tell("a", started())
    swarm_event_text.tell("b", started(peer_id=OTHER, first=False))


@pytest.fixture
def teller() -> SwarmEventText:
    swarm_event_text = SwarmEventText()
    two_peers(swarm_event_text)
    return swarm_event_text


def test_most_events_deserve_no_sentence(teller: SwarmEventText) -> None:
    for event in (step(10), round_of(1, OWN, OTHER), peer(OTHER, "joined", 2), peer(OTHER, "left", 1), finished()):
        assert teller.tell("a", event) is None


def test_a_joiner_is_told_of_with_its_donor(teller: SwarmEventText) -> None:
    joined = Joined(donor=OWN, step=1234, seconds=0.01, bytes=69_000)
    assert teller.tell("b", joined) == "peer b took the parameters of step 1,234 from peer a"


def test_a_lost_peer_is_told_of_once(teller: SwarmEventText) -> None:
    teller.tell("c", started(peer_id="12D3KooWthird"))
    assert teller.tell("a", peer(OTHER, "lost", 2)) == "the others noticed that peer b is gone; 2 peers go on"
    assert teller.tell("c", peer(OTHER, "lost", 2)) is None
    assert (
        teller.tell("a", peer("12D3KooWthird", "lost", 1)) == "the others noticed that peer c is gone; 1 peer goes on"
    )


def test_a_peer_that_has_finished_is_not_missed(teller: SwarmEventText) -> None:
    teller.tell("b", finished())
    assert teller.tell("a", peer(OTHER, "lost", 1)) is None


def test_warnings_are_told_with_the_label_of_their_peer(teller: SwarmEventText) -> None:
    assert teller.tell("b", Notice(level="warning", message="the disk is full")) == "peer b: the disk is full"
    assert teller.tell("b", Notice(message="nothing special")) is None


def test_foreign_text_cannot_move_the_cursor(teller: SwarmEventText) -> None:
    told = teller.tell("a", RoundFailed(reason=HOSTILE)) or ""
    assert "bold" in told
    assert told.isprintable()


def test_a_pipe_gets_a_line_every_few_seconds() -> None:
    stream, table, clock = io.StringIO(), SwarmTable(), Clock()
    view = PlainDemoView(stream, table, interval_s=3.0, clock=clock)
    show(view, table, "a", started())
    show(view, table, "a", step(10, loss=2.0))
    for clock.now_s in (0.0, 2.9, 3.0, 3.1, 5.9, 6.1):
        view.tick(f"after {clock.now_s} s", keys=False)
    lines = stream.getvalue().splitlines()
    assert [line.partition("  |  ")[0] for line in lines] == ["after 3.0 s", "after 6.1 s"]
    assert "1 peer  step 10" in lines[0]


def test_a_pipe_is_not_told_again_what_has_not_changed() -> None:
    stream, table, clock = io.StringIO(), SwarmTable(), Clock()
    view = PlainDemoView(stream, table, interval_s=3.0, clock=clock)
    for clock.now_s, number in ((3.0, 10), (6.0, 10), (9.0, 20)):
        show(view, table, "a", step(number))
        view.tick("training", keys=False)
    first, second, third = stream.getvalue().splitlines()
    assert "step 10" in first
    assert second == "training"
    assert "step 20" in third


def test_a_pipe_gets_messages_at_once() -> None:
    stream, table = io.StringIO(), SwarmTable()
    view = PlainDemoView(stream, table)
    view.tell("hello")
    view.handle("a", Notice(level="warning", message="careful"))
    assert stream.getvalue().splitlines() == ["hello", "peer a: careful"]


def test_a_program_gets_the_events_with_their_labels() -> None:
    stream = io.StringIO()
    view = JsonDemoView(stream)
    view.handle("b", step(10))
    view.tick("passed over", keys=False)
    view.tell("hello")
    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["peer"] == "b"
    assert event_from_json(first) == step(10)
    assert (json.loads(second)["event"], json.loads(second)["message"]) == ("demo", "hello")


def live(width: int = 100) -> tuple[LiveDemoView, SwarmTable, io.StringIO, Clock]:
    stream, table, clock = io.StringIO(), SwarmTable(key_help=""), Clock()
    console = Console(file=stream, width=width, height=30, force_terminal=True, color_system=None)
    return LiveDemoView(console, table, clock=clock), table, stream, clock


def test_a_terminal_shows_the_table_the_status_and_the_keys() -> None:
    view, table, stream, _ = live()
    show(view, table, "a", started())
    show(view, table, "a", step(1234, loss=0.25))
    view.tick("training together, 9 s left", keys=True)
    view.close()
    for shown in ("training together, 9 s left", "1,234", "0.250", "[k] kill", "[a] add", "[q] stop"):
        assert shown in stream.getvalue()


def test_keys_are_offered_only_while_they_do_something() -> None:
    view, _, stream, _ = live()
    view.tick("starting", keys=False)
    view.close()
    assert "[k]" not in stream.getvalue()


def test_the_terminal_gets_its_cursor_back() -> None:
    view, _, stream, _ = live()
    view.tick("starting", keys=False)
    assert "\x1b[?25l" in stream.getvalue()
    view.close()
    view.close()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def test_the_table_is_not_drawn_too_often() -> None:
    view, _, stream, clock = live()
    for clock.now_s in (0.0, 0.1, 0.2, 0.3):
        view.tick(f"at {clock.now_s}", keys=False)
    view.close()
    assert "at 0.3" in stream.getvalue()
    assert "at 0.1" not in stream.getvalue()


def test_after_the_end_the_verdict_can_still_be_told() -> None:
    view, _, stream, clock = live()
    view.tick("training", keys=False)
    view.close()
    clock.now_s = 9.0
    view.tick("too late", keys=False)
    view.tell("the verdict")
    assert stream.getvalue().endswith("the verdict\n")
    assert "too late" not in stream.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60])
def test_narrow_terminals_lose_columns_and_break_no_line(width: int) -> None:
    view, table, stream, _ = live(width)
    show(view, table, "a", started())
    show(view, table, "a", step(1234))
    view.tick("training together, 9 s left", keys=True)
    shown = stream.getvalue()
    view.close()
    assert all(len(line) <= width for line in shown.replace("\x1b[?25l", "").splitlines())


def test_the_view_suits_where_the_output_goes() -> None:
    table = SwarmTable()
    assert isinstance(demo_view("auto", io.StringIO(), table), PlainDemoView)
    assert isinstance(demo_view("plain", io.StringIO(), table), PlainDemoView)
    assert isinstance(demo_view("json", io.StringIO(), table), JsonDemoView)
    with pytest.raises(UsageError, match="needs a terminal"):
        demo_view("live", io.StringIO(), table)
