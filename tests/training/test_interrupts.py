"""Ctrl+C and SIGTERM: the first asks politely, the second Ctrl+C ends the process now."""

from __future__ import annotations

import signal
import sys
import time

import pytest

from gossiptrain.training.interrupts import Interrupts
from tests.processes import Family, Peer, wait_until

POLITE = [signal.SIGINT, signal.SIGTERM]
# A loop that finishes its work when it is asked to stop, and says when it is ready to be asked, and when it was.
PATIENT_LOOP = """
import time
from gossiptrain.training.interrupts import Interrupts

with Interrupts() as interrupts:
    interrupts.polite = True
    print("ready", flush=True)
    while not interrupts.requested:
        time.sleep(0.01)
    print("asked", flush=True)
    {after}
    print("finished", flush=True)
"""


def loop(family: Family, *, after: str = "pass") -> Peer:
    """A process that runs the loop, once it is ready to be interrupted."""
    process = family.start("-c", PATIENT_LOOP.format(after=after), program=[sys.executable])
    wait_until(lambda: "ready" in process.out, "the loop runs")
    return process


@pytest.mark.parametrize("number", POLITE)
def test_the_first_signal_lets_the_loop_finish(family: Family, number: signal.Signals) -> None:
    process = loop(family)
    process.signal(number)
    assert process.wait() == 0
    assert process.out.split() == ["ready", "asked", "finished"]
    assert process.err == ""


def test_a_second_ctrl_c_ends_the_process_at_once(family: Family) -> None:
    process = loop(family, after="time.sleep(600)")
    process.signal(signal.SIGINT)
    wait_until(lambda: "asked" in process.out, "the first signal is heard")
    process.signal(signal.SIGINT)
    assert process.wait(within_s=5.0) == 130
    assert process.err == "", "nothing is said, least of all a traceback"


def test_a_second_sigterm_changes_nothing(family: Family) -> None:
    process = loop(family, after="time.sleep(0.3)")
    process.signal(signal.SIGTERM)
    wait_until(lambda: "asked" in process.out, "the first signal is heard")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_work_is_broken_off_but_not_in_the_middle_of_what_must_be_whole() -> None:
    done: list[str] = []

    def whole() -> None:
        signal.raise_signal(signal.SIGTERM)
        done.append("whole")

    def work() -> str:
        interrupts.hold(lambda: done.append("before"))
        interrupts.hold(whole)
        done.append("never")
        return "result"

    with Interrupts() as interrupts:
        interrupts.polite = True
        assert interrupts.run(work) is None
    assert done == ["before", "whole"]


@pytest.mark.parametrize("number", POLITE)
def test_before_there_is_a_loop_there_is_nothing_to_finish(number: signal.Signals) -> None:
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert interrupts.requested


@pytest.mark.parametrize("number", POLITE)
def test_work_that_can_be_broken_off_does_not_hold_the_end_up(number: signal.Signals) -> None:
    def work() -> str:
        signal.raise_signal(number)
        time.sleep(60.0)
        return "done"

    with Interrupts() as interrupts:
        interrupts.polite = True
        assert interrupts.run(work) is None
    assert interrupts.requested


def test_work_that_nobody_interrupts_gives_its_result() -> None:
    with Interrupts() as interrupts:
        interrupts.polite = True
        assert interrupts.run(lambda: 42) == 42
        # The work is over: a request is no longer its business.
        signal.raise_signal(signal.SIGTERM)
    assert interrupts.requested


def test_work_that_begins_after_the_request_is_done() -> None:
    with Interrupts() as interrupts:
        interrupts.polite = True
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.run(lambda: 42) == 42


def test_errors_of_the_work_come_through() -> None:
    with Interrupts() as interrupts, pytest.raises(ZeroDivisionError):
        interrupts.run(lambda: 1 / 0)


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in POLITE]
    with Interrupts():
        assert [signal.getsignal(number) for number in POLITE] != before
    assert [signal.getsignal(number) for number in POLITE] == before


def test_a_handler_that_was_not_pythons_is_no_reason_to_fail() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with Interrupts() as interrupts:
            interrupts._before[signal.SIGTERM] = None  # what Python says of a handler that C code had set
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
