"""What one run of a simulated swarm is told, and when in it what happens.

Owns names, defaults and ranges, and the phases of a run. Does not know the command line, nor how a run goes.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from gossiptrain.config import PRESETS, GossipSettings, PositiveSeconds, Preset, Settings, TimingSettings, checked
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, CommonSettings, RunFingerprint
from gossiptrain.errors import UsageError
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.private import Holding, PrivateAccess
from gossiptrain.swarm.access.tokens import Authority
from gossiptrain.swarm.ending import UNDER_WAY_S

FaultName: TypeAlias = Literal[
    "crash",
    "freeze",
    "cut",
    "one-way",
    "latency",
    "loss",
    "reset",
    "reorder",
    "skew",
    "slow",
    "flood",
    "lie",
]
FAULT_NAMES: tuple[FaultName, ...] = get_args(FaultName)
ELEMENTS = 48
"""Length of a virtual peer's vector."""
CHUNK_BYTES = 64
STEP_S = 0.1
"""Virtual seconds of one inner step of a peer of usual speed."""
STARTING_S = 1.0
"""Within which all peers start."""
UNDISTURBED_S = 15.0
"""How long a swarm may form before the first fault."""
REUNITED_S = 30.0
"""Within which a swarm that was cut is one again, as its documents promise."""
QUIET_ROUNDS = 3
"""Periods at the end of the healing in which every peer is to take part in a round."""
TURNS_OF_ONE_SECOND = 2_000
"""Most turns of the event loop in one virtual second, on average, for each peer."""


class SwarmSettings(Settings):
    """One run."""

    peers: Annotated[int, Field(ge=2, le=2000)] = 16
    seconds: PositiveSeconds = 120.0
    """Virtual seconds in which faults happen; healing and the end come in addition."""
    faults: dict[FaultName, Annotated[float, Field(gt=0, le=1000)]] = Field(
        default_factory=lambda: dict.fromkeys(FAULT_NAMES, 1.0)
    )
    """How often each kind is drawn, relative to the others."""
    faults_per_minute: Annotated[float, Field(gt=0, le=600)] = 6.0
    only_faults: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Numbers of the faults of the plan that happen. None: all."""
    preset: Preset = "lan"
    group_size: Annotated[int, Field(ge=2, le=64)] = 16
    every_seconds: PositiveSeconds = 5.0
    private: bool = False
    """Whether the peers are members of a private swarm."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def access(self, peer: PeerId) -> PrivateAccess | None:
        """What makes a peer a member; None where the swarm is open."""
        if not self.private:
            return None
        seed, secret = (hashlib.sha256(f"{self.seed}/{name}".encode()).digest() for name in ("authority", "secret"))
        authority = Authority(seed)
        holding = Holding(authority.swarm, secret, authority.credential_for(peer))
        return PrivateAccess(peer, holding, unix_time=lambda: 0.0)

    @property
    def timing(self) -> TimingSettings:
        """The waits that go with the preset; the small vector travels in several chunks."""
        return PRESETS[self.preset].model_copy(update={"chunk_bytes": CHUNK_BYTES})

    def gossip(self) -> GossipSettings:
        """The same for the swarm. Raises UsageError."""
        return checked(
            GossipSettings, gossip_group_size=self.group_size, every_seconds=self.every_seconds, seed=self.seed
        )

    def fingerprint(self) -> RunFingerprint:
        """Of the run that all peers take part in."""
        common = CommonSettings.of(self.gossip())
        return RunFingerprint(PROTOCOL_VERSION, "simulated", "none", "00", ELEMENTS, "average", common)

    @property
    def faults_end_s(self) -> float:
        """When the last fault is over."""
        return UNDISTURBED_S + self.seconds

    @property
    def healing_s(self) -> float:
        """After the last fault, until the swarm is to be one again and goes on."""
        return REUNITED_S + 6 * self.timing.lifetime_s

    @property
    def quiet_s(self) -> float:
        """After the healing: how long every peer has to take part in a round."""
        return QUIET_ROUNDS * (self.every_seconds + self.gossip().matchmaking_time + self.timing.dial_timeout_s)

    @property
    def end_s(self) -> float:
        """When peers are told to end."""
        return self.faults_end_s + self.healing_s + self.quiet_s

    @property
    def longest_end_s(self) -> float:
        """How long the end of one peer may take: graces, the last group, its round, and goodbyes."""
        gossip, timing = self.gossip(), self.timing
        last_round_s = 2 * gossip.matchmaking_time + timing.dial_timeout_s + UNDER_WAY_S
        return gossip.ending_time + 2 * last_round_s + 6 * timing.probe_timeout_s

    @property
    def limit_s(self) -> float:
        """Virtual time that no run may reach."""
        return self.end_s + self.longest_end_s + self.timing.round_timeout_s + STARTING_S

    @property
    def limit_turns(self) -> int:
        """Turns of the event loop that no run may reach."""
        return int(TURNS_OF_ONE_SECOND * self.limit_s * (self.peers + 4))


def read_faults(text: str) -> dict[FaultName, float]:
    """Kinds and weights of a text such as `crash,freeze:3`; `all` and `none` are words, too. Raises UsageError."""
    if text == "none":
        return {}
    if text == "all":
        return dict.fromkeys(FAULT_NAMES, 1.0)
    weights: dict[FaultName, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition(":")
        known = next((fault for fault in FAULT_NAMES if fault == name.strip()), None)
        if known is None:
            raise UsageError(
                f"There is no fault {name.strip()!r}.",
                remedy=f"Faults are all, none, or some of {', '.join(FAULT_NAMES)}; each with a weight as in crash:3.",
            )
        try:
            weights[known] = float(weight or 1.0)
        except ValueError:
            raise UsageError(f"The weight of a fault is a number, as in {known}:3, not {weight!r}.") from None
    return weights
