"""libp2p's daemon as a child process that never outlives this one.

Owns the process, its private folder with keys and sockets, and its last words. Does not know how to talk to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gossiptrain.errors import ASK_THE_DOCTOR, NodeFailedError

_logger = logging.getLogger(__package__)
_FOLDER_PREFIX = "gossiptrain-net-"
_MAX_TEMP_DIR_LENGTH = 60
"""Unix socket paths may have 107 bytes; in a longer folder, /tmp is used instead."""
_MAX_LINE_BYTES = 4096
_READY = b"Peer ID:"
# Replaces itself by the daemon after asking the kernel to kill it, even when stopped, once its parent is gone. If the
# parent died before the question was asked, nobody would ever answer it, so the wrapper looks for itself.
_WRAPPER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]): os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class PrivateFolder:
    """A folder for one start, readable by this user only. What a killed owner left behind, the next start removes."""

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if len(parent) > _MAX_TEMP_DIR_LENGTH:
            parent = "/tmp"  # noqa: S108 - the folder in it is made by mkdtemp, for this user alone
        remove_stale_folders(parent)
        # Under its final name the folder is always locked, so that nobody takes it for a stale one.
        fresh = Path(tempfile.mkdtemp(prefix=f".{_FOLDER_PREFIX}", dir=parent))
        self._lock = os.open(fresh, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = fresh.with_name(fresh.name.removeprefix("."))
        fresh.rename(self.path)

    def remove(self) -> None:
        """Removes the folder and all in it. May be called twice."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def remove_stale_folders(parent: str | None = None) -> None:
    """Removes private folders of this user whose owners were killed."""
    for folder in Path(parent or tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


@dataclass(eq=False)
class Daemon:
    """The running process. `exited` is set when it has ended, whatever the reason."""

    process: asyncio.subprocess.Process
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: Sequence[str], *, environment: Mapping[str, str], timeout_s: float) -> Daemon:
        """Starts `command` and waits until it is ready. Raises NodeFailedError with its last words."""
        try:
            process = await asyncio.create_subprocess_exec(
                *_bound_to_this_process(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl+C in the terminal is this process's business
            )
        except OSError as error:
            raise _failed(f"{command[0]}: {error.strerror}") from error
        daemon = cls(process)
        daemon._reader = asyncio.create_task(daemon._read_output(), name="reader of libp2p's daemon")
        try:
            async with asyncio.timeout(timeout_s):
                await daemon._ready.wait()
        except TimeoutError:
            await daemon.close()
            raise _failed(f"It was not ready after {timeout_s:g} s.") from None
        except BaseException:
            await daemon.close()
            raise
        if daemon.exited.is_set():
            await daemon.close()
            raise _failed("; ".join(daemon.last_lines) or "It ended without a word.")
        return daemon

    async def close(self, *, grace_s: float = 0.5) -> None:
        """Ends the process, by force after `grace_s`, and waits until it is gone. May be called twice."""
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.process.wait()
        except TimeoutError:
            self._send(signal.SIGKILL)
        except BaseException:
            self._send(signal.SIGKILL)
            raise
        await self.process.wait()
        if self._reader is not None:
            await self._reader

    def _send(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            # Not by the process's own method: that may reap the child before asyncio does, which then complains.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def _read_output(self) -> None:
        assert self.process.stdout is not None  # asked for above
        unfinished = b""
        while piece := await self.process.stdout.read(_MAX_LINE_BYTES):
            *lines, unfinished = (unfinished + piece).split(b"\n")
            for line in lines:
                self._note(line)
            unfinished = unfinished[:_MAX_LINE_BYTES]
        self._note(unfinished)
        await self.process.wait()
        self.exited.set()
        self._ready.set()

    def _note(self, line: bytes) -> None:
        if line.startswith(_READY):
            self._ready.set()
        if text := line[:_MAX_LINE_BYTES].decode("utf-8", "replace").strip():
            self.last_lines.append(text)
            _logger.debug("p2pd: %s", text)


def _bound_to_this_process(command: Sequence[str]) -> list[str]:
    """On Linux the kernel ends the daemon with this process; elsewhere it ends when its control socket closes."""
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _WRAPPER, str(os.getpid()), *command]


def _failed(cause: str) -> NodeFailedError:
    return NodeFailedError(
        "libp2p's daemon p2pd cannot be started.",
        cause=cause,
        remedy="Reinstall the package hivemind, which brings it; GOSSIPTRAIN_DEBUG=1 shows all it says. "
        + ASK_THE_DOCTOR,
    )
