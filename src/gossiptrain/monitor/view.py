"""What every view of the stream of events has in common, and the choice of one.

Owns the `View` protocol, the join text, and writing a line to any text stream. Does not know what views show.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Literal, Protocol, TextIO, TypeAlias

from gossiptrain.events import Event, NodeChanged, Started
from gossiptrain.monitor.progress import PeerProgress
from gossiptrain.monitor.words import printable

Format: TypeAlias = Literal["auto", "live", "plain", "json"]
JoinText: TypeAlias = str | Callable[[Started], str]
"""The commands with which others join: the text, or how to make it once the addresses are known."""
_JOIN_LINE_CHARS = 2000


class View(Protocol):
    """Something a person or a program looks at. `handle` is a subscriber of the event bus."""

    def handle(self, event: Event) -> None:
        """Shows what the event means. Raises OSError where the stream is gone."""

    def close(self) -> None:
        """Leaves the stream as a person expects it. Never raises for a stream that is gone; may be called twice."""


def join_lines(join_text: JoinText, started: Started) -> list[str]:
    """The join text line by line, each safe to show."""
    text = join_text if isinstance(join_text, str) else join_text(started)
    return [printable(line, _JOIN_LINE_CHARS) for line in text.splitlines()]


def new_join_lines(join_text: JoinText, event: Event, progress: PeerProgress) -> list[str]:
    """The join text where `event`, which `progress` has taken in, says addresses that were not said before."""
    says_some = isinstance(event, Started) or (isinstance(event, NodeChanged) and bool(event.addresses))
    return join_lines(join_text, progress.started) if says_some and progress.started is not None else []


def write_line(stream: TextIO, line: str) -> None:
    """Writes and flushes one line; characters that the stream cannot encode become `?`. Raises OSError."""
    if stream.closed:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
