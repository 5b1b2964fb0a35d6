"""`gossip` commands in processes of their own that have imported torch before they begin.

Owns the process, forked by the standard library's fork server from one that has imported all that a trainer needs:
otherwise more than half of the processor time of most tests with real trainers goes into importing. From there on it is
a process like any other: the same code in a session of its own, with its own environment, folder and output. The start
of a `gossip` command as its user starts it is what `tests/cli` is about. Does not know why it is started.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Start:
    """What a process is started with. out, err: the files of its standard output and error."""

    arguments: tuple[str, ...]
    cwd: Path
    environment: dict[str, str]
    out: Path
    err: Path


class WarmProcess:
    """A running command, with what `subprocess.Popen` offers that tests need."""

    def __init__(self, start: Start) -> None:
        """Starts it."""
        # The fork server, begun by the first start of all, imports its modules from the folder it is begun in.
        with contextlib.chdir(ROOT):
            _CONTEXT.set_forkserver_preload(["tests.warm_imports"])
            forkserver.ensure_running()
        self._process = _CONTEXT.Process(target=_run, args=(start,))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As `subprocess` gives it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        self._process.join(timeout_s)
        if self.returncode is None:
            assert timeout_s is not None
            raise subprocess.TimeoutExpired("gossip", timeout_s)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has just ended does not mind."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _run(start: Start) -> None:
    """What runs in the process: its surroundings become those of a command that a shell has started."""
    os.setsid()
    os.chdir(start.cwd)
    os.environ.clear()
    os.environ.update(start.environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) for path in (start.out, start.err))
    for descriptor, standard in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    assert "tests.warm_imports" in sys.modules, "the fork server could not import what trainers need"
    from gossiptrain.cli.main import main

    sys.argv = ["gossip", *start.arguments]
    main()
