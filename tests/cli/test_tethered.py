"""Commands travel to a child and back, what it says arrives, and it never outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.cli.child import Child
from gossiptrain.cli.tethered import LATER, THEN, split_commands, tethered
from gossiptrain.training.events import Event
from tests.cli.processes import left_after, wait_until

arguments = st.text(min_size=1, max_size=8).filter(lambda text: text != THEN)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(arguments, max_size=4), min_size=1, max_size=4))
def test_commands_arrive_as_they_were_given(commands: list[list[str]]) -> None:
    line = tethered(commands)
    assert line[:4] == [sys.executable, "-m", "gossiptrain.cli.tethered", str(os.getpid())]
    assert split_commands(line[4:]) == commands


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
    assert child.exit_code == 2
    assert "nothing" in child.last_words
    assert [name for name in ("first", "second") if os.path.isdir(name)] == ["first", "second"]


def test_a_child_waits_for_what_it_is_told_later_and_dies_when_nobody_can_tell() -> None:
    async def course() -> int:
        child = await Child.start(["train", LATER], on_event=lambda event: None)
        assert child.exit_code is None
        await child.close()
        assert left_after([child.pid], patience_s=0) == set()
        return await child.wait()

    assert asyncio.run(course()) == -signal.SIGKILL


PARENT = f"""
import subprocess
from gossiptrain.cli.tethered import tethered
child = subprocess.Popen(tethered([["train", "{LATER}"]]), stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


def test_a_child_dies_with_its_parent_even_while_it_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            wait_until(lambda: "torch" in Path(f"/proc/{child}/maps").read_text())  # It is tied before it imports this.
            os.kill(child, signal.SIGSTOP)
            parent.kill()
            assert left_after([child], patience_s=2.0) == set()
        finally:
            parent.kill()
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
