"""Where faults are planted: the doctor as its user starts it, real peers, and this computer changed for one process.

Owns how a command is started as another user, in mounts or limits of its own, or on a host that is a namespace, and
that nothing of it is left. Does not know the faults.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from benchmarks.namespaces import Hosts

from gossiptrain.doctor.finding import Finding
from tests.processes import GOSSIP, Family, wait_until

ID = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
"""Of a peer that lives nowhere."""
NOBODY = 65534
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor has said, and with which code it ended."""

    code: int
    findings: list[Finding]

    def of(self, name: str) -> list[Finding]:
        """The findings of one check."""
        return [finding for finding in self.findings if finding.name == name]

    def assert_says(self, name: str, verdict: str, *words: str) -> None:
        """That a check has come to this verdict in these words."""
        told = [(each.verdict, f"{each.what} {each.cause} {each.remedy}") for each in self.of(name)]
        assert told, f"nothing is said of {name}: {self.findings}"
        assert any(kind == verdict and all(word in text for word in words) for kind, text in told), told


@dataclass
class Stage:
    """One test's folder, processes, and what has to be undone at its end. prefix: stands before the doctor's command.
    environment: of the doctor alone."""

    folder: Path
    family: Family
    undo: ExitStack
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def ask(self, *arguments: str | Path) -> Diagnosis:
        """Runs `gossip doctor --json ARGUMENTS` to its end, with patience, since this computer may be busy."""
        words = ("doctor", "--json", "--max-seconds", "60", *map(str, arguments))
        is_plain = not self.prefix and not self.environment
        program = None if is_plain else (*self.prefix, str(GOSSIP))
        peer = self.family.start(*words, program=program, environment=self.environment)
        code = peer.wait()
        assert code in (0, 1), peer.err
        told = json.loads(peer.out)
        return Diagnosis(code, [Finding(**finding) for finding in told["findings"]])

    def with_mounts(self, *commands: str) -> None:
        """The doctor sees the file system after these commands, and nobody else does. Skips where that cannot be."""
        self.prefix = (*self.prefix, "unshare", "--mount", "sh", "-ec", "; ".join([*commands, 'exec "$@"']), "doctor")
        self._try("unshare", "--mount", "sh", "-ec", "; ".join(commands))

    def as_nobody(self) -> None:
        """The doctor runs as a user who owns nothing, in a home of its own."""
        self.prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        self.environment["HOME"] = str(self.folder)
        for folder in (self.folder, *self.folder.parents[:2]):
            folder.chmod(folder.stat().st_mode | 0o055)
        self.family.temporary.chmod(0o777)
        self._try(
            *self.prefix, sys.executable, "-c", f"import os; os.listdir({str(self.folder)!r}); import gossiptrain"
        )

    def on(self, hosts: Hosts, host: int = 0) -> None:
        """The doctor runs on a host that is a namespace."""
        self.prefix = hosts.on(host)
        self.without_torch()

    def without_torch(self) -> None:
        """The doctor finds no torch, and so need not spend two seconds of a core on loading it."""
        folder = self.folder / "without"
        (folder / "torch").mkdir(parents=True)
        (folder / "torch" / "__init__.py").write_text("raise ImportError('left out')\n")
        self.environment["PYTHONPATH"] = environment_path(folder)

    def _try(self, *command: str) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"this cannot be done here: {error}")
        if done.returncode:
            pytest.skip(f"this cannot be done here: {done.stderr.strip()[-200:]}")

    def start(self, *arguments: str, prefix: Sequence[str] = (), patch: str = "") -> Any:
        """Another `gossip` command. patch: lines of Python that its process begins with."""
        if patch:
            code = f"{patch}; from gossiptrain.cli.main import main; main()"
            return self.family.start(*arguments, program=(*prefix, sys.executable, "-c", code))
        return self.family.start(*arguments, program=(*prefix, str(GOSSIP)) if prefix else None)

    def helper(
        self, *flags: str, prefix: Sequence[str] = (), patch: str = "", place: str = "127.0.0.1"
    ) -> tuple[Any, str]:
        """A helper that is up, and its address."""
        started = self.start("bootstrap", "--host-maddr", f"/ip4/{place}/tcp/0", *flags, prefix=prefix, patch=patch)
        wait_until(lambda: "/p2p/" in started.out or started.process.poll() is not None, "the helper is up")
        assert "/p2p/" in started.out, started.err
        return started, next(word for word in started.out.split() if "/p2p/" in word)

    def listening(self, answer: bytes = b"") -> int:
        """The port at which this process takes connections, and says only `answer` to each."""
        taken = self.undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        if answer:
            self.undo.enter_context(_answering(taken, answer))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def _answering(server: socket.socket, answer: bytes) -> Iterator[None]:
    code = f"import socket\nwhile True:\n s = server.accept()[0]; s.sendall({answer!r}); s.close()"
    program = f"import socket; server = socket.socket(fileno={server.fileno()})\n{code}"
    with subprocess.Popen([sys.executable, "-c", program], pass_fds=[server.fileno()]) as process:
        try:
            yield
        finally:
            process.kill()


Plant = Callable[[Stage], Sequence[str | Path]]


@dataclass(frozen=True)
class Fault:
    """What is planted, and what the doctor has to say of it.

    plant: brings it about and returns the doctor's arguments. name: of the check that finds it. says: what, cause and
    remedy hold these words. verdict: of the finding.
    """

    what: str
    plant: Plant
    name: str
    says: tuple[str, ...]
    verdict: str = "fault"
    besides: tuple[str, str, str] | None = None
    """Another check that finds it, its verdict, and words of it."""

    def check(self, stage: Stage) -> None:
        """Plants it, asks the doctor, and compares."""
        found = stage.ask(*self.plant(stage))
        found.assert_says(self.name, self.verdict, *self.says)
        if self.besides is not None:
            found.assert_says(*self.besides)
        assert found.code == (1 if any(finding.verdict == "fault" for finding in found.findings) else 0)


def each_of(faults: Sequence[Fault], *, short: Collection[str]) -> pytest.MarkDecorator:
    """Gives a test all faults. `make test` plants those that are named `short`, `make test-long` the rest as well."""
    assert set(short) <= {fault.what for fault in faults}
    cases = [
        pytest.param(fault, id=fault.what, marks=() if fault.what in short else pytest.mark.long) for fault in faults
    ]
    return pytest.mark.parametrize("fault", cases)


def environment_path(*folders: Path) -> str:
    """A PYTHONPATH in which these folders come first."""
    return os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
