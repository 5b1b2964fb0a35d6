"""A whole swarm in a terminal and in a pipe."""

from __future__ import annotations

import io

from benchmarks.page.pictures import picture_of
from rich.console import Console

from gossiptrain.events import Notice
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.picture_table import LivePictureTable, PlainPictureLines, picture_table, plain_line
from tests.monitor.stream import HOSTILE, OTHER, peer, started, step


def drawn(picture: SwarmPicture, *, width: int, most: int = 20) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(picture_table(picture.snapshot(), width=width, most=most))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_shows_those_that_are_lost_first_and_says_how_many_more_there_are() -> None:
    text = drawn(picture_of(64), width=100, most=10)
    assert text.count("lost") == 2
    assert "and 54 more" in text
    assert "disagreement" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_in_a_narrow_terminal_it_shows_less() -> None:
    wide, narrow = drawn(picture_of(4), width=100), drawn(picture_of(4), width=60)
    assert "speed" in wide
    assert "speed" not in narrow
    assert all(len(line) <= 60 for line in narrow.splitlines())


def test_in_a_pipe_there_is_a_line_now_and_then_and_one_at_once_for_each_that_goes() -> None:
    picture, stream, now = SwarmPicture("watcher"), io.StringIO(), [0.0]
    lines = PlainPictureLines(picture, stream, interval_s=3.0, clock=lambda: now[0])
    lines.handle(Notice(message="the swarm on a page"))
    for at, event in enumerate((peer(OTHER, "joined", 1), peer(OTHER, "lost", 0), peer(HOSTILE, "joined", 1))):
        now[0] = float(at)
        picture.handle(event.model_copy(update={"time": 1000.0 + at}))
        lines.handle(event)
    told = stream.getvalue().splitlines()
    assert told[0] == "the swarm on a page"
    assert sum("does not answer any more" in line for line in told) == 1
    assert sum("sent" in line for line in told) == 1
    assert "\x1b" not in stream.getvalue()
    lines.close()


def test_the_plain_line_counts_states() -> None:
    text = plain_line(picture_of(64).snapshot())
    assert text.startswith("60 peers  1 joining  2 lost  1 ended")


def test_the_live_table_leaves_its_last_state_on_the_screen() -> None:
    picture, stream = SwarmPicture("demo"), io.StringIO()
    table = LivePictureTable(picture, stream)
    for event in (started(), step(7)):
        picture.handle(event, label="a")
        table.handle(event)
    table.close()
    table.close()
    assert "digits" in stream.getvalue()
