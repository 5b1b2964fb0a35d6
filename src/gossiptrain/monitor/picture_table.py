"""A whole swarm in a terminal or a pipe, as `gossip watch` shows it.

Owns the table and the lines; all they say is in the snapshot that the page shows, too. Does not know how it came there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gossiptrain.events import Event, Notice
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.panel import one_line
from gossiptrain.monitor.view import write_line
from gossiptrain.monitor.words import UNKNOWN, counted, data_size, number, percent, sparkline

_STYLES = {
    "training": "green",
    "joining": "yellow",
    "ending": "blue",
    "ended": "dim",
    "lost": "bold red",
    "killed": "bold red",
    "watching": "magenta",
}
LIVE_INTERVAL_S = 0.5
PLAIN_INTERVAL_S = 3.0
MESSAGES = 6
WIDE = 84
"""Columns from which on everything is shown."""


class LivePictureTable:
    """The table, drawn anew when something is seen; the cursor is given back by `close`."""

    def __init__(self, picture: SwarmPicture, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._picture = picture
        self._clock = clock
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="ellipsis")
        self._drawn_s = -float("inf")
        self._closed = False

    def handle(self, event: Event) -> None:
        """See `View`."""
        if isinstance(event, Notice):
            self._console.print(Text(event.message), soft_wrap=True)
            return
        if self._closed or self._clock() - self._drawn_s < LIVE_INTERVAL_S:
            return
        self._drawn_s = self._clock()
        if not self._live.is_started:
            self._live.start()
        room = self._console.size.height - MESSAGES - 6
        shown = picture_table(self._picture.snapshot(), width=self._console.width, most=max(4, room))
        self._live.update(shown, refresh=True)

    def close(self) -> None:
        """Leaves the last state on the screen. May be called twice."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._live.stop()


class PlainPictureLines:
    """A line every few seconds, and one at once for each peer that comes or goes."""

    def __init__(
        self,
        picture: SwarmPicture,
        stream: TextIO,
        *,
        interval_s: float = PLAIN_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._picture = picture
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._next_s = -float("inf")
        self._told_s = -float("inf")

    def handle(self, event: Event) -> None:
        """See `View`."""
        if isinstance(event, Notice):
            write_line(self._stream, event.message)
            return
        snapshot = self._picture.snapshot()
        for line in snapshot["events"]:
            if line["time"] > self._told_s:
                write_line(self._stream, line["text"])
        self._told_s = max([self._told_s, *(line["time"] for line in snapshot["events"])])
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + self._interval_s
            write_line(self._stream, plain_line(snapshot))

    def close(self) -> None:
        """Does nothing: every line was flushed."""


def plain_line(snapshot: Mapping[str, Any]) -> str:
    """The swarm in one line."""
    peers = snapshot["peers"]
    states = [peer["state"] for peer in peers]
    training = [peer for peer in peers if peer["state"] in ("training", "ending")]
    parts = [counted(len(training), "peer")]
    parts += [f"{states.count(state)} {state}" for state in ("joining", "lost", "ended") if state in states]
    parts.append(f"step {max((peer['step'] for peer in training), default=0):,}")
    losses = sorted(peer["loss"] for peer in training if peer["loss"] is not None)
    parts.append(f"loss {number(losses[(len(losses) - 1) // 2]) if losses else UNKNOWN}")
    parts.append(f"round {max((peer['round'] for peer in training), default=0):,}")
    parts.append(f"{data_size(sum(peer['bytes_sent'] for peer in peers))} sent")
    parts.append(f"disagreement {percent(snapshot['disagreement'])}")
    return "  ".join(parts)


def picture_table(snapshot: Mapping[str, Any], *, width: int, most: int) -> RenderableType:
    """The swarm as a table of at most so many peers, its disagreement, and what happened last."""
    peers = snapshot["peers"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    names = ("peer", "state", "step", "loss", "rounds", *(("sent", "speed") if width >= WIDE else ()))
    for position, name in enumerate(names):
        table.add_column(name, justify="left" if position < 2 else "right", no_wrap=True)
    for peer in peers[:most]:
        table.add_row(*_cells(peer)[: len(names)])
    lines: list[RenderableType] = [Text(f"{snapshot['run'] or 'looking for the swarm'}  {snapshot['task']}", "bold")]
    lines += [table]
    if len(peers) > most:
        lines.append(Text(f"and {len(peers) - most} more", "dim"))
    course = sparkline([value for _, value in snapshot["disagreements"]], width=max(0, width - 30), logarithmic=True)
    words = f"disagreement {percent(snapshot['disagreement']):>7}  "
    lines.append(one_line(Text.assemble(words, (course, "magenta"))))
    for event in snapshot["events"][-MESSAGES:]:
        lines.append(one_line(Text(event["text"], "red" if event["level"] == "warning" else "dim")))
    return Group(*lines)


def _cells(peer: Mapping[str, Any]) -> list[Text]:
    speed = f"{data_size(peer['bytes_per_s'])}/s" if peer["bytes_per_s"] else UNKNOWN
    texts = [f"{peer['step']:,}", number(peer["loss"], 3), f"{peer['rounds']:,}", data_size(peer["bytes_sent"]), speed]
    state = peer["state"]
    return [Text(peer["name"]), Text(state, _STYLES[state]), *map(Text, texts)]
