"""Which strategy the settings mean, and which settings no strategy can be asked for.

Owns what stands in where the settings say nothing: the strategy that suits a model, the pace and the grouping that a
strategy needs, the usual outer learning rates and momenta; and the refusals. Does not know how a strategy works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gossiptrain.config import CodecName, GossipSettings, StrategyName
from gossiptrain.core.fragments import LARGEST_ELEMENTS
from gossiptrain.core.stability import noloco_radius
from gossiptrain.errors import UsageError
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.gradual import Gradual
from gossiptrain.training.model.outer_step import OuterSettings
from gossiptrain.training.model.strategies import Average, DiLoCo, NoLoCo, StepMix, Strategy, Synchronous

OUTER_DEFAULTS: dict[StrategyName, OuterSettings] = {
    "gradual": OuterSettings(learning_rate=0.7, momentum=0.8, immediate=1.0),
    "step-mix": OuterSettings(learning_rate=0.7, momentum=0.8),
    "diloco": OuterSettings(learning_rate=0.7, momentum=0.8),
    "noloco": OuterSettings(learning_rate=0.7, momentum=0.5),
}

CODECS: Mapping[frozenset[torch.dtype], CodecName] = {
    frozenset({torch.bfloat16}): "bf16",
    frozenset({torch.float16}): "fp16",
}
"""Of a model that has one precision throughout."""


@dataclass(frozen=True)
class Usual:
    """What holds where the settings say nothing.

    every_steps: inner steps between two rounds. codec: with which the model's parameters travel and lose nothing.
    """

    every_steps: int
    strategy: StrategyName
    codec: CodecName = "fp32"

    @classmethod
    def of(cls, model: ModelBinding, *, every_steps: int) -> Usual:
        """For a loop that nobody has tuned: an outer step that grows, see `docs/algorithms.md`.

        Plain averaging where that has not been measured or would cost much: for models of which a part is frozen, such
        as those below an adapter, in half precision, and so large that they travel in fragments, where an outer step
        takes two more copies of the model.
        """
        codec = CODECS.get(model.precisions, "fp32")
        fine = all(torch.finfo(precision).bits >= 32 for precision in model.precisions)
        suits = model.all_trained and fine and model.elements <= LARGEST_ELEMENTS
        return cls(every_steps, "gradual" if suits else "average", codec)


def settled(settings: GossipSettings, usual: Usual) -> GossipSettings:
    """The settings with the usual strategy, pace and codec where none is set; for `sync` a round after every step."""
    chosen = settings.strategy or usual.strategy
    # What has an outer step keeps more digits than the model has, and sends them.
    codec = settings.codec or ("fp32" if chosen in OUTER_DEFAULTS else usual.codec)
    update: dict[str, object] = {"strategy": chosen, "codec": codec}
    if settings.every_steps is None and settings.every_seconds is None:
        update["every_steps"] = 1 if chosen == "sync" else usual.every_steps
    return settings.model_copy(update=update)


def resolved(settings: GossipSettings, usual: Usual) -> tuple[GossipSettings, Strategy]:
    """The settings with what is usual where they say nothing and the grouping that their strategy needs, and the
    strategy.

    Raises UsageError where they do not go together.
    """
    settings = settled(settings, usual)
    strategy = strategy_for(settings)
    return _fitted(settings, strategy), strategy


def strategy_for(settings: GossipSettings) -> Strategy:
    """The strategy that the settings name; plain averaging where they name none.

    Raises UsageError where they do not go together, or would make the peers drift apart.
    """
    outer = _outer_settings(settings)
    match settings.strategy:
        case "average" | None:
            return Average()
        case "sync":
            return Synchronous()
        case "gradual":
            return Gradual(outer)
        case "step-mix":
            return StepMix(outer)
        case "diloco":
            return DiLoCo(outer)
        case "noloco":
            _refuse_unstable(outer, group_size=settings.gossip_group_size)
            return NoLoCo(outer)


def _outer_settings(settings: GossipSettings) -> OuterSettings:
    name = settings.strategy or "average"
    usual = OUTER_DEFAULTS.get(name)
    if usual is None:
        for setting in ("outer_learning_rate", "outer_momentum", "outer_immediate"):
            if (value := getattr(settings, setting)) is not None:
                raise UsageError(
                    f"{setting} was set to {value}, but the strategy {name} has no outer step.",
                    remedy=f"Leave it out, or use one of the strategies {', '.join(OUTER_DEFAULTS)}.",
                )
        return OuterSettings(learning_rate=1.0, momentum=0.0)
    if name == "noloco" and settings.outer_immediate is not None:
        raise UsageError(
            f"outer_immediate was set to {settings.outer_immediate}, and noloco moves by its momentum alone.",
            remedy="Leave it out, or use one of the strategies step-mix, diloco.",
        )
    return OuterSettings(
        learning_rate=_first(settings.outer_learning_rate, usual.learning_rate),
        momentum=_first(settings.outer_momentum, usual.momentum),
        immediate=settings.outer_immediate or usual.immediate,
    )


def _first(given: float | None, usual: float) -> float:
    return usual if given is None else given


def _refuse_unstable(outer: OuterSettings, *, group_size: int) -> None:
    """In a large swarm a round of groups of k leaves 1/k of the disagreement, the most that it ever does."""
    radius = noloco_radius(outer.momentum, outer.learning_rate, 1 / group_size)
    if radius >= 1:
        raise UsageError(
            f"noloco with outer momentum {outer.momentum:g} and outer learning rate {outer.learning_rate:g} makes "
            f"peers in groups of {group_size} drift apart: their disagreement grows {radius:.2f}-fold in every round.",
            cause="What the peers disagree in goes through the momentum, which keeps adding to it.",
            remedy="Lower the outer momentum (0.5 suits pairs), enlarge the groups, or use the strategy step-mix.",
        )


def _fitted(settings: GossipSettings, strategy: Strategy) -> GossipSettings:
    """The settings with the grouping that the strategy needs. Raises UsageError where another one was chosen."""
    if not strategy.meets_everyone or settings.grouping == "all":
        return settings
    if settings.grouping != "auto":
        raise UsageError(
            f"The strategy {strategy.name} needs all peers in one group, and the grouping is {settings.grouping}.",
            remedy="Use grouping all with it, or the strategy step-mix, which comes to the same in any groups.",
        )
    return settings.model_copy(update={"grouping": "all"})
