"""What a peer brings to a round and what it does with the average: the rules by which peers learn from each other.

Owns the arithmetic of each rule. It is elementwise and in place, on tensors of one shape: the same code moves one
tensor of a peer's model and a matrix that holds one virtual peer in each row. Numbers that differ from peer to peer may
be columns of that matrix. Does not know when rounds take place, with whom, or how values travel.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossiptrain.config import StrategyName
from gossiptrain.core.stability import StepMixMoments
from gossiptrain.training.model.local_work import USUAL, LocalWork
from gossiptrain.training.model.outer_step import OuterSettings, Scale
from gossiptrain.training.model.own_steps import Alignment, StepHistory, StepShares

SELDOM_MET = 0.75
"""What a round leaves of the disagreement among peers that meet in pairs, and in every second round only."""


@dataclass(frozen=True)
class ParameterState:
    """What a peer holds of the averaged values, as float32 tensors of one shape.

    local: the parameters that are trained. shared: what goes to the group in a round, and for some strategies the slow
    weights between two rounds. state: as many more as the strategy has `state_names`.
    """

    local: Tensor
    shared: Tensor
    state: tuple[Tensor, ...] = ()


class Strategy(ABC):
    """One rule. It holds no state of its own: what is kept from round to round is in `ParameterState`."""

    name: ClassVar[StrategyName]
    state_names: ClassVar[tuple[str, ...]] = ()
    """The tensors of `ParameterState.state`, in their order."""
    weighs_average: ClassVar[bool] = True
    """Whether the group weighs its members by samples. Others weigh their own step instead, which keeps the mean of the
    swarm where it is."""
    average_is_state: ClassVar[bool] = False
    """Whether the average of a round is all that a joiner needs: any member of the group can give it, at no cost to
    its trainer. Elsewhere peers keep more than parameters, or hold something else after a round."""
    keeps_shared: ClassVar[bool] = False
    """Whether it needs `shared` from one round to the next. Elsewhere that is free once a round is over."""
    meets_everyone: ClassVar[bool] = False
    """Whether it is only right where all peers are in one group in every round."""
    waits: ClassVar[bool] = False
    """Whether the next inner step waits for the average."""

    def begin(self, parameters: ParameterState) -> None:
        """Before the first round, and after a donor's parameters were taken without its state."""
        parameters.shared.copy_(parameters.local)
        for tensor in parameters.state:
            tensor.zero_()

    def kept(self, parameters: ParameterState) -> tuple[Tensor, ...]:
        """What must outlive a round, for checkpoints and joiners. A joiner's parameters begin at the first of them, or
        at the donor's parameters where nothing is kept."""
        return parameters.state

    @property
    def summary(self) -> str:
        """Name and settings, in which all peers of a run must agree."""
        return self.name

    @abstractmethod
    def contribute(self, parameters: ParameterState, work: LocalWork) -> None:
        """Leaves in `shared` what goes to the group; may move `local` too. Holds also where the round then fails."""

    @abstractmethod
    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale, work: LocalWork = USUAL) -> None:
        """Moves `local` by what the group's average says; what was learnt since `contribute` stays.

        alpha: share of the way to go. Where it is 1 and nothing was learnt meanwhile, peers that held the same state
        end bitwise equal. work: as it was when the peer contributed.
        """


class Average(Strategy):
    """Local SGD with parameter averaging (Stich 2018), the classic gossip: x += alpha (average - snapshot)."""

    name: ClassVar[StrategyName] = "average"
    average_is_state = True

    def contribute(self, parameters: ParameterState, work: LocalWork) -> None:
        """The parameters as they are."""
        parameters.shared.copy_(parameters.local)

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale, work: LocalWork = USUAL) -> None:
        """The delta rule."""
        _shift(parameters.local, parameters.shared, average, alpha=alpha)


