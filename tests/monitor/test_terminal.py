"""The live view: draws when something happens, and gives the terminal back whatever happens."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from gossiptrain.events import NodeChanged
from gossiptrain.monitor.terminal import TerminalView
from gossiptrain.training.bus import EventBus
from tests.monitor.stream import OWN, alone, finished, short_run, started, step

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Screen(io.StringIO):
    """A terminal in memory that can be told to go away."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)


def view_on(screen: Screen, *, interval_s: float = 0.0, now: list[float] | None = None) -> TerminalView:
    console = Console(file=screen, force_terminal=True, width=100, height=40, color_system=None)
    moments = now if now is not None else [0.0]
    join_text = f"Join from this computer:\n  gossip train digits --initial-peer /ip4/127.0.0.1/tcp/4011/p2p/{OWN}"
    return TerminalView(screen, console=console, interval_s=interval_s, clock=lambda: moments[0], join_text=join_text)


def test_the_join_commands_stand_above_the_panel_whole_on_one_line() -> None:
    screen = Screen()
    with view_on(screen) as view:
        view.handle(started())
    above, panel = screen.getvalue().split(HIDE_CURSOR)
    assert f"  gossip train digits --initial-peer /ip4/127.0.0.1/tcp/4011/p2p/{OWN}\n" in above
    assert "first peer of run digits" in above
    assert "getting ready to train" in panel


def test_a_new_address_brings_join_commands_that_are_true_now() -> None:
    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=120, height=40, color_system=None)
    with TerminalView(screen, console=console, join_text=lambda event: f"join {event.addresses[0]}") as view:
        view.handle(started())
        view.handle(NodeChanged(time=1001.0, state="ready", addresses=(f"/ip4/127.0.0.1/tcp/9999/p2p/{OWN}",)))
    assert f"join /ip4/127.0.0.1/tcp/4011/p2p/{OWN}" in screen.getvalue()
    assert f"join /ip4/127.0.0.1/tcp/9999/p2p/{OWN}" in screen.getvalue()


def test_the_last_state_stays_when_the_view_is_closed() -> None:
    screen = Screen()
    view = view_on(screen)
    for event in [*short_run(), finished()]:
        view.handle(event)
    view.close()
    view.close()
    end = screen.getvalue().rsplit("╭", maxsplit=1)[1]
    assert "step 100 of 100" in end
    assert "finished, all steps are done" in end
    assert screen.getvalue().count(HIDE_CURSOR) == screen.getvalue().count(SHOW_CURSOR) == 1


def test_a_message_is_shown_once_and_the_start_not_again() -> None:
    screen = Screen()
    with view_on(screen) as view:
        for event in (started(), alone(), alone()):
            view.handle(event)
    last = screen.getvalue().rsplit("╭", maxsplit=1)[1]
    assert last.count("waiting for company") == 1
    assert "first peer of run" not in last


def test_many_steps_are_drawn_at_most_once_per_interval() -> None:
    screen, now = Screen(), [0.0]
    view = view_on(screen, interval_s=0.2, now=now)
    view.handle(started())
    before = screen.getvalue().count("╭")
    for number in range(100):
        now[0] += 0.01
        view.handle(step(number))
    drawn = screen.getvalue().count("╭") - before
    view.close()
    assert 3 <= drawn <= 6


def test_in_a_window_of_another_size_all_is_drawn_anew_and_nothing_of_before_stays() -> None:
    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=100, height=40, color_system=None)
    with TerminalView(screen, console=console, interval_s=0.0, join_text="join here") as view:
        view.handle(started())
        view.handle(step(1))
        console.width = 60
        view.handle(step(2))
        view.handle(step(3))
    before, after = screen.getvalue().split("\x1b[2J\x1b[H")
    assert "step 1" in before
    for words in ("first peer of run digits", "join here", "step 2"):
        assert words in after
    frames = [line for line in after.splitlines() if line.endswith("│")]
    assert {len(line) for line in frames} == {60}


def test_the_key_is_shown_where_it_is_heard() -> None:
    for obeys in (False, True):
        screen = Screen()
        with view_on(screen) as view:
            if obeys:
                view.obey_q()
            view.handle(started())
            view.handle(step(1))
        assert ("q or Ctrl+C" in screen.getvalue()) == obeys


def test_events_after_the_end_are_passed_over() -> None:
    screen = Screen()
    view = view_on(screen)
    view.handle(started())
    view.close()
    before = screen.getvalue()
    view.handle(step(1))
    assert screen.getvalue() == before


def test_a_view_that_never_showed_anything_leaves_nothing() -> None:
    screen = Screen()
    view_on(screen).close()
    assert screen.getvalue() == ""


def test_the_cursor_comes_back_on_an_exception() -> None:
    screen = Screen()

    def broken_run() -> None:
        with view_on(screen) as view:
            view.handle(started())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_run()
    assert SHOW_CURSOR in screen.getvalue().rsplit("╯", maxsplit=1)[1]


def test_a_terminal_that_goes_away_ends_the_view_and_not_the_training() -> None:
    screen, bus, seen = Screen(), EventBus(), list[str]()
    view = view_on(screen)
    bus.subscribe(view.handle, name="the terminal")
    bus.subscribe(lambda event: seen.append(event.event))
    bus.emit(started())
    screen.gone = True
    bus.emit(alone())
    bus.emit(step(1))
    view.close()
    assert seen == ["started", "round_failed", "notice", "step"]


PROGRAM = """
import sys
from gossiptrain.monitor.choose import view_for
from tests.monitor.stream import started, step
view = view_for("auto", sys.stdout)
view.handle(started())
view.handle(step(1))
raise ZeroDivisionError("on purpose")
"""


def test_a_program_that_ends_without_closing_the_view_gives_the_cursor_back() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=follower, stderr=subprocess.PIPE, env=environment
    ) as child:
        os.close(follower)
        output = b""
        while True:
            try:
                output += os.read(leader, 65536)
            except OSError:  # The program has ended and nobody holds the other side any more.
                break
        assert child.stderr is not None
        assert b"on purpose" in child.stderr.read()
    os.close(leader)
    shown = output.decode()
    assert "step 1" in shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)
