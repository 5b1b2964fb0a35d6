"""Commands travel to a child and back, what it says arrives, and it never outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.cli.child import LATER, THEN, Child, split_commands, tethered
from gossiptrain.errors import UsageError
from gossiptrain.events import Event
from tests.processes import Family, wait_until

arguments = st.text(min_size=1, max_size=8).filter(lambda text: text != THEN)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(arguments, max_size=4), min_size=1, max_size=4))
def test_commands_arrive_as_they_were_given(commands: list[list[str]]) -> None:
    line = tethered(commands)
    assert line[:4] == [sys.executable, "-m", "gossiptrain.cli.child_main", str(os.getpid())]
    assert split_commands(line[4:]) == commands


@pytest.mark.usefixtures("children")
def test_a_child_runs_its_commands_in_turn_and_tells_what_happens() -> None:
    async def course() -> tuple[list[Event], Child]:
        heard: list[Event] = []
        alone = ["train", "digits", "--alone", "--device", "cpu", "--threads", "1", "--max-steps", "3"]
        told = [*alone, "--log-format", "json", "--eval-every", "0", "--out"]
        child = await Child.start([*told, LATER], [*told, LATER], ["train", "nothing"], on_event=heard.append)
        for folder in ("first", "second"):
            child.supply(folder)
        await child.wait()
        return heard, child

    heard, child = asyncio.run(course())
    course_of_one = ["started", "eval", "checkpoint", "finished"]
    assert [event.event for event in heard if event.event != "step"] == course_of_one * 2
    assert child.exit_code == UsageError.exit_code
    assert "nothing" in child.last_words
    assert Path("first").is_dir()
    assert Path("second").is_dir()


def test_a_child_waits_for_what_it_is_told_later_and_can_be_killed_meanwhile(children: Family) -> None:
    async def course() -> int:
        child = await Child.start(["train", LATER], on_event=lambda event: None)
        assert child.exit_code is None
        await child.close()
        return await child.wait()

    assert asyncio.run(course()) == -signal.SIGKILL
    children.assert_gone(within_s=0)


PARENT = f"""
import subprocess
from gossiptrain.cli.child import tethered
child = subprocess.Popen(tethered([["train", "{LATER}"]]), stdin=subprocess.PIPE)
child.wait()
"""


def test_a_child_dies_with_its_parent_even_while_it_is_stopped(family: Family) -> None:
    parent = family.start("-c", PARENT, program=[sys.executable])

    def has_begun_its_imports() -> bool:
        return any("torch" in Path(f"/proc/{member.pid}/maps").read_text() for member in family.members())

    wait_until(has_begun_its_imports, "a child that is tied: it is before it imports torch")
    for member in family.members():
        if member.pid != parent.pid:
            member.signal(signal.SIGSTOP)
    parent.kill()
    family.assert_gone(within_s=2.0)
