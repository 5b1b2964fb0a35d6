"""What one run of the laboratory is told.

Owns names, defaults and ranges. Does not know the command line, nor how a run goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from gossiptrain.config import CodecName, GossipSettings, GroupingName, GuardName, Settings, StrategyName, checked
from gossiptrain.core.grouping import LARGEST_GROUP
from gossiptrain.simulate.aggregators import AGGREGATORS, AggregatorName
from gossiptrain.simulate.attacks import AttackName

CourseName: TypeAlias = Literal[StrategyName, "alone", "central"]
"""How peers learn together: by a strategy of `training.model.strategies`, or as one of two baselines. `alone`: they
never meet. `central`: one model learns in every step from the batches of all peers."""
EVERYONE_MEETS = ("diloco", "sync")
"""Strategies with one group of all peers."""
WITH_OUTER_STEP = ("gradual", "step-mix", "diloco", "noloco")
BASELINES = ("alone", "central")
WITHOUT_DELAY = ("sync", *BASELINES)
Rate: TypeAlias = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]


class LearnSettings(Settings):
    """One run. None: what the task's recipe or the strategy says."""

    task: str
    variant: dict[str, str | int] = Field(default_factory=dict)
    strategy: CourseName = "step-mix"
    peers: Annotated[int, Field(ge=2, le=256)] = 8
    steps: Annotated[int, Field(ge=1, le=2**31)] = 1600
    """Inner steps of a peer of usual speed."""
    every_steps: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """Inner steps between two rounds (H)."""
    batch: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Samples in one step of one peer."""
    learning_rate: Rate | None = None
    constant_rate: bool = False
    """Whether it stays as it is throughout, as in many loops; else it rises and falls as the task's recipe has it."""
    fix_statistics: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of all steps after which batch normalisation goes by its running statistics. None: never."""
    group_size: Annotated[int, Field(ge=2, le=LARGEST_GROUP)] = 16
    """Most peers in one group."""
    grouping: GroupingName = "auto"
    """Strategies in which everyone meets everyone have one group of all, whatever is said here."""
    codec: CodecName = "fp32"
    alpha: Annotated[float, Field(ge=0.1, le=1.0)] = 1.0
    outer_learning_rate: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] | None = None
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    outer_immediate: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] | None = None
    non_iid: Annotated[float, Field(ge=0.01, le=1000)] | None = None
    """Classes are divided among the peers by a Dirichlet distribution of this concentration; a text is cut into
    contiguous parts. None: every peer sees the same kind of data."""
    absent: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Probability with which each peer reaches nobody in a round; it keeps its own outer step, and trains on."""
    tries: Annotated[int, Field(ge=1, le=100)] = 1
    """How often in each round a peer looks for others. Real peers do so again half a second after a round that failed,
    so 1 is for absences that last from one round to the next. Every time it is absent with the same probability, and
    who comes late meets those that come late, too."""
    speeds: Annotated[float, Field(ge=1, le=100)] = 1.0
    """How many times as fast as the slowest peer the fastest one is; the peers' mean speed stays."""
    delay: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Inner steps that pass between a snapshot and the average that comes of it."""
    guard: Literal[GuardName, AggregatorName] = "off"
    """What peers do against bad contributions: what real ones do, or another aggregator to compare with."""
    attackers: Annotated[int, Field(ge=0, le=254)] = 0
    """Peers that lie to the others in every round. They are not counted in what is found."""
    attack: AttackName | None = None
    """How they lie; None: they do as the others do."""
    lying_owners: bool = False
    """Whether attackers also give back their own values for the mean of the slice that they reduce."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds parameters, order of data, groups, absences, speeds."""
    evaluate_every: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """Inner steps between two evaluations of the merged model, at the ends of rounds; 0: only at the end. None: 40
    evaluations in a run."""
    evaluate_peers: bool = False
    """At these moments evaluate the peers, too, each by itself as it was before the round."""
    data_dir: Path | None = None
    device: str = "auto"

    @model_validator(mode="after")
    def _everyone_fits_in_one_group(self) -> Self:
        if self.strategy in EVERYONE_MEETS and self.peers > LARGEST_GROUP:
            raise ValueError(
                f"in {self.strategy} all peers meet in one group, which holds at most {LARGEST_GROUP}, and there are "
                f"{self.peers}"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        for name in ("outer_learning_rate", "outer_momentum", "outer_immediate"):
            if self.strategy not in WITH_OUTER_STEP and getattr(self, name) is not None:
                raise ValueError(f"{self.strategy} has no outer step, and so no {name}")
        if self.strategy in WITHOUT_DELAY and self.delay:
            raise ValueError(f"in {self.strategy} no average comes late, so there is no delay of {self.delay} steps")
        if self.strategy == "central" and self.speeds != 1:
            raise ValueError("in central there is one model, and so no spread of speeds")
        return self

    @model_validator(mode="after")
    def _guards_can_be_compared(self) -> Self:
        if self.attackers > self.peers - 2:
            raise ValueError(
                f"of {self.peers} peers at least 2 are honest, so there are not {self.attackers} attackers"
            )
        if self.attack is not None and not self.attackers:
            raise ValueError(f"the attack {self.attack} needs attackers")
        own_slices = self.guard == "clip" or self.lying_owners
        if self.codec != "fp32" and (own_slices or self.aggregator is not None):
            raise ValueError(f"the laboratory has guard {self.guard} and lying owners in fp32 alone, not {self.codec}")
        if self.lying_owners and self.aggregator is not None:
            raise ValueError(f"in {self.guard} each member aggregates for itself, so there are no owners that lie")
        return self

    @property
    def aggregator(self) -> AggregatorName | None:
        """What takes the place of the weighted mean."""
        return self.guard if self.guard in AGGREGATORS else None

    def gossip(self) -> GossipSettings:
        """The same for real peers. Only for strategies that meet. Raises UsageError."""
        return checked(
            GossipSettings,
            strategy=self.strategy,
            gossip_group_size=self.group_size,
            grouping="all" if self.strategy in EVERYONE_MEETS else self.grouping,
            gossip_alpha=self.alpha,
            outer_learning_rate=self.outer_learning_rate,
            outer_momentum=self.outer_momentum,
            outer_immediate=self.outer_immediate,
            codec=self.codec,
            guard=self.guard if self.aggregator is None else "off",
            seed=self.seed,
        )
