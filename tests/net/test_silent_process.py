"""Who is waited for: a process that works is, one that stands still is not."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from gossiptrain.net import silent_process
from gossiptrain.net.silent_process import MOST_TIMES, SilentProcess, processor_s
from tests.processes import wait_until

PATIENCE_S = 0.4
BUSY = "while True: pass"
IDLE = "import time; time.sleep(600)"


@contextmanager
def process(program: str) -> Iterator[int]:
    """The process id of a Python program that has begun."""
    with subprocess.Popen([sys.executable, "-c", f"print(1, flush=True)\n{program}"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.kill()


def given_up_after_s(silent: SilentProcess) -> float:
    began_s = time.monotonic()
    wait_until(silent.is_given_up, "the process is given up")
    return time.monotonic() - began_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time that goes on only by being called."""
    now_s = [0.0]
    monkeypatch.setattr(silent_process, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def go_on(seconds: float) -> None:
        now_s[0] += seconds

    return go_on


def works_by(monkeypatch: pytest.MonkeyPatch, used_s: Iterator[float | None]) -> None:
    monkeypatch.setattr(silent_process, "processor_s", lambda pid: next(used_s))


def test_one_that_does_nothing_is_given_up_after_the_patience() -> None:
    with process(IDLE) as pid:
        assert given_up_after_s(SilentProcess(pid, patience_s=PATIENCE_S)) >= PATIENCE_S


def test_one_that_was_stopped_at_its_work_is_given_up_too() -> None:
    with process(BUSY) as pid:
        silent = SilentProcess(pid, patience_s=PATIENCE_S)
        os.kill(pid, signal.SIGSTOP)
        given_up_after_s(silent)
        os.kill(pid, signal.SIGCONT)


def test_one_that_works_is_waited_for_but_not_for_ever() -> None:
    with process(BUSY) as pid:
        assert given_up_after_s(SilentProcess(pid, patience_s=PATIENCE_S)) >= MOST_TIMES * PATIENCE_S


def test_one_that_has_ended_is_given_up() -> None:
    with process(IDLE) as pid:
        pass
    assert processor_s(pid) is None
    given_up_after_s(SilentProcess(pid, patience_s=PATIENCE_S))


def test_whoever_speaks_now_and_then_is_never_given_up(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    works_by(monkeypatch, itertools.repeat(1.0))
    silent = SilentProcess(1, patience_s=5.0)
    for _ in range(1000):
        clock(4.9)
        assert not silent.is_given_up()
        silent.heard()


def test_where_the_system_tells_nothing_silence_alone_counts(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    works_by(monkeypatch, itertools.repeat(None))
    silent = SilentProcess(1, patience_s=5.0)
    clock(4.9)
    assert not silent.is_given_up()
    clock(0.1)
    assert silent.is_given_up()


def test_a_little_work_now_and_then_is_enough(monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]) -> None:
    works_by(monkeypatch, itertools.count(0.0, 0.01))
    silent = SilentProcess(1, patience_s=5.0)
    for _ in range(14):
        clock(4.0)
        assert not silent.is_given_up()
    clock(4.0)
    assert silent.is_given_up()  # a minute is over
