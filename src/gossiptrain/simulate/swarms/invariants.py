"""What must hold in every simulated swarm, whatever goes wrong.

Owns the checks, each of which names what it saw. They are fed with what peers report and with what faults touched
whom; they do not know networks, and look at no state of the protocol but what `SwarmPeer` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gossiptrain.core.averaging import Vector, clipped_weights, weighted_mean
from gossiptrain.simulate.swarms.peers import Call, Part
from gossiptrain.simulate.swarms.results import Violation

ALL_OR_NOTHING = "all or nothing"
ONE_DIGEST = "one digest per round"
MEAN_CONSERVED = "the mean is conserved"
NOBODY_WAITS_TOO_LONG = "nobody waits longer than promised"
NOBODY_FAILS = "nobody fails"
PROGRESS = "progress after healing"
ONE_SWARM = "one swarm after healing"
ONE_MODEL = "one model at the end"
TIME_GOES_ON = "time goes on"
RELATIVE_TOLERANCE = 1e-5
"""Of values around 1, for sums of at most 64 of them in float32."""
LARGEST_KNOWN_SWARM = 64
"""Up to so many peers everybody is to know everybody; in larger swarms all are to be connected through others."""

KEPT_FOR_ROUNDS = 3
"""How long parts that did not commit are kept, in terms of the longest round."""

RoundKey = tuple[int, tuple[str, ...]]
"""A round: its number and the members of its last attempt, in their order."""


@dataclass
class _Round:
    """What is known of one round so far."""

    key: RoundKey
    commits: dict[str, Part] = field(default_factory=dict)


@dataclass
class Invariants:
    """Collects what peers report, and what of it must not be.

    was_touched: whether a fault touched a peer within a span of time, so that its messages may have been lost.
    """

    was_touched: Callable[[str, float, float], bool]
    violations: list[Violation] = field(default_factory=list)
    _rounds: dict[RoundKey, _Round] = field(default_factory=dict)
    _others: dict[tuple[str, int], Part] = field(default_factory=dict)
    """By peer and number of the round: parts that did not commit."""

    def violate(self, invariant: str, at_s: float, words: str) -> None:
        """Notes that an invariant did not hold."""
        self.violations.append(Violation(invariant, round(at_s, 3), words))

    def note(self, part: Part) -> None:
        """A peer's part in a round has ended."""
        result = part.averaged.result
        if not result.committed:
            self._others[part.peer, part.averaged.number] = part
            return
        key = (part.averaged.number, tuple(map(str, result.members)))
        found = self._rounds.setdefault(key, _Round(key))
        found.commits[part.peer] = part
        first = next(iter(found.commits.values()))
        if first.averaged.result.digest != result.digest or first.average.tobytes() != part.average.tobytes():
            words = f"in round {key[0]} {first.peer} and {part.peer} committed different averages"
            self.violate(ONE_DIGEST, part.ended_s, words)

    def note_late(self, peer: str, call: Call, *, at_s: float) -> None:
        """A call has taken longer than it may."""
        words = f"{call.what} of {peer} took {call.took_s:.2f} s, and may take {call.longest_s:g} s"
        self.violate(NOBODY_WAITS_TOO_LONG, at_s, words)

    def settle(self, *, now_s: float, longest_round_s: float, liars: frozenset[str], last: bool = False) -> None:
        """Checks the rounds of which no member can still be taking part, and forgets them. last: checks all."""
        forgotten_s = now_s - KEPT_FOR_ROUNDS * longest_round_s
        self._others = {key: part for key, part in self._others.items() if part.ended_s >= forgotten_s}
        for key, found in list(self._rounds.items()):
            last_s = max(part.ended_s for part in found.commits.values())
            if now_s - last_s < longest_round_s and not last:
                continue
            del self._rounds[key]
            # A member that lies may lead, and tell every other something else.
            if not liars & set(key[1]):
                self._check_all_or_nothing(found)
                self._check_mean(found)

    def _check_all_or_nothing(self, found: _Round) -> None:
        """Of the members that no fault touched, all committed or none."""
        number, members = found.key
        others = {peer: part for peer in members if (part := self._others.get((peer, number))) is not None}
        parts = [*found.commits.values(), *(part for peer, part in others.items() if peer not in found.commits)]
        began_s, ended_s = min(part.began_s for part in parts), max(part.ended_s for part in parts)
        untouched = [peer for peer in members if not self.was_touched(peer, began_s, ended_s)]
        committed = [peer for peer in untouched if peer in found.commits]
        left = [peer for peer in untouched if peer in others and peer not in found.commits]
        if committed and left:
            reasons = "; ".join(others[peer].averaged.result.reason or "another attempt" for peer in left)
            words = f"{', '.join(committed)} committed, {', '.join(left)} did not ({reasons})"
            self.violate(ALL_OR_NOTHING, ended_s, f"in round {number} of {', '.join(members)}: {words}")

    def _check_mean(self, found: _Round) -> None:
        """What all that committed hold is the weighted mean of what they brought; where all of the group are known."""
        number, members = found.key
        parts = [found.commits[member] for member in members if member in found.commits]
        if len(parts) < len(members):
            return
        weights = clipped_weights([part.samples for part in parts])
        expected = np.empty_like(parts[0].average)
        weighted_mean([part.snapshot for part in parts], weights, expected)
        error = float(np.max(np.abs(expected - parts[0].average)))
        scale = max(1.0, float(np.max(np.abs(expected))))
        if error > RELATIVE_TOLERANCE * scale:
            words = f"round {number} of {', '.join(members)}: the average is {error:g} away from the weighted mean"
            self.violate(MEAN_CONSERVED, parts[0].ended_s, words)


def connected(views: Mapping[str, Iterable[str]]) -> bool:
    """Whether all peers are connected by who knows whom, in either direction."""
    links: dict[str, set[str]] = {peer: set() for peer in views}
    for peer, others in views.items():
        for other in others:
            if other in links:
                links[peer].add(other)
                links[other].add(peer)
    seen: set[str] = set()
    to_visit = list(views)[:1]
    while to_visit:
        peer = to_visit.pop()
        if peer not in seen:
            seen.add(peer)
            to_visit.extend(links[peer] - seen)
    return len(seen) == len(links)


def largest_difference(vectors: Sequence[Vector]) -> float:
    """Between any value of the first vector and of another."""
    return max((float(np.max(np.abs(vector - vectors[0]))) for vector in vectors[1:]), default=0.0)
