"""The trainer's hold on its node: starts it, hears it, and starts another one when it goes down.

Owns the node's process from the trainer's side. A reader thread hears the node and hands every message on; when the
node dies, freezes or loses its daemon, the thread says so and starts it again, while training goes on alone. Does
not know what the messages mean for a model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gossiptrain.errors import ASK_THE_DOCTOR, GossipError, NodeFailedError, error_named
from gossiptrain.net.framing import Message
from gossiptrain.net.silent_process import SilentProcess
from gossiptrain.node import control
from gossiptrain.node.control_socket import ControlClosedError, TrainerSide
from gossiptrain.node.kept_peers import KeptPeers
from gossiptrain.node.memory import SharedVectors

_logger = logging.getLogger(__package__)
FROZEN_AFTER_S = 5.0
"""A node that has said and done nothing for this long is killed and started again; it says `Alive` every second."""
START_TIMEOUT_S = 60.0
LONGEST_PAUSE_S = 30.0
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""The node's arithmetic is bound by memory; more threads would only take the trainer's processor time."""


class _Process:
    """One node process and the socket to it."""

    def __init__(self, memory: SharedVectors) -> None:
        mine, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gossiptrain.node",
                    str(os.getpid()),
                    str(theirs.fileno()),
                    str(memory.descriptor),
                ],
                pass_fds=(theirs.fileno(), memory.descriptor),
                # A session of its own, so that Ctrl+C in the terminal reaches only the trainer.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": _python_path()},
            )
        except OSError:
            mine.close()
            raise
        finally:
            theirs.close()
        self.side = TrainerSide(mine)
        self.started_s = time.monotonic()
        self.silent: SilentProcess | None = None
        """Once it has said anything."""
        self.joined = False

    def heard(self, message: Message) -> None:
        """It has said something."""
        if self.silent is None:
            self.silent = SilentProcess(self.process.pid, patience_s=FROZEN_AFTER_S)
        self.silent.heard()
        self.joined = self.joined or isinstance(message, control.Joined)

    def end(self, *, grace_s: float) -> None:
        """Waits for the process to end by itself, then kills it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        self.process.kill()
        self.process.wait()
        self.side.close()


def _python_path() -> str:
    """Where the node finds this very package when it is run from its sources.

    Where it is installed, the node finds it without this. What stands here goes before the standard library, and any
    package beside an installed one may have the name of a standard module.
    """
    home = Path(__file__).resolve().parents[2]
    installed = {Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())}
    given = os.environ.get("PYTHONPATH", "")
    return given if home in installed else os.pathsep.join([str(home), *filter(None, [given])])


class NodeHandle:
    """Owns the node of one trainer. `on_message` is called in the reader thread."""

    def __init__(self, launch: control.Configure, on_message: Callable[[Message], None]) -> None:
        """launch: what the first node is told; a later one is told what has changed since."""
        self.memory = SharedVectors.create(launch.fragments.longest, state=launch.state_elements)
        self._launch = launch
        self._on_message = on_message
        path = launch.network.peers_path
        self.kept = KeptPeers(Path(path).expanduser() if path else None, launch.network.known_peers)
        self._has_joined = False
        self._failure: GossipError | None = None
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        """Held while a process is started, and while it is decided that none will be any more."""
        self._process: _Process | None = None
        # The kernel ties the node's life to the thread that starts it, so that thread is the one that listens.
        self._reader = threading.Thread(target=self._read, name="gossiptrain node reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """The process id of the node that runs now."""
        return None if self._process is None else self._process.process.pid

    def raise_if_failed(self) -> None:
        """Raises the GossipError that keeps the node from joining; a node that has joined once is replaced instead."""
        if self._failure is not None and not self._has_joined:
            raise self._failure

    def send(self, message: Message) -> None:
        """Tells the node something; where the node is down just now, nothing happens."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ControlClosedError):
                process.side.send(message)

    def leave(self) -> None:
        """Has the node say goodbye and end; returns at once. No other one is started from now on."""
        with self._starting:
            self._stopping.set()
        self.send(control.Leave())

    def close(self, *, grace_s: float = 3.0) -> None:
        """Has the node leave the swarm and end, and kills it after `grace_s`. The memory is gone then."""
        self.leave()
        if self._process is not None:
            self._process.end(grace_s=grace_s)
        self._reader.join()
        self.kept.write(at_once=True)
        self.memory.close()

    def _start(self, *, first: bool) -> _Process | None:
        """None where the handle is being closed. Raises OSError where the system has no room for a process."""
        with self._starting:
            if self._stopping.is_set():
                return None
            process = self._process = _Process(self.memory)
        launch, known = self._launch, self.kept.known
        _logger.info("started the node %d, %s", process.process.pid, "first" if first else "to replace another one")
        network = launch.network.model_copy(update={"known_peers": known})
        configure = launch.model_copy(
            update={
                "network": network,
                "ports": self.kept.ports,
                "take_state": launch.take_state and first and network.joins,
                "must_join": first,
            }
        )
        with contextlib.suppress(ControlClosedError):
            process.side.send(configure)
        return process

    def _read(self) -> None:
        """The reader thread: hands on what the node says, and replaces the node when it goes down."""
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                process = self._start(first=not self._has_joined)
            except OSError as error:
                reason, worked = f"it cannot be started: {error.strerror or error}", False
            else:
                if process is None:
                    return
                if self._has_joined:
                    self._failure = None
                    self._on_message(control.NodeRestarted(pid=process.process.pid))
                reason, worked = self._listen(process), process.joined
                if self._stopping.is_set():
                    # The end of this thread would be the node's, which is still saying goodbye; `close` bounds that.
                    process.process.wait()
                    return
                _logger.info("the node %d went down: %s", process.process.pid, reason)
                process.end(grace_s=0.5)
            if not self._has_joined:
                self._failure = self._failure or NodeFailedError(
                    f"The node ended before it was ready ({reason}).",
                    cause="The reason may stand above.",
                    remedy=f"Set GOSSIPTRAIN_DEBUG=1 and start again to see what libp2p says. {ASK_THE_DOCTOR}",
                )
                return
            self._on_message(control.NodeDown(reason=reason))
            # A node that cannot get up is tried less and less often; one that had worked is replaced at once.
            pause_s = 0.0 if worked else min(max(1.0, 2 * pause_s), LONGEST_PAUSE_S)

    def _listen(self, process: _Process) -> str:
        """Hands on messages until the node goes down; returns why."""
        while not self._stopping.is_set():
            try:
                message = process.side.receive(timeout_s=1.0)
            except ControlClosedError:
                return "it ended" if self._failure is None else self._failure.what
            self.kept.write()
            if message is not None:
                process.heard(message)
                self._note(message)
            elif process.silent is None:
                if time.monotonic() - process.started_s > START_TIMEOUT_S:
                    return "it did not start"
            elif process.silent.is_given_up():
                return "it does not answer any more"
        return "it was told to"

    def _note(self, message: Message) -> None:
        if isinstance(message, control.Alive):
            return
        if isinstance(message, control.NodeFailed):
            self._failure = error_named(message.error, message.what, cause=message.cause, remedy=message.remedy)
            return
        if isinstance(message, control.PeerChanged | control.NodeReady):
            self.kept.note(message)
        self._has_joined = self._has_joined or isinstance(message, control.Joined)
        self._on_message(message)
