"""The faults of a run, and how they are drawn from its seed.

Owns the kinds of faults and all that chance decides about them: the plan says everything, so a run with a part of it
differs in nothing else. Pure: does not know networks, peers or time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

from gossiptrain.simulate.swarms.settings import UNDISTURBED_S, FaultName, SwarmSettings

REGIONS = 3
INITIAL_PEERS = 3
"""The first so many peers are those whose addresses all others are given."""
SHORTEST_S = 0.5


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at one moment and is over `for_s` later."""

    name: ClassVar[FaultName]
    at_s: float
    for_s: float

    @property
    def until_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s

    def __str__(self) -> str:
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "at_s"}
        words = ", ".join(f"{name}={_in_words(value)}" for name, value in told.items())
        return f"{self.at_s:8.2f} s  {self.name:8} {words}"


@dataclass(frozen=True)
class Crash(Fault):
    """A peer dies, in the middle of whatever it does, and starts again `for_s` later, as the same peer."""

    name = "crash"
    peer: str


@dataclass(frozen=True)
class Freeze(Fault):
    """Nothing that a peer sends or is sent arrives; its streams stay open."""

    name = "freeze"
    peer: str


@dataclass(frozen=True)
class Cut(Fault):
    """One side and all others are cut apart, the directory as well."""

    name = "cut"
    side: tuple[str, ...]


@dataclass(frozen=True)
class OneWay(Fault):
    """Nothing arrives from one peer at another; the way back is free."""

    name = "one-way"
    source: str
    target: str


@dataclass(frozen=True)
class Latency(Fault):
    """The way between two regions, or within one, becomes long and uneven."""

    name = "latency"
    one_region: int
    other_region: int
    latency_s: float
    jitter_s: float


@dataclass(frozen=True)
class Loss(Fault):
    """A share of what a peer sends and is sent is lost and sent again: it is late, and so is all behind it."""

    name = "loss"
    peer: str
    share: float


@dataclass(frozen=True)
class Reset(Fault):
    """All open streams of a peer break at once."""

    name = "reset"
    peer: str


@dataclass(frozen=True)
class Reorder(Fault):
    """What a peer sends and is sent on different streams overtakes each other."""

    name = "reorder"
    peer: str
    jitter_s: float


@dataclass(frozen=True)
class Skew(Fault):
    """The clock of a peer is wrong by `offset_s` and goes `rate` times as fast, from its next start on."""

    name = "skew"
    peer: str
    offset_s: float
    rate: float


@dataclass(frozen=True)
class Slow(Fault):
    """A peer takes `factor` times as long for its steps, and its uplink is narrow."""

    name = "slow"
    peer: str
    factor: float
    uplink_bytes_per_s: float


@dataclass(frozen=True)
class Flood(Fault):
    """Many peers join at once; after `for_s` they are gone without a word."""

    name = "flood"
    joiners: tuple[str, ...]


@dataclass(frozen=True)
class Lie(Fault):
    """A member says and answers whatever the words of the protocol allow, at the ends of each field."""

    name = "lie"
    liar: str


Plan = tuple[Fault, ...]


def peer_names(count: int) -> tuple[str, ...]:
    """Of the peers that are there from the start."""
    return tuple(f"p{number}" for number in range(count))


def region_of(peer: str) -> int:
    """In which region a peer lives."""
    return sum(peer.encode()) % REGIONS


def draw(settings: SwarmSettings) -> Plan:
    """All faults of a run, by time."""
    if not settings.faults:
        return ()
    rng = random.Random(f"{settings.seed}/plan")
    names = list(settings.faults)
    weights = list(settings.faults.values())
    count = max(1, round(settings.faults_per_minute * settings.seconds / 60))
    artist = _Artist(settings, rng)
    drawn = [artist.draw(name, number) for number, name in enumerate(rng.choices(names, weights, k=count))]
    return tuple(sorted(drawn, key=lambda fault: fault.at_s))


def chosen(plan: Plan, only: tuple[int, ...] | None) -> dict[int, Fault]:
    """The faults that happen, by their numbers in the plan; numbers that it does not have name nothing."""
    return {number: fault for number, fault in enumerate(plan) if only is None or number in only}


class _Artist:
    """Draws one fault after the other."""

    def __init__(self, settings: SwarmSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._peers = peer_names(settings.peers)
        self._kinds: dict[FaultName, Callable[[float, float, int], Fault]] = {
            "crash": lambda at_s, for_s, number: Crash(at_s, for_s, self._peer()),
            "freeze": lambda at_s, for_s, number: Freeze(at_s, for_s, self._peer()),
            "cut": lambda at_s, for_s, number: Cut(at_s, for_s, self._side()),
            "one-way": lambda at_s, for_s, number: OneWay(at_s, for_s, *rng.sample(self._peers, 2)),
            "latency": self._latency,
            "loss": lambda at_s, for_s, number: Loss(at_s, for_s, self._peer(), self._between(0.01, 0.2)),
            "reset": lambda at_s, for_s, number: Reset(at_s, 0.0, self._peer()),
            "reorder": lambda at_s, for_s, number: Reorder(at_s, for_s, self._peer(), self._between(0.01, 0.3)),
            "skew": self._skew,
            "slow": self._slow,
            "flood": self._flood,
            "lie": lambda at_s, for_s, number: Lie(at_s, for_s, f"liar{number}"),
        }

    def draw(self, name: FaultName, number: int) -> Fault:
        """One fault of that kind; all are over in time."""
        last_s = self._settings.faults_end_s
        at_s = self._between(UNDISTURBED_S, last_s - SHORTEST_S)
        # Short ones are as likely as long ones: from less than any timeout to the whole time.
        longest_s = max(SHORTEST_S, last_s - at_s)
        for_s = SHORTEST_S * (longest_s / SHORTEST_S) ** self._rng.random()
        return self._kinds[name](at_s, round(for_s, 3), number)

    def _between(self, low: float, high: float) -> float:
        return round(self._rng.uniform(low, high), 3)

    def _peer(self) -> str:
        return self._rng.choice(self._peers)

    def _side(self) -> tuple[str, ...]:
        side = self._rng.sample(self._peers, self._rng.randint(1, max(1, len(self._peers) // 2)))
        return tuple(sorted(side))

    def _latency(self, at_s: float, for_s: float, number: int) -> Fault:
        one, other = self._rng.randrange(REGIONS), self._rng.randrange(REGIONS)
        return Latency(at_s, for_s, one, other, self._between(0.02, 0.4), self._between(0.0, 0.4))

    def _skew(self, at_s: float, for_s: float, number: int) -> Fault:
        offset_s = self._rng.choice((-3600.0, -60.0, 60.0, 3600.0))
        return Skew(0.0, self._settings.faults_end_s, self._peer(), offset_s, self._between(0.95, 1.05))

    def _slow(self, at_s: float, for_s: float, number: int) -> Fault:
        return Slow(at_s, for_s, self._peer(), self._between(1.5, 8.0), round(self._between(100e3, 1e6)))

    def _flood(self, at_s: float, for_s: float, number: int) -> Fault:
        most = min(64, max(2, self._settings.peers // 2))
        return Flood(at_s, for_s, tuple(f"n{number}-{each}" for each in range(self._rng.randint(2, most))))


def _in_words(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
