"""A child process that runs `gossip` commands and tells its events as JSON lines.

Owns the process, the form in which it is given its commands, the decoding of what it says, and its last words. Does
not know what it is there for. What runs in the child is `cli/child_main.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from gossiptrain.events import Event, event_from_json

THEN = "+"
"""Stands between two commands."""
LATER = "LATER"
"""Stands for an argument that the child reads from its standard input when it comes to it."""
READ_LIMIT_BYTES = 1 << 20
LAST_LINES = 12
TAIL_S = 2.0
"""After the end of the process, the longest wait for what it said last: its node holds the same pipes a little on."""


def tethered(commands: Iterable[Sequence[str]]) -> list[str]:
    """The command line of a process that runs `commands`, each the arguments of `gossip`, and dies with this one.

    On Linux it is tied to the thread that starts it, too: start it from one that lasts.
    """
    arguments: list[str] = []
    for command in commands:
        arguments += [THEN, *command]
    return [sys.executable, "-m", "gossiptrain.cli.child_main", str(os.getpid()), *arguments[1:]]


def split_commands(arguments: Sequence[str]) -> list[list[str]]:
    """The commands that `tethered` put together."""
    commands: list[list[str]] = [[]]
    for argument in arguments:
        if argument == THEN:
            commands.append([])
        else:
            commands[-1].append(argument)
    return commands


class Child:
    """A running child. It never outlives this process, however this process ends."""

    def __init__(self, process: asyncio.subprocess.Process, on_event: Callable[[Event], None]) -> None:
        """Use `start`."""
        self.exit_code: int | None = None
        """None while it runs; as `subprocess` gives it, so -9 after SIGKILL."""
        self._process = process
        self._on_event = on_event
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._following = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, *commands: Sequence[str], on_event: Callable[[Event], None]) -> Self:
        """Starts a process that runs `commands` in turn. `on_event` is called in the event loop.

        Arguments that are `LATER` are given with `supply`, in their order.
        """
        process = await asyncio.create_subprocess_exec(
            *tethered(commands),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=READ_LIMIT_BYTES,
            start_new_session=True,  # Ctrl+C in the terminal is for the parent, which then tells the child.
        )
        return cls(process, on_event)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The last lines that were no events: errors, as a rule."""
        return "\n".join(self._last_lines)

    def supply(self, argument: str) -> None:
        """Gives the next argument that was left for later."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{argument}\n".encode())

    def send_signal(self, number: signal.Signals) -> None:
        """Does nothing where the process has ended."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit code, once the process has ended and all it said was heard."""
        return await asyncio.shield(self._following)

    async def close(self) -> None:
        """Kills the process where it still runs, and waits for its end."""
        self.send_signal(signal.SIGKILL)
        await self.wait()

    async def _follow(self) -> int:
        readers = [
            asyncio.create_task(_read_lines(self._process.stdout, self._hear)),
            asyncio.create_task(_read_lines(self._process.stderr, self._last_lines.append)),
        ]
        exit_code = await self._process.wait()
        done, late = await asyncio.wait(readers, timeout=TAIL_S)
        for reader in late:
            reader.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self.exit_code = exit_code
        for reader in done:
            reader.result()
        return exit_code

    def _hear(self, line: str) -> None:
        try:
            event = event_from_json(line)
        except ValueError:
            self._last_lines.append(line)
            return
        if event is not None:
            self._on_event(event)


async def _read_lines(stream: asyncio.StreamReader | None, hear: Callable[[str], None]) -> None:
    while stream is not None:
        try:
            line = await stream.readline()
        except ValueError:
            continue  # Longer than the limit: asyncio has dropped it.
        if not line:
            return
        if text := line.decode("utf-8", "replace").rstrip():
            hear(text)
