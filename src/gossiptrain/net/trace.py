"""The trace of the protocol: one JSON line for each message that a process sends to other peers or receives of them.

Owns the file and its bounds. Tensors are never in it, as they are no messages. Does not know what messages mean.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from gossiptrain.errors import UsageError
from gossiptrain.net.transport import Stream

TRACE_VARIABLE = "GOSSIPTRAIN_TRACE"
"""The file of the trace. Processes that are started inherit it, and several may append to one file."""
MAX_TRACE_BYTES = 256 << 20
"""A trace that has grown so long is not continued."""
_logger = logging.getLogger(__package__)


class Trace:
    """An open trace."""

    def __init__(self, path: Path, *, limit_bytes: int = MAX_TRACE_BYTES) -> None:
        """Appends to `path`. Raises OSError."""
        self._limit_bytes = limit_bytes
        self._path = path
        # For this user only: in it are names, addresses, and tokens that open one connection each.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, direction: Literal["sent", "received"], stream: Stream, message: BaseModel) -> None:
        """Writes one line: unix time, process, the other peer, direction, protocol, kind of message, the message."""
        if self._file < 0:
            return
        head = {
            "time": round(time.time(), 6),
            "pid": os.getpid(),
            "peer": stream.remote,
            "direction": direction,
            "protocol": stream.protocol,
            "kind": type(message).__name__,
        }
        line = f'{json.dumps(head)[:-1]}, "message": {message.model_dump_json()}}}\n'.encode()
        try:
            if os.fstat(self._file).st_size + len(line) > self._limit_bytes:
                _logger.warning("the trace %s has reached %d bytes and is not continued", self._path, self._limit_bytes)
                self.close()
                return
            os.write(self._file, line)  # at once and whole: others may append, too
        except OSError as error:
            _logger.warning("the trace %s cannot be written any more: %s", self._path, error.strerror)
            self.close()

    def close(self) -> None:
        """Writes no more. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


active: Trace | None = None
"""The trace of this process; None costs nothing."""


def start(path: Path) -> None:
    """From now on this process writes its trace to `path`. Raises OSError."""
    global active
    stop()
    active = Trace(path)


def start_as_told() -> None:
    """Starts the trace that the environment names; where that cannot be written, says so and goes on."""
    if path := os.environ.get(TRACE_VARIABLE):
        try:
            start(Path(path))
        except OSError as error:
            _logger.warning("the trace %s cannot be written: %s", path, error.strerror)


def stop() -> None:
    """Ends the trace."""
    global active
    if active is not None:
        active.close()
    active = None


@contextmanager
def traced(path: Path | None) -> Iterator[None]:
    """Processes that are started in this block trace to `path`; None leaves it to the environment.

    Raises UsageError where it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        Trace(path).close()
    except OSError as error:
        raise UsageError(f"The trace {path} cannot be written: {error.strerror}.") from error
    before = os.environ.get(TRACE_VARIABLE)
    os.environ[TRACE_VARIABLE] = str(path.absolute())
    try:
        yield
    finally:
        del os.environ[TRACE_VARIABLE]
        if before is not None:
            os.environ[TRACE_VARIABLE] = before
