"""Keys are read without Enter, and the terminal is given back as it was, whatever happens."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gossiptrain.cli import keys as keys_module
from gossiptrain.cli.keys import Keys, obeyed
from tests.processes import GENEROUS_S

# A session leader that opens a terminal gets it as its own, as a shell gives it to a command in the foreground.
PROGRAM = """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.open(os.ttyname(0), os.O_RDWR)
from gossiptrain.cli.keys import Keys
with Keys() as keys:
    print("works" if keys.works else "does not work", flush=True)
    pressed = ""
    while "q" not in pressed:
        pressed += keys.pressed()
        time.sleep(0.01)
    print(pressed, flush=True)
    if "x" in pressed:
        raise SystemExit(3)
    while "z" in pressed and keys.works:
        assert keys.pressed() == ""
print("left", flush=True)
"""


class Terminal:
    """A program in a terminal of its own, and the person at it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(self.master)
        self.program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=slave, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        os.close(slave)

    def line(self) -> str:
        """The next line that the program prints."""
        assert self.program.stdout is not None
        return self.program.stdout.readline().rstrip()

    def types(self, keys: str) -> None:
        """No Enter behind them."""
        os.write(self.master, keys.encode())

    def hangs_up(self) -> None:
        """As when the window is closed."""
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    @property
    def waits_for_enter(self) -> bool:
        return bool(termios.tcgetattr(self.master)[3] & termios.ICANON)


@contextmanager
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    try:
        yield opened
    finally:
        opened.program.kill()
        opened.program.communicate()
        opened.hangs_up()


def test_keys_are_heard_without_enter_and_in_either_case() -> None:
    with terminal() as person:
        assert person.line() == "works"
        assert not person.waits_for_enter
        person.types("Kaq")
        assert person.line() == "kaq"


def test_the_terminal_is_given_back_as_it_was() -> None:
    with terminal() as person:
        person.line()
        person.types("q")
        assert [person.line(), person.line()] == ["q", "left"]
        assert termios.tcgetattr(person.master) == person.before


def test_the_terminal_is_given_back_when_the_program_ends_in_the_middle() -> None:
    with terminal() as person:
        person.line()
        person.types("xq")
        assert person.program.wait() == 3
        assert termios.tcgetattr(person.master) == person.before


def test_ctrl_c_is_still_a_signal() -> None:
    with terminal() as person:
        person.line()
        assert termios.tcgetattr(person.master)[3] & termios.ISIG


def test_a_terminal_that_goes_away_is_no_error() -> None:
    with terminal() as person:
        person.line()
        person.types("zq")
        assert person.line() == "zq"
        person.hangs_up()
        assert person.line() == "left"


def test_a_key_is_obeyed_once_while_the_program_does_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_is_ours", lambda stream: True)
    leader, follower = pty.openpty()
    obeyed_at_last = threading.Event()
    with os.fdopen(follower) as stream:
        with obeyed("q", obeyed_at_last.set, stream=stream) as works:
            assert works
            os.write(leader, b"xQ")
            assert obeyed_at_last.wait(GENEROUS_S)
        with obeyed("q", lambda: pytest.fail("nobody has typed it"), stream=stream):
            os.write(leader, b"x")
    os.close(leader)
    monkeypatch.undo()
    with obeyed("q", lambda: pytest.fail("there is no terminal"), stream=io.StringIO("q")) as works:
        assert not works


def test_without_a_terminal_no_key_is_ever_pressed() -> None:
    with Keys(io.StringIO("q")) as keys:
        assert not keys.works
        assert keys.pressed() == ""


def test_a_terminal_of_another_program_is_left_alone() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(master)
    with os.fdopen(slave) as stream, Keys(stream) as keys:
        assert not keys.works
        assert termios.tcgetattr(master) == before
    os.close(master)


def test_a_closed_stream_is_no_error() -> None:
    stream = io.StringIO()
    stream.close()
    with Keys(stream) as keys:
        assert not keys.works


@pytest.mark.parametrize("times", [1, 2])
def test_keys_may_be_used_again(times: int) -> None:
    keys = Keys(io.StringIO())
    for _ in range(times):
        with keys:
            assert keys.pressed() == ""
