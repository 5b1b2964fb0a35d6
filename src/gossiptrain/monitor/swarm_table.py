"""Several peers in one table: the state of a whole swarm on one computer.

Owns how a swarm is shown; is fed with events and the label of the peer that each is of. Does not know processes or
keys, only how they are named.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from gossiptrain.events import Event, RoundCommitted
from gossiptrain.monitor.panel import one_line
from gossiptrain.monitor.progress import PeerProgress
from gossiptrain.monitor.words import (
    UNKNOWN,
    History,
    counted,
    data_size,
    duration,
    number,
    percent,
    printable,
    short_peer,
    sparkline,
)

PeerState = Literal["joining", "training", "killed", "done"]
KEY_HELP = "[k] kill a random peer  [a] add a peer  [q] stop and save"
_STYLES: dict[PeerState, str] = {"joining": "yellow", "training": "green", "killed": "red", "done": "blue"}
_LABEL_CHARS = 16
_GROUP_LABELS = 6
_ONE_LINE_HEADER_COLUMNS = 96
# The column, its justification, and from which width on it is shown.
_COLUMNS: tuple[tuple[str, Literal["left", "right"], int], ...] = (
    ("peer", "left", 0),
    ("step", "right", 0),
    ("loss", "right", 0),
    ("test accuracy", "right", 42),
    ("last group", "left", 70),
    ("round time", "right", 52),
    ("bytes sent", "right", 60),
    ("state", "left", 0),
)


class SwarmTable:
    """A Rich renderable of the present state of all peers. Print it, or give it to `rich.live.Live`."""

    def __init__(self, *, title: str = "", key_help: str = KEY_HELP) -> None:
        self.peers: dict[str, PeerProgress] = {}
        self.disagreements = History()
        self.disagreement: float | None = None
        """That of the last committed round, relative to the size of the parameters."""
        self.rounds = 0
        """Committed rounds of the whole swarm; one that several peers report counts once."""
        self._title = printable(title)
        self._key_help = key_help
        self._labels: dict[str, str] = {}
        self._killed: set[str] = set()
        self._seen_rounds: deque[tuple[int, frozenset[str]]] = deque(maxlen=256)
        self._last_round: RoundCommitted | None = None

    def add(self, label: str) -> None:
        """A new row for a peer of which nothing was heard yet."""
        self.peers.setdefault(label, PeerProgress())

    def handle(self, label: str, event: Event) -> None:
        """Takes an event of the peer `label` into account; adds its row where there is none."""
        self.add(label)
        self.peers[label].handle(event)
        if event.event == "started":
            self._labels[event.peer_id] = label
        elif event.event == "round":
            self._met(event)

    def killed(self, label: str) -> None:
        """The peer was killed and cannot say so itself."""
        self.add(label)
        self._killed.add(label)

    def state(self, label: str) -> PeerState:
        """What the peer is doing."""
        state = self.peers[label].state
        return "killed" if label in self._killed and state != "done" else state

    def _met(self, event: RoundCommitted) -> None:
        name = (event.round, frozenset(event.members))
        if name in self._seen_rounds:
            return
        self._seen_rounds.append(name)
        self._last_round = event
        self.rounds += 1
        if event.disagreement is not None:
            self.disagreement = event.disagreement
            self.disagreements.append(event.disagreement)

    def plain_line(self) -> str:
        """The same in one line, for a pipe. Figures are of the peers that were not killed."""
        alive = [self.peers[label] for label in self.peers if self.state(label) != "killed"]
        joining = sum(1 for peer in alive if peer.state == "joining")
        parts = [counted(len(alive), "peer") + (f" ({joining} joining)" if joining else "")]
        if killed := len(self.peers) - len(alive):
            parts.append(f"{killed} killed")
        parts.append(f"step {_span([peer.step for peer in alive], lambda step: f'{step:,.0f}')}")
        parts.append(f"loss {_span([peer.loss for peer in alive], number)}")
        parts.append(f"accuracy {_span([peer.accuracy for peer in alive], percent)}")
        last = self._last_round
        ending = f" (last: {len(last.members)} peers, {duration(last.seconds)})" if last is not None else ""
        parts.append(counted(self.rounds, "round") + ending)
        parts.append(f"{data_size(sum(peer.bytes_sent for peer in self.peers.values()))} sent")
        parts.append(f"disagreement {percent(self.disagreement)}")
        return "  ".join(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title:
            yield one_line(Text(self._title, "bold"))
            yield Text()
        yield self._table(options.max_width)
        yield Text()
        room = max(0, min(48, options.max_width - 34))
        course = sparkline(self.disagreements.values, width=room, logarithmic=True)
        words = f"disagreement {percent(self.disagreement):>7}  "
        yield one_line(Text.assemble(words, (course, "magenta"), f"  {counted(self.rounds, 'round')}"))
        merged = [peer.merged for peer in self.peers.values() if peer.merged is not None]
        if merged:
            yield one_line(Text.assemble("merged model: test accuracy ", (percent(merged[-1].accuracy), "bold green")))
        if self._key_help:
            yield Text(self._key_help, "dim")

    def _table(self, width: int) -> Table:
        columns = [column for column in _COLUMNS if width >= column[2]]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for name, justify, _ in columns:
            header = name if width >= _ONE_LINE_HEADER_COLUMNS else name.replace(" ", "\n")
            table.add_column(Text(header), justify=justify, no_wrap=True)
        for label in self.peers:
            cells = self._cells(label)
            table.add_row(*(cells[name] for name, _, _ in columns))
        return table

    def _cells(self, label: str) -> dict[str, Text]:
        peer, state, last = self.peers[label], self.state(label), self.peers[label].last_round
        faded = "dim" if state == "killed" else ""
        texts = {
            "peer": printable(label, _LABEL_CHARS),
            "step": UNKNOWN if peer.step is None else f"{peer.step:,}",
            "loss": number(peer.loss, 3),
            "test accuracy": percent(peer.accuracy),
            "last group": UNKNOWN if last is None else self._group(last),
            "round time": UNKNOWN if last is None else duration(last.seconds),
            "bytes sent": data_size(peer.bytes_sent),
        }
        return {name: Text(text, faded) for name, text in texts.items()} | {"state": Text(state, _STYLES[state])}

    def _group(self, met: RoundCommitted) -> str:
        labels = sorted(printable(self._labels.get(peer, short_peer(peer)), _LABEL_CHARS) for peer in met.members)
        more = f" +{len(labels) - _GROUP_LABELS}" if len(labels) > _GROUP_LABELS else ""
        return " ".join(labels[:_GROUP_LABELS]) + more


def _span(values: Sequence[float | None], words: Callable[[float], str]) -> str:
    """The lowest and the highest of the known values."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return UNKNOWN
    lowest, highest = words(min(known)), words(max(known))
    return lowest if lowest == highest else f"{lowest.removesuffix(' %')} to {highest}"
