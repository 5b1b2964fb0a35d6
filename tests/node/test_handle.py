"""The trainer's hold on its node: whatever happens while one is started, closing ends it, and failures are told."""

from __future__ import annotations

import errno
import os
import queue
import signal
import site
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.core.fragments import Fragments
from gossiptrain.errors import NodeFailedError
from gossiptrain.net.framing import Message
from gossiptrain.node import control, handle
from gossiptrain.node.handle import NodeHandle
from tests.members import LOCAL
from tests.processes import MARK_VARIABLE, Family, wait_until

LAUNCH = control.Configure(
    fingerprint=RunFingerprint(PROTOCOL_VERSION, "run", "task", "ab" * 32, 10, "average"),
    fragments=Fragments((10,)),
    gossip=GossipSettings(every_steps=1),
    network=LOCAL,
    take_state=False,
)


class Heard:
    """What a handle has handed on."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def __call__(self, message: Message) -> None:
        self._messages.put(message)

    def wait_for(self, kind: type[Message], *, within_s: float = 60.0) -> Message:
        deadline_s = time.monotonic() + within_s
        while True:
            message = self._messages.get(timeout=max(0.01, deadline_s - time.monotonic()))
            if isinstance(message, kind):
                return message


@pytest.fixture
def marked(family: Family, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """A family to which all processes belong that the test's own process starts."""
    monkeypatch.setenv(MARK_VARIABLE, family.mark)
    yield family
    family.assert_gone(within_s=5.0)


def failed(node: NodeHandle) -> bool:
    try:
        node.raise_if_failed()
    except NodeFailedError:
        return True
    return False


@pytest.mark.usefixtures("marked")
def test_closing_while_a_node_is_being_started_ends_that_node(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(handle._Process):
        def __init__(self, memory: Any) -> None:
            begun.set()
            assert go_on.wait(30.0)
            super().__init__(memory)

    monkeypatch.setattr(handle, "_Process", Slow)
    node = NodeHandle(LAUNCH, Heard())
    assert begun.wait(30.0)
    closing = threading.Thread(target=lambda: node.close(grace_s=0.2))
    closing.start()
    go_on.set()
    closing.join(10.0)
    assert not closing.is_alive()


@pytest.mark.usefixtures("marked")
def test_closing_while_a_node_is_being_replaced_ends_the_new_one() -> None:
    heard = Heard()
    node = NodeHandle(LAUNCH, heard)
    heard.wait_for(control.Joined)
    assert node.pid is not None
    os.kill(node.pid, signal.SIGKILL)
    heard.wait_for(control.NodeDown)
    began_s = time.monotonic()
    node.close(grace_s=0.2)
    assert time.monotonic() - began_s < 10.0


@pytest.mark.usefixtures("marked")
def test_a_system_without_room_for_a_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    node = NodeHandle(LAUNCH, Heard())
    try:
        wait_until(lambda: failed(node), "the failure is known")
        with pytest.raises(NodeFailedError, match="Cannot allocate memory"):
            node.raise_if_failed()
    finally:
        node.close()


@pytest.mark.usefixtures("marked")
def test_a_node_that_cannot_be_replaced_at_once_is_replaced_later_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = Heard()
    node = NodeHandle(LAUNCH, heard)
    try:
        heard.wait_for(control.Joined)
        refused = threading.Event()
        honest = handle._Process.__init__

        def refuse_once(self: handle._Process, memory: Any) -> None:
            if not refused.is_set():
                refused.set()
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            honest(self, memory)

        monkeypatch.setattr(handle._Process, "__init__", refuse_once)
        assert node.pid is not None
        os.kill(node.pid, signal.SIGKILL)
        assert "ended" in getattr(heard.wait_for(control.NodeDown), "reason")  # noqa: B009
        down = heard.wait_for(control.NodeDown)
        assert isinstance(down, control.NodeDown)
        assert down.reason == "it cannot be started: Too many open files"
        heard.wait_for(control.NodeRestarted)
        heard.wait_for(control.Joined)
    finally:
        node.close()


def test_what_is_installed_never_goes_before_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(handle, "__file__", str(tmp_path / "gossiptrain" / "node" / "handle.py"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert handle._python_path() == ""
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert handle._python_path() == "/somewhere"


def test_the_node_finds_a_package_that_is_run_from_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "__file__", str(tmp_path / "gossiptrain" / "node" / "handle.py"))
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert handle._python_path().split(os.pathsep) == [str(tmp_path), "/somewhere"]
