"""What is known of each peer of a swarm, and of the rounds in which they met.

Owns these records and their bounds. What others say of themselves may be a lie, and is only shown. Does not know events
or pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal, TypeAlias

from gossiptrain.core.points import Points, rounded
from gossiptrain.swarm.status import shown_key

RowState: TypeAlias = Literal["joining", "training", "ending", "ended", "lost", "killed", "watching"]
GONE: frozenset[RowState] = frozenset({"ended", "lost", "killed"})
LOSS_POINTS = 40
MAX_ROWS = 256
RECENT_ROUNDS = 24
"""By number; in a large swarm each has several groups."""
RECENT_GROUPS = 128


@dataclass
class Row:
    """One peer. name: by which this process knows it. Times are unix times in seconds."""

    name: str
    number: int
    """In the order in which they came, for as long as they are known: by it pictures place and colour them."""
    peer_id: str = ""
    label: str = ""
    own: bool = False
    tells_steps: bool = False
    """Whether it says itself where it stands, so that what is seen of it is no news."""
    state: RowState = "joining"
    since: float = 0.0
    """When it came to be in that state."""
    seen: float = 0.0
    step: int = 0
    round: int = 0
    loss: float | None = None
    accuracy: float | None = None
    rounds: int = 0
    bytes_sent: int = 0
    bytes_per_s: float = 0.0
    """In its last round."""
    path: str = ""
    """Over what the own peer's bytes went to it last: `direct` or `libp2p`."""
    losses: Points = field(default_factory=lambda: Points(LOSS_POINTS))

    def become(self, state: RowState, now: float) -> bool:
        """Whether that is news."""
        if state == self.state:
            return False
        self.state, self.since = state, now
        return True


class Rows:
    """All peers that are known, by name; one peer may be told of by its id, and by the end of its id."""

    def __init__(self) -> None:
        self.by_name: dict[str, Row] = {}
        self._count = 0
        self._names: dict[str, str] = {}
        """By the end of the id."""

    def row(self, name: str) -> Row:
        """The row of that name; made where there is none, in place of one that is gone where there are too many."""
        if name not in self.by_name and len(self.by_name) >= MAX_ROWS:
            order = sorted(self.by_name.values(), key=lambda row: (row.own, row.state not in GONE, row.seen))
            del self.by_name[order[0].name]
        if name not in self.by_name:
            self.by_name[name] = Row(name, self._count)
            self._count += 1
        return self.by_name[name]

    def of_peer(self, peer_id: str) -> Row:
        """The row of a peer by its whole id."""
        known = self._names.get(shown_key(peer_id))
        row = self.row(known if known in self.by_name else peer_id)
        self.name_peer(row, peer_id)
        return row

    def name_peer(self, row: Row, peer_id: str) -> None:
        """From now on that id means this row."""
        row.peer_id = peer_id
        self._names[shown_key(peer_id)] = row.name
        if len(self._names) > 4 * MAX_ROWS:
            self._names = {key: name for key, name in self._names.items() if name in self.by_name}

    def name_of(self, peer: str) -> str | None:
        """The name of a row by an id or the end of one; None where nobody is known by it."""
        name = self._names.get(shown_key(peer))
        return name if name in self.by_name else None


@dataclass(frozen=True)
class SeenRound:
    """One group of a round: all that met in it, by the ends of their ids."""

    round: int
    members: frozenset[str]
    time: float
    disagreement: float | None = None
    seconds: float | None = None


class RecentRounds:
    """The last rounds of the swarm; one that several members tell of counts once."""

    def __init__(self) -> None:
        self.rounds: list[SeenRound] = []
        self.disagreement: float | None = None
        """Of the newest."""
        self._recent: dict[int, list[float]] = {}
        """By round, the disagreement of each of its groups."""
        self._older = Points(2 * LOSS_POINTS)

    def note(self, seen: SeenRound) -> None:
        """Takes one in, in the order of their numbers, unless it is known or long over."""
        if any(known.round == seen.round and known.members == seen.members for known in self.rounds):
            return
        later = [known for known in self.rounds if known.round > seen.round]
        if len({known.round for known in later}) >= RECENT_ROUNDS:
            return
        rounds = [*(known for known in self.rounds if known.round <= seen.round), seen, *later]
        recent = set(sorted({known.round for known in rounds})[-RECENT_ROUNDS:])
        self.rounds = [known for known in rounds if known.round in recent][-RECENT_GROUPS:]
        if seen.disagreement is not None:
            self._recent.setdefault(seen.round, []).append(seen.disagreement)
            self.disagreement = fmean(self._recent[max(self._recent)])
        while len(self._recent) > RECENT_ROUNDS:
            oldest = min(self._recent)
            self._older.append(oldest, fmean(self._recent.pop(oldest)))

    def take_over(self, history: Iterable[tuple[int, float]]) -> None:
        """The disagreement before this process began to watch, as another peer tells it."""
        begin = min(self._recent, default=None)
        self._older.take_over(point for point in history if begin is None or point[0] < begin)

    def history(self) -> list[tuple[int, float]]:
        """Disagreement by round; of several groups their mean."""
        recent = [(number, rounded(fmean(values))) for number, values in self._recent.items()]
        return sorted([*self._older.values, *recent])
