"""How a demonstration is shown: a live table in a terminal, plain lines in a pipe, JSON lines on request.

Owns the choice between them and what of the peers' events deserves a sentence. Does not know processes or keys, nor
what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from gossiptrain.errors import UsageError
from gossiptrain.events import Event, Finished, Joined, PeerChanged, Started
from gossiptrain.monitor.event_text import EventText
from gossiptrain.monitor.swarm_table import KEY_HELP, SwarmTable
from gossiptrain.monitor.view import Format, write_line
from gossiptrain.monitor.words import counted

PLAIN_INTERVAL_S = 3.0
LIVE_INTERVAL_S = 0.25
MESSAGES = 4


class DemoView(Protocol):
    """What the demonstration is shown by. All methods raise OSError where the stream is gone, except `close`."""

    offers_keys: bool
    """Whether a person is there who may press keys."""

    def handle(self, label: str, event: Event) -> None:
        """Takes an event of the peer `label`; the table knows it already."""

    def tell(self, text: str) -> None:
        """Says something at once; it stays."""

    def tick(self, status: str, *, keys: bool) -> None:
        """Called several times a second. status: what goes on; keys: whether they do something now."""

    def close(self) -> None:
        """Leaves the stream as a person expects it. May be called twice."""


def demo_view(log_format: Format, stream: TextIO, table: SwarmTable) -> DemoView:
    """The view named by `log_format`; `auto` is live in a terminal that can move its cursor, and plain elsewhere.

    Raises UsageError for `live` where the stream is no terminal.
    """
    terminal = stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    if log_format == "json":
        return JsonDemoView(stream)
    if log_format == "live" and not terminal:
        raise UsageError("The live view needs a terminal.", remedy="Use --log-format plain or json, or leave it out.")
    if log_format == "plain" or not terminal:
        return PlainDemoView(stream, table)
    return LiveDemoView(Console(file=stream), table)


class SwarmEventText:
    """Puts the events of several peers into sentences; most deserve none."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._event_texts: dict[str, EventText] = {}
        self._finished: set[str] = set()
        self._missed: set[str] = set()

    def tell(self, label: str, event: Event) -> str | None:
        """The sentence for an event of the peer `label`, or None."""
        if isinstance(event, Started):
            self._labels[event.peer_id] = label
            return None
        if isinstance(event, Joined):
            donor = self._labels.get(event.donor, "another one")
            return f"peer {label} took the parameters of step {event.step:,} from peer {donor}"
        if isinstance(event, PeerChanged):
            return self._lost(event) if event.change == "lost" else None
        if isinstance(event, Finished):
            self._finished.add(label)
            return None
        message = self._event_texts.setdefault(label, EventText()).tell(event)
        return f"peer {label}: {message.text}" if message is not None and message.level == "warning" else None

    def _lost(self, event: PeerChanged) -> str | None:
        lost = self._labels.get(event.peer_id, "?")
        if event.peer_id in self._missed or lost in self._finished:
            return None
        self._missed.add(event.peer_id)
        left = "1 peer goes on" if event.peers == 1 else f"{counted(event.peers, 'peer')} go on"
        return f"the others noticed that peer {lost} is gone; {left}"


class PlainDemoView:
    """One line every few seconds, with the state of the swarm where that has changed, and messages at once."""

    offers_keys = False

    def __init__(
        self,
        stream: TextIO,
        table: SwarmTable,
        *,
        interval_s: float = PLAIN_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._table = table
        self._interval_s = interval_s
        self._clock = clock
        self._next_line_s = clock() + interval_s
        self._last_line = ""
        self._swarm_event_text = SwarmEventText()

    def handle(self, label: str, event: Event) -> None:
        """See `DemoView`."""
        if (text := self._swarm_event_text.tell(label, event)) is not None:
            self.tell(text)

    def tell(self, text: str) -> None:
        """See `DemoView`."""
        write_line(self._stream, text)

    def tick(self, status: str, *, keys: bool) -> None:
        """See `DemoView`."""
        if self._clock() >= self._next_line_s:
            self._next_line_s = self._clock() + self._interval_s
            line, before = self._table.plain_line(), self._last_line
            write_line(self._stream, status if line == before else f"{status}  |  {line}")
            self._last_line = line

    def close(self) -> None:
        """Does nothing: every line was flushed."""


class JsonDemoView:
    """Each event as its peer wrote it, with the peer's label; what is told is an event `demo`."""

    offers_keys = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def handle(self, label: str, event: Event) -> None:
        """See `DemoView`."""
        self._write({"peer": label, **event.model_dump(mode="json")})

    def tell(self, text: str) -> None:
        """See `DemoView`."""
        self._write({"event": "demo", "time": time.time(), "message": text})

    def tick(self, status: str, *, keys: bool) -> None:
        """Does nothing: a program reads the events."""

    def close(self) -> None:
        """Does nothing: every line was flushed."""

    def _write(self, content: dict[str, object]) -> None:
        write_line(self._stream, json.dumps(content))


class LiveDemoView:
    """The table, drawn anew several times a second; what is told scrolls by above it."""

    offers_keys = True

    def __init__(self, console: Console, table: SwarmTable, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._table = table
        self._clock = clock
        self._swarm_event_text = SwarmEventText()
        self._messages: deque[str] = deque(maxlen=MESSAGES)
        self._drawn_s = -float("inf")
        self._live: Live | None = None
        self._closed = False
        self._status = ""

    def handle(self, label: str, event: Event) -> None:
        """See `DemoView`."""
        if (text := self._swarm_event_text.tell(label, event)) is not None:
            self._messages.append(text)

    def tell(self, text: str) -> None:
        """See `DemoView`."""
        # Not wrapped, so that commands can be selected and copied.
        self._console.print(Text(text), soft_wrap=True)

    def tick(self, status: str, *, keys: bool) -> None:
        """See `DemoView`."""
        self._status = status
        if self._closed or self._clock() - self._drawn_s < LIVE_INTERVAL_S:
            return
        self._drawn_s = self._clock()
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self._picture(status, keys=keys), refresh=True)

    def _picture(self, status: str, *, keys: bool) -> RenderableType:
        lines: list[RenderableType] = [Text(), Text(status, "bold", no_wrap=True, overflow="ellipsis"), Text()]
        lines.append(self._table)
        lines += [Text(message, "dim", no_wrap=True, overflow="ellipsis") for message in self._messages]
        if keys:
            lines.append(Text(KEY_HELP, "cyan", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def close(self) -> None:
        """Draws the last state, which stays, and gives the cursor back."""
        live, self._live, self._closed = self._live, None, True
        if live is not None:
            with contextlib.suppress(OSError):
                live.update(self._picture(self._status, keys=False))
                live.stop()
