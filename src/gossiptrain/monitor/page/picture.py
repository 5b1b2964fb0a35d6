"""The present state of a swarm, folded from events: those of one peer and what it sees, or those of several.

Owns what each event changes, and the snapshot that a page or a table shows. Events come in one thread and snapshots are
taken in others. Everything that came from outside is made harmless here, once for all who show it. Does not know pages.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from gossiptrain.events import (
    Evaluated,
    Event,
    Finished,
    Joined,
    NodeChanged,
    PeerChanged,
    PeerSeen,
    RoundCommitted,
    Started,
    StepDone,
    SwarmSeen,
)
from gossiptrain.monitor.event_text import EventText
from gossiptrain.monitor.page.rows import GONE, RecentRounds, Row, Rows, RowState, SeenRound
from gossiptrain.monitor.words import printable, short_peer
from gossiptrain.swarm.status import shown_key

Seat = Literal["peer", "watcher", "demo"]
"""From where the swarm is seen: from a peer that trains, from one that only watches, from the parent of all peers."""
OWN = "own"
LOG_LINES = 60
MISSED_S = 10.0
"""A peer that is not seen for so long without a word of it is lost: the own node was replaced meanwhile."""
_RANKS: dict[RowState, int] = {
    "lost": 0,
    "killed": 0,
    "joining": 1,
    "training": 2,
    "ending": 3,
    "ended": 4,
    "watching": 5,
}
"""What a person should see first stands first."""
_CHANGES: dict[str, tuple[RowState, str]] = {
    "joined": ("training", "joined"),
    "left": ("ended", "has left"),
    "lost": ("lost", "does not answer any more"),
}


class SwarmPicture:
    """Feed `handle` with events, in order; `snapshot` may be asked for in any thread."""

    def __init__(self, seat: Seat = "peer", *, clock: Callable[[], float] = time.time) -> None:
        """clock: unix time."""
        self._seat = seat
        self._clock = clock
        self._lock = threading.Lock()
        self._rows = Rows()
        self._rounds = RecentRounds()
        self._log: deque[dict[str, Any]] = deque(maxlen=LOG_LINES)
        self._texts: dict[str, EventText] = {}
        self._run = self._task = ""
        self._network = "ready"

    def describe(self, *, run: str, task: str) -> None:
        """Names the run, where no event `started` does."""
        with self._lock:
            self._run, self._task = printable(run, 120), printable(task, 200)

    def add(self, label: str) -> None:
        """A peer of which nothing was heard yet."""
        with self._lock:
            self._row(label)

    def handle(self, event: Event, *, label: str = OWN) -> None:
        """Takes one event into account; label: whose it is, where there are several."""
        with self._lock:
            self._handle(event, label)

    def killed(self, label: str) -> None:
        """The peer was killed from here, and cannot say so itself."""
        with self._lock:
            self._row(label).become("killed", self._clock())
            self._say("warning", f"peer {printable(label, 16)} was killed")

    def say(self, text: str) -> None:
        """Puts a sentence into the list of events."""
        with self._lock:
            self._say("info", text)

    def snapshot(self) -> dict[str, Any]:
        """All that is shown, as JSON can hold it."""
        with self._lock:
            rows = sorted(self._rows.by_name.values(), key=_order)
            return {
                "now": self._clock(),
                "seat": self._seat,
                "run": self._run,
                "task": self._task,
                "network": self._network,
                "peers": [_told(row) for row in rows],
                "rounds": [self._round(seen) for seen in self._rounds.rounds],
                "disagreement": _finite(self._rounds.disagreement),
                "disagreements": self._rounds.history(),
                "events": list(self._log),
            }

    # What events change.

    def _handle(self, event: Event, label: str) -> None:
        match event:
            case Started():
                row = self._row(label)
                self._rows.name_peer(row, event.peer_id)
                self._run, self._task = printable(event.run, 120), printable(event.task, 200)
            case StepDone() | Joined():
                self._stepped(self._row(label), event)
            case RoundCommitted():
                self._met(self._row(label), event)
            case Evaluated():
                self._row(label).accuracy = _finite(event.accuracy)
            case PeerChanged():
                self._changed(event)
            case SwarmSeen():
                self._see(event)
            case NodeChanged():
                if label == OWN:
                    self._network = event.state
            case Finished():
                row = self._row(label)
                row.become("ended", event.time)
                row.step, row.rounds, row.bytes_sent = event.step, event.rounds, event.bytes_sent
            case _:
                pass
        self._tell(event, label)

    def _row(self, label: str) -> Row:
        row = self._rows.row(label)
        row.own = self._seat == "peer"
        row.label = "" if label == OWN else label
        row.since = row.since or self._clock()
        return row

    def _stepped(self, row: Row, event: StepDone | Joined) -> None:
        row.step, row.seen = event.step, event.time
        if isinstance(event, StepDone):
            row.tells_steps = True
            row.loss = _finite(event.loss)
            row.losses.append(event.step, event.loss)
        if row.state not in ("ended", "killed"):
            row.become("training", event.time)

    def _met(self, row: Row, event: RoundCommitted) -> None:
        row.rounds += 1
        row.round = event.round + 1
        row.bytes_sent += event.bytes_sent
        row.bytes_per_s = event.bytes_sent / event.seconds if event.seconds > 0 else 0.0
        for peer, path in event.paths.items():
            name = self._rows.name_of(peer)
            if name is not None:
                self._rows.by_name[name].path = printable(path, 10)
        members = frozenset(map(shown_key, event.members))
        self._rounds.note(SeenRound(event.round, members, event.time, event.disagreement, _finite(event.seconds)))

    def _changed(self, event: PeerChanged) -> None:
        row = self._rows.of_peer(event.peer_id)
        state, words = _CHANGES[event.change]
        if state == "training" and self._seat != "demo":
            state = "joining"  # until it is seen to train
        if row.own or row.state == "killed" or (row.state == "ended" and state == "lost"):
            return
        if row.label and state != "lost":
            return  # It says so itself.
        row.seen = event.time
        if row.become(state, event.time):
            self._say("warning" if state == "lost" else "info", f"peer {_name(row)} {words}", event.time)

    def _see(self, event: SwarmSeen) -> None:
        for peer in event.peers:
            self._see_peer(peer, event.time)
        for row in self._rows.by_name.values():
            tells_itself = row.own or bool(row.label)
            if not tells_itself and row.state not in GONE and event.time - row.seen > MISSED_S:
                row.become("lost", event.time)

    def _see_peer(self, seen: PeerSeen, now: float) -> None:
        row = self._rows.of_peer(seen.peer_id)
        row.seen = now
        if row.state != "ended" or not row.own:
            row.become(seen.state, now)
        if row.tells_steps:
            return
        row.step, row.round = seen.step, seen.round
        for shown in seen.shown:
            row.loss = _finite(shown.loss)
            if not row.own:  # whose rounds are told by events
                row.rounds, row.bytes_sent = shown.rounds, shown.bytes_sent
                row.bytes_per_s = _finite(shown.bytes_per_s) or 0.0
            if shown.losses and not row.losses.values:
                row.losses.take_over(shown.losses)
            elif shown.loss is not None and (not row.losses.values or row.losses.values[-1][0] < seen.step):
                row.losses.append(seen.step, shown.loss)
            self._rounds.take_over(shown.disagreements)
            for met in shown.met:
                members = frozenset(map(shown_key, met.members))
                self._rounds.note(SeenRound(met.round, members, now, _finite(met.disagreement)))

    # Words.

    def _tell(self, event: Event, label: str) -> None:
        if isinstance(event, PeerChanged):
            return  # Told where it is news.
        sentence = self._texts.setdefault(label, EventText()).tell(event)
        if sentence is not None:
            whose = "" if label == OWN else f"peer {printable(label, 16)}: "
            self._say(sentence.level, whose + sentence.text, event.time)

    def _say(self, level: str, text: str, at: float | None = None) -> None:
        self._log.append({"time": self._clock() if at is None else at, "level": level, "text": printable(text, 500)})

    def _round(self, seen: SeenRound) -> dict[str, Any]:
        names = (self._rows.name_of(member) for member in seen.members)
        members = sorted(self._rows.by_name[name].number for name in names if name is not None)
        return {
            "round": seen.round,
            "members": members,
            "size": len(seen.members),
            "time": seen.time,
            "seconds": seen.seconds,
            "disagreement": _finite(seen.disagreement),
        }


def _order(row: Row) -> tuple[bool, int, int]:
    return not row.own, _RANKS[row.state], row.number


def _name(row: Row) -> str:
    return printable(row.label, 16) or short_peer(row.peer_id or row.name)


def _told(row: Row) -> dict[str, Any]:
    return {
        "number": row.number,
        "name": "this peer" if row.own else _name(row),
        "label": printable(row.label, 16),
        "id": printable(row.peer_id, 128),
        "own": row.own,
        "state": row.state,
        "since": row.since,
        "step": row.step,
        "round": row.round,
        "loss": _finite(row.loss),
        "accuracy": row.accuracy,
        "rounds": row.rounds,
        "bytes_sent": row.bytes_sent,
        "bytes_per_s": _finite(row.bytes_per_s),
        "path": row.path,
        "losses": row.losses.values,
    }


def _finite(value: float | None) -> float | None:
    """What JSON can hold: NaN and infinity have no form there."""
    return value if value is not None and math.isfinite(value) else None
