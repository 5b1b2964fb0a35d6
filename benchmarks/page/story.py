"""Swarms that nobody trained, told as the events that real ones tell: for pictures and tests of the page.

Owns a seeded course of a swarm of any size. The events go through the same folding as those of real peers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from gossiptrain.events import (
    Evaluated,
    Event,
    Finished,
    Joined,
    Met,
    NodeChanged,
    PeerChanged,
    PeerSeen,
    RoundCommitted,
    Shown,
    Started,
    StepDone,
    SwarmSeen,
)
from gossiptrain.swarm.status import shown_key

BEGIN = 1_790_000_000.0
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MODEL_BYTES = 13_600_000


class Story:
    """`events` are those of the first peer; all others are seen by it."""

    def __init__(self, peers: int, *, seconds: int = 240, seed: int = 7, group: int = 4) -> None:
        self._random = random.Random(seed)
        self._ids = ["12D3KooW" + "".join(self._random.choices(ALPHABET, k=44)) for _ in range(peers)]
        self._seconds = seconds
        self._group = group
        self._pace = [self._random.uniform(7.5, 11.5) for _ in self._ids]
        self._begins = [0.0] * peers
        self._ends: dict[int, float] = {}
        self._left: set[int] = set()
        if peers > 3:
            self._begins[-1] = 0.97 * seconds
            self._ends[peers // 2] = 0.9 * seconds
        if peers > 8:
            for at in (peers // 5, peers // 3):
                self._ends[at] = (0.6 + 0.1 * self._random.random()) * seconds
            self._left = {peers // 3}
        self._rounds = [0] * peers
        self._bytes = [0] * peers
        self._met: list[list[Met]] = [[] for _ in self._ids]

    def step(self, at: int, second: float) -> int:
        """Where a peer stands; who joins late begins where the others are."""
        return int(self._pace[at] * max(0.0, second))

    def loss(self, at: int, second: float) -> float:
        """Falls as losses do, each peer's with its own noise."""
        own = 0.06 * math.sin(1.7 * at) + 0.05 * self._random.gauss(0, 1)
        return max(0.02, 0.35 + 3.6 * math.exp(-second / 55) + own * (0.4 + math.exp(-second / 40)))

    def disagreement(self, second: float) -> float:
        """Falls over two decades."""
        return 0.0045 * (1 + 18 * math.exp(-second / 35)) * math.exp(0.18 * self._random.gauss(0, 1))

    def events(self) -> Iterator[Event]:
        """In their order, second by second."""
        addresses = ("/ip4/192.0.2.7/tcp/4011/p2p/" + self._ids[0],)
        yield Started(
            time=BEGIN,
            peer_id=self._ids[0],
            run="shakespeare",
            task="text/small",
            addresses=addresses,
            device="cuda bf16",
            parameters=3_400_000,
            samples=1_003_854,
            first=True,
            steps=10_000,
        )
        here: set[int] = set()
        for second in range(1, self._seconds + 1):
            now = BEGIN + second
            yield from self._changes(second, here, now)
            yield StepDone(
                time=now,
                step=self.step(0, second),
                epoch=second / 60,
                loss=self.loss(0, second),
                learning_rate=0.004,
                samples_per_s=300,
            )
            if second % 10 == 0 and here:
                yield from self._round(second, sorted({0, *here}), now)
            if second % 60 == 0:
                accuracy = 0.6 - 0.4 * math.exp(-second / 80)
                yield Evaluated(time=now, step=self.step(0, second), loss=1.5, accuracy=accuracy, samples=10_000)
            if here:
                yield SwarmSeen(time=now, peers=tuple(self._seen(at, second) for at in sorted(here)))

    def _changes(self, second: int, here: set[int], now: float) -> Iterator[Event]:
        for at in range(1, len(self._ids)):
            ends = self._ends.get(at, math.inf)
            if at not in here and self._begins[at] <= second < ends:
                here.add(at)
                yield PeerChanged(time=now, peer_id=self._ids[at], change="joined", peers=len(here) + 1)
            elif at in here and second >= ends:
                here.discard(at)
                change = "left" if at in self._left else "lost"
                yield PeerChanged(time=now, peer_id=self._ids[at], change=change, peers=len(here) + 1)  # type: ignore[arg-type]

    def _round(self, second: int, members: list[int], now: float) -> Iterator[Event]:
        training = [at for at in members if self._begins[at] + 4 < second]
        self._random.shuffle(training)
        for begin in range(0, len(training), self._group):
            group = sorted(training[begin : begin + self._group])
            if len(group) < 2:
                continue
            disagreement = self.disagreement(second)
            sent = int(2 * MODEL_BYTES * (len(group) - 1) / len(group))
            keys = tuple(shown_key(self._ids[at]) for at in group)
            for at in group:
                self._rounds[at] += 1
                self._bytes[at] += sent
                self._met[at] = [*self._met[at], Met(round=second // 10, members=keys, disagreement=disagreement)][-4:]
            if 0 in group:
                yield RoundCommitted(
                    time=now,
                    round=second // 10,
                    members=tuple(self._ids[at] for at in group),
                    seconds=0.4 + 0.2 * self._random.random(),
                    formation_seconds=0.01,
                    bytes_sent=sent,
                    disagreement=disagreement,
                    paths={self._ids[at]: "direct" if at % 5 else "libp2p" for at in group if at},
                )

    def _seen(self, at: int, second: int) -> PeerSeen:
        joining = second < self._begins[at] + 8 and self._begins[at] > 0
        shown = Shown(
            loss=None if joining else round(self.loss(at, second), 4),
            rounds=self._rounds[at],
            bytes_sent=self._bytes[at],
            bytes_per_s=0.0 if joining else 2e7 + 9e6 * math.sin(at),
            met=tuple(self._met[at]),
        )
        tells = second % 4 == at % 4
        return PeerSeen(
            peer_id=self._ids[at],
            state="joining" if joining else "training",
            step=0 if joining else self.step(at, second),
            round=second // 10,
            shown=(shown,) if tells else (),
        )


def hostile() -> list[Event]:
    """What a peer says that wants to harm whoever looks at the page."""
    script = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    shown = Shown(loss=float("inf"), rounds=2**60, bytes_sent=2**62, bytes_per_s=1e308, losses=((2**60, -1e308),))
    return [
        Started(
            peer_id="12D3KooWown",
            run=script,
            task="</title>" + script,
            addresses=(),
            device=script,
            parameters=1,
            samples=1,
            first=False,
        ),
        Joined(donor=script, step=3, seconds=1, bytes=1),
        PeerChanged(peer_id=script, change="joined", peers=2),
        SwarmSeen(peers=(PeerSeen(peer_id=script, state="training", step=2**60, round=2**60, shown=(shown,)),)),
        NodeChanged(state="down", reason=script),
    ]


def ended() -> Finished:
    """The last word of the first peer."""
    return Finished(time=BEGIN + 999, step=9, seconds=9, rounds=9, bytes_sent=9, reason="steps")
