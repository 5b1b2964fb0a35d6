"""Real processes of the command line, for tests: start them, wait for what they tell, end them, find what they left.

Owns `Family`, all processes of one test, and `Peer`, one `gossip` command among them. A family marks its processes by
a variable in their environment, which children inherit whatever session they are in and whoever adopts them, so that
nothing a test started can hide. Waits for conditions, never for time. Processes are ended by their id. How a process
comes to have imported torch before it begins is `warm`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

from gossiptrain import events
from gossiptrain.cli.main import main
from tests.warm import Start, WarmProcess

EventT = TypeVar("EventT", bound=events.EventBase)
GOSSIP = Path(sys.executable).with_name("gossip")
MARK_VARIABLE = "GOSSIPTRAIN_TEST_FAMILY"
GENEROUS_S = 90.0
"""Longest wait for what must happen. Only a broken program ever waits so long, on however loaded a machine."""
POLL_S = 0.02
SECRET_OF_LINK = re.compile(r"gossip://\S+#[A-Za-z0-9_-]{40}")
"""Nothing but `gossip invite` ever says it."""
NODE, DAEMON = "gossiptrain.node", "p2pd"
"""By these words in their command line the process beside a trainer and libp2p's daemon are known."""


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = GENEROUS_S) -> None:
    """Waits until `condition` holds. Raises AssertionError that says `what` did not come about."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(POLL_S)


def free_port() -> int:
    """A port of this computer at which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Member:
    """A living process of a family. state: the letter in /proc, such as `S` for sleeping and `T` for stopped."""

    pid: int
    parent: int
    state: str
    command: str

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has just ended does not mind."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Family:
    """All processes that a test starts, and all that those start in turn, in sessions of their own or not.

    Leaving the `with` block kills those that are left, so that a failed test disturbs no other.
    """

    def __init__(self, folder: Path) -> None:
        """folder: where the output of the processes is kept, and where they run unless told otherwise."""
        self.folder = folder
        self.mark = secrets.token_hex(8)
        self.peers: list[Peer] = []
        # Short, because the paths of Unix sockets are, and the family's own, so that what is left in it is its own.
        self._temporary = tempfile.TemporaryDirectory(prefix="gossip-test-")
        self.temporary = Path(self._temporary.name)

    def start(
        self,
        *arguments: str,
        program: Sequence[str] | None = None,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> Peer:
        """Starts `gossip ARGUMENTS...`, or another program, in a session of its own, as a terminal would.

        program: None for a `WarmProcess`; `(str(GOSSIP),)` where it is to start as its user starts it.
        """
        name = f"process-{len(self.peers) + 1}"
        peer = Peer(
            Start(
                arguments=arguments,
                cwd=cwd or self.folder,
                environment={
                    **os.environ,
                    MARK_VARIABLE: self.mark,
                    "TMPDIR": str(self.temporary),
                    **(environment or {}),
                },
                out=self.folder / f"{name}.out",
                err=self.folder / f"{name}.err",
            ),
            family=self,
            program=program,
        )
        self.peers.append(peer)
        return peer

    def train(self, *arguments: str, task: str = "digits", environment: dict[str, str] | None = None) -> Peer:
        """Starts `gossip train TASK` with one thread and JSON lines, listening on this computer alone.

        Unless told otherwise it does not end by itself before the test does.
        """
        local = ["--threads", "1", "--device", "cpu", "--log-format", "json", "--preset", "local"]
        if not any(argument.startswith(("--host", "--alone")) for argument in arguments):
            local += ["--host-maddr", "/ip4/127.0.0.1/tcp/0"]
        if not {"--epochs", "--max-steps", "--max-seconds", "--resume"} & set(arguments):
            local += ["--epochs", "1000000"]
        return self.start("train", task, *local, *arguments, environment=environment)

    def members(self) -> list[Member]:
        """The living processes of the family; those that have ended and were not yet reaped do not count."""
        trainers = {peer.pid for peer in self.peers if peer.process.poll() is None}
        return list(_living(self.mark, trainers))

    def assert_gone(self, *, within_s: float) -> None:
        """Asserts that within this time no process of the family is left."""
        deadline_s = time.monotonic() + within_s
        while left := self.members():
            assert time.monotonic() < deadline_s, f"still there after {within_s:g} s: {left}"
            time.sleep(POLL_S)

    def left_folders(self) -> list[str]:
        """Names of the private folders of daemons that the family has left; a killed node cannot remove its own."""
        return sorted(path.name for path in self.temporary.glob("gossiptrain-net-*"))

    def end(self) -> None:
        """Kills whatever is left, children that it starts meanwhile included, and removes the temporary folder."""
        while left := self.members():
            for member in left:
                member.signal(signal.SIGKILL)
            for peer in self.peers:
                peer.process.poll()
            time.sleep(POLL_S)
        for peer in self.peers:
            peer.process.wait()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said = [(peer.command, peer.out + peer.err) for peer in self.peers]
        self.end()
        if error is None:
            for command, text in said:
                assert "invite" in command or not SECRET_OF_LINK.search(text), f"it has said a secret: {command[:3]}"


class Peer:
    """One command of a family: its process, the events it tells as JSON lines, and what it says on standard error."""

    def __init__(self, start: Start, *, family: Family, program: Sequence[str] | None) -> None:
        """Use `Family.start`. Its output goes to files, which never fill up as pipes do."""
        self.family = family
        self.command = [*(program or ("gossip",)), *start.arguments]
        self._out, self._err = start.out, start.err
        self._out.touch()
        self._err.touch()
        self.process = WarmProcess(start) if program is None else _started(self.command, start)
        self._read_bytes = 0
        self._events: list[events.Event] = []

    @property
    def pid(self) -> int:
        """The process id of the command itself: of the trainer, where it trains."""
        return self.process.pid

    @property
    def out(self) -> str:
        """All that was written to standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """All that was written to standard error so far, by the command and its node."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    # What it tells.

    def events(self) -> list[events.Event]:
        """All events that were told so far."""
        with self._out.open("rb") as file:
            file.seek(self._read_bytes)
            *lines, _unfinished = file.read().split(b"\n")
        for line in lines:
            self._read_bytes += len(line) + 1
            event = events.event_from_json(line)
            if event is not None:
                self._events.append(event)
        return list(self._events)

    def told(self) -> int:
        """How many events were told so far: for `since`."""
        return len(self.events())

    def find(
        self, kind: type[EventT], where: Callable[[EventT], bool] | None = None, *, since: int = 0
    ) -> list[EventT]:
        """The events of one kind that were told, from number `since` on."""
        found = [event for event in self.events()[since:] if isinstance(event, kind)]
        return [event for event in found if where is None or where(event)]

    def wait_for(
        self,
        kind: type[EventT],
        where: Callable[[EventT], bool] | None = None,
        *,
        since: int = 0,
        within_s: float = GENEROUS_S,
    ) -> EventT:
        """The first such event; waits for it. Raises AssertionError where it does not come or the process ends."""
        deadline_s = time.monotonic() + within_s
        while True:
            ended = self.process.poll() is not None
            if found := self.find(kind, where, since=since):
                return found[0]
            assert not ended, f"it ended with {self.process.returncode} before {kind.__name__} came\n{self._report()}"
            late = time.monotonic() >= deadline_s
            assert not late, f"{kind.__name__} did not come within {within_s:g} s\n{self._report()}"
            time.sleep(POLL_S)

    def address(self) -> str:
        """The address, with /p2p/ID, at which others on this computer reach it; waits until it is up."""
        return self.wait_for(events.Started).addresses[0]

    def peer_id(self) -> str:
        """Its peer id; waits until it is up."""
        return self.wait_for(events.Started).peer_id

    def _report(self) -> str:
        last = "\n".join(self.out.splitlines()[-12:])
        return f"$ {' '.join(self.command)}\n{last}\n--- standard error:\n{self.err[-4000:]}"

    # Its processes, and its end.

    def node(self) -> Member:
        """The process beside the trainer; waits for it."""
        return self._wait_for_process(NODE)

    def daemon(self) -> Member:
        """libp2p's daemon; waits for it."""
        return self._wait_for_process(DAEMON)

    def find_process(self, word: str) -> Member | None:
        """Its node or its daemon, by `NODE` or `DAEMON`; None where there is none at this moment."""
        members = self.family.members()
        node = _child_of(self.pid, NODE, members)
        return node if word == NODE or node is None else _child_of(node.pid, word, members)

    def _wait_for_process(self, word: str) -> Member:
        deadline_s = time.monotonic() + GENEROUS_S
        while (member := self.find_process(word)) is None:
            assert time.monotonic() < deadline_s, f"there is no {word}\n{self._report()}"
            time.sleep(POLL_S)
        return member

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the command itself and to nothing else."""
        self.process.send_signal(number)

    def wait(self, *, within_s: float = GENEROUS_S) -> int:
        """The exit code, as a shell gives it, negative after a signal. Raises AssertionError where it does not end."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {within_s:g} s\n{self._report()}") from None

    def kill(self) -> None:
        """Ends the command as `kill -9` does, and waits for that."""
        self.signal(signal.SIGKILL)
        self.wait()


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Command:
    """Runs commands in the test's own process, which has imported torch already; see the fixture `gossip`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ended:
        """Runs `gossip ARGUMENTS...` to its end. An exception other than its exit would fail the test."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        assert isinstance(exited.value.code, int)
        return Ended(exited.value.code, said.out, said.err)

    def train(self, *arguments: str | Path, task: str = "digits") -> Ended:
        """Runs `gossip train TASK` to its end, on this computer alone, with JSON lines."""
        local = ["--device", "cpu", "--log-format", "json", "--preset", "local"]
        if not any(str(argument).startswith(("--host", "--alone")) for argument in arguments):
            local += ["--host-maddr", "/ip4/127.0.0.1/tcp/0"]
        return self("train", task, *local, *arguments)


def _child_of(parent: int, word: str, members: Sequence[Member]) -> Member | None:
    # Until the daemon has taken the place of the wrapper that starts it, its word is only one of the arguments.
    fitting = (one for one in members if one.parent == parent and word in one.command)
    return next((one for one in fitting if "-c" not in one.command.split()), None)


def _started(command: Sequence[str], start: Start) -> subprocess.Popen[bytes]:
    with start.out.open("wb") as out, start.err.open("wb") as err:
        return subprocess.Popen(
            command,
            cwd=start.cwd,
            env=start.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def _living(mark: str, known: Collection[int]) -> Iterator[Member]:
    """Processes with this mark, and those that are known without: forked ones show the environment of their parent."""
    needle = f"{MARK_VARIABLE}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        # Processes end while one looks, and those of other users cannot be read.
        with contextlib.suppress(OSError, IndexError):
            if int(folder.name) not in known and needle not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            if state not in "ZX":
                yield Member(int(folder.name), int(parent), state, command)