class Synchronous(Average):
    """A round after every step, waited for: with plain SGD the same as one model with all peers' batches together."""

    name: ClassVar[StrategyName] = "sync"
    meets_everyone = True
    waits = True


class _WithOuterStep(Strategy):
    def __init__(self, outer: OuterSettings) -> None:
        self.outer = outer

    @property
    def summary(self) -> str:
        """With the settings of the outer step."""
        return f"{self.name} {self.outer}"


@dataclass(frozen=True)
class Agreement:
    """Shares of what the group's steps differ by that go into the momentum of a peer.

    lately: where it has met lately. lasting: where it has not; with it peers agree however seldom they meet.
    """

    lately: float
    lasting: float

    def of(self, work: LocalWork) -> Scale:
        """That of a peer, or a column."""
        return self.lasting + work.met_lately * (self.lately - self.lasting)


class StepMix(_WithOuterStep):
    """The outer step of DiLoCo (Douillard et al. 2023) taken by each peer alone, then averaging.

        d = w (theta - phi);  z = phi + a d + b m;  m = mu m + d
        m += alpha p (average of z - z);  phi = z + alpha (average of z - z)

    One tensor travels, and serves twice: by how much the group's steps differed from the own one tells by how much
    their momenta do. All of it is linear in the peers' values, and what the members of a group are moved by sums to
    zero, so the swarm's mean follows DiLoCo exactly for every group size where p is the same for its members.
    """

    name: ClassVar[StrategyName] = "step-mix"
    state_names = ("momentum",)
    weighs_average = False
    keeps_shared = True

    def moments(self, agreement: float = 0.0, *, caution: float = 0.0) -> StepMixMoments:
        """How disagreement goes on among peers whose momenta agree by so much in each round."""
        step = self.outer.step(caution=caution)
        return StepMixMoments(float(step.immediate), float(step.remembered), float(step.momentum), agreement)

    @functools.cached_property
    def agreement(self) -> Agreement:
        """Where averages are in time."""
        return self.agreement_of(caution=0.0)

    @functools.cached_property
    def cautious_agreement(self) -> Agreement:
        """Where they are late."""
        return self.agreement_of(caution=1.0)

    def agreement_of(self, *, caution: float) -> Agreement:
        """Share of what the group's steps differ by that goes into the momentum (p above).

        1 / a, with which a peer whose slow weights and momentum are the group's remembers what the group has learnt in
        the place of what it has learnt itself: what averaging momenta would do, at twice the bytes. Less where peers
        could drift apart by it that meet in pairs and in every second round, see `stability.StepMixMoments`.
        """
        moments = self.moments(caution=caution)
        return Agreement(moments.stable_agreement(SELDOM_MET), moments.lasting_agreement)

    def kept(self, parameters: ParameterState) -> tuple[Tensor, ...]:
        """The slow weights, which are what was shared last, and the momentum."""
        return (parameters.shared, *parameters.state)

    def next_shares(self, history: StepHistory, alignment: Alignment, *, horizon: float) -> StepShares:
        """What counts in a peer's next round, which is noted: of a step that is far longer than usual only a part.

        A peer whose training goes astray between two rounds would else take its group with it, and by the momentum
        itself once more in every round that follows.
        """
        return StepShares(learnt=history.lengths.share_of(alignment.learnt_squared**0.5, horizon=horizon))

    def contribute(self, parameters: ParameterState, work: LocalWork) -> None:
        """The slow weights after the own outer step, from which the inner steps go on."""
        (momentum,) = parameters.state
        step = self.outer.step(work.horizon, caution=work.caution)
        # What was learnt takes the place of the parameters, which are to follow the slow weights anyway.
        learnt = parameters.local.sub_(parameters.shared).mul_(work.weight * work.learnt)
        _add(parameters.shared, learnt, step.immediate)
        momentum.mul_(work.kept)
        _add(parameters.shared, momentum, work.grown * step.remembered)
        momentum.mul_(step.momentum).add_(learnt)
        parameters.local.copy_(parameters.shared)

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale, work: LocalWork = USUAL) -> None:
        """Slow weights and parameters move alike, so the next step sees what was learnt and nothing else."""
        (momentum,) = parameters.state
        usual, cautious = self.agreement.of(work), self.cautious_agreement.of(work)
        share = alpha * (usual + work.caution * (cautious - usual))
        _add(momentum, average, share)
        _add(momentum, parameters.shared, -share)
        _shift(parameters.local, parameters.shared, average, alpha=alpha)
        _mix(parameters.shared, average, alpha=alpha)


