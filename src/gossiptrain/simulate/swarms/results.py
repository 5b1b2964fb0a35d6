"""What a run of a simulated swarm finds.

Owns the form of it, in Python and as JSON. Nothing in it depends on the computer but `cpu_seconds`, which stands
apart. Does not know how it is found, nor how it is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gossiptrain.simulate.swarms.plan import Plan
from gossiptrain.simulate.swarms.settings import SwarmSettings


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold: which, when, and in words what was seen."""

    invariant: str
    at_s: float
    words: str

    def __str__(self) -> str:
        return f"{self.invariant}, at {self.at_s:.2f} s: {self.words}"


@dataclass(frozen=True)
class RoundRecord:
    """A round as one member saw it. formation_s: until its group was found. attempts: of the exchange."""

    ended_s: float
    peer: str
    number: int
    members: tuple[str, ...]
    committed: bool
    attempts: int
    formation_s: float
    seconds: float
    digest: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """Where the swarm stands at one moment. training: peers that hold the swarm's parameters.

    disagreement: root mean square distance of their vectors from the mean, relative to it. is_one: whether each living
    peer knows all others.
    """

    at_s: float
    alive: int
    training: int
    disagreement: float
    is_one: bool


@dataclass(frozen=True)
class FaultRecord:
    """A fault that was to happen. happened: it found somebody to happen to. rounds_cost: rounds, counted once for all
    their members, that were abandoned or tried again while it went on and had a member that it touched.

    one_swarm_after_s: from its end to the first sample in which each peer knew all others, though other faults may have
    gone on; None where there was none.
    """

    number: int
    name: str
    words: str
    at_s: float
    until_s: float
    happened: bool
    rounds_cost: int
    one_swarm_after_s: float | None


@dataclass(frozen=True)
class SwarmResult:
    """One run. Rounds are counted once for all their members; bytes are those of all peers together."""

    settings: SwarmSettings
    plan: Plan
    violations: tuple[Violation, ...]
    rounds: tuple[RoundRecord, ...]
    samples: tuple[Sample, ...]
    faults: tuple[FaultRecord, ...]
    reached: dict[str, int]
    """How often each event was seen that a run ought to have exercised, see `sometimes`."""
    virtual_s: float
    sent_bytes: int
    turns: int
    cpu_s: float

    @property
    def committed(self) -> int:
        """Rounds that committed."""
        return len({(each.number, each.members) for each in self.rounds if each.committed})

    @property
    def abandoned(self) -> int:
        """Groups that were formed and averaged nothing."""
        committed = {(each.number, each.members) for each in self.rounds if each.committed}
        given_up = {(each.number, each.members) for each in self.rounds if not each.committed}
        return len(given_up - committed)

    def as_json(self) -> dict[str, Any]:
        """Everything that the seed decides: equal for equal settings, whatever computer it ran on."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "plan": [str(fault).strip() for fault in self.plan],
            "violations": [asdict(each) for each in self.violations],
            "committed": self.committed,
            "abandoned": self.abandoned,
            "virtual_seconds": self.virtual_s,
            "sent_bytes": self.sent_bytes,
            "turns": self.turns,
            "reached": self.reached,
            "faults": [asdict(each) for each in self.faults],
            "samples": [asdict(each) for each in self.samples],
            "rounds": [asdict(each) for each in self.rounds],
        }