class _OuterStepAfter(_WithOuterStep):
    """Parameters travel, and the outer step is taken on their average. State: slow weights and momentum."""

    state_names = ("slow", "momentum")

    def begin(self, parameters: ParameterState) -> None:
        """The slow weights begin at the parameters."""
        super().begin(parameters)
        parameters.state[0].copy_(parameters.local)

    def contribute(self, parameters: ParameterState, work: LocalWork) -> None:
        """The parameters as they are."""
        parameters.shared.copy_(parameters.local)

    def _move_to_slow(self, parameters: ParameterState, *, alpha: Scale) -> None:
        _shift(parameters.local, parameters.shared, parameters.state[0], alpha=alpha)


class DiLoCo(_OuterStepAfter):
    """DiLoCo (Douillard et al. 2023): one outer step of all peers together on their mean progress.

        d = average of theta - phi;  phi = phi + a d + b m;  m = mu m + d;  theta = phi

    Slow weights and momentum are equal everywhere only while everyone takes part in every round.
    """

    name: ClassVar[StrategyName] = "diloco"
    meets_everyone = True

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale, work: LocalWork = USUAL) -> None:
        """The common outer step."""
        slow, momentum = parameters.state
        step = self.outer.step()
        learnt = average - slow
        _add(slow, learnt, step.immediate)
        _add(slow, momentum, step.remembered)
        momentum.mul_(step.momentum).add_(learnt)
        self._move_to_slow(parameters, alpha=alpha)


class NoLoCo(_OuterStepAfter):
    """NoLoCo (Kolehmainen et al. 2025) in its form with one tensor: heavy-ball momentum on the group's mean.

        m = mu m + lr (average of theta - phi);  phi += m;  theta = phi

    For comparison. What the peers disagree in goes through the momentum, so much of it makes them drift apart.
    """

    name: ClassVar[StrategyName] = "noloco"

    @property
    def summary(self) -> str:
        """It has no more settings than these."""
        return f"{self.name} lr {self.outer.learning_rate:g} momentum {self.outer.momentum:g}"

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale, work: LocalWork = USUAL) -> None:
        """The outer step towards the group's mean."""
        slow, momentum = parameters.state
        momentum.mul_(self.outer.momentum).add_(average - slow, alpha=self.outer.learning_rate)
        slow.add_(momentum)
        self._move_to_slow(parameters, alpha=alpha)


def _shift(moved: Tensor, base: Tensor, target: Tensor, *, alpha: Scale) -> None:
    """moved += alpha (target - base), in an order in which `moved` that equals `base` becomes exactly `target`."""
    moved.sub_(base)
    if isinstance(alpha, Tensor) or alpha != 1.0:
        _add(moved, base, 1.0 - alpha)
    _add(moved, target, alpha)


def _mix(moved: Tensor, target: Tensor, *, alpha: Scale) -> None:
    """moved = (1 - alpha) moved + alpha target; exactly `target` where alpha is 1."""
    if isinstance(alpha, Tensor) or alpha != 1.0:
        _add(moved.mul_(1.0 - alpha), target, alpha)
    else:
        moved.copy_(target)


def _add(moved: Tensor, addend: Tensor, scale: Scale) -> None:
    if isinstance(scale, Tensor):
        moved.addcmul_(addend, scale)
    else:
        moved.add_(addend, alpha=scale)
