"""What a peer brings to a round and what it does with the average: the rules by which peers learn from each other.

Owns the arithmetic of each rule. It is elementwise and in place, on tensors of one shape: the same code moves one
tensor of a peer's model and a matrix that holds one virtual peer in each row. Numbers that differ from peer to peer may
be columns of that matrix. Does not know when rounds take place, with whom, or how values travel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from torch import Tensor

from gossiptrain.config import StrategyName

Scale: TypeAlias = float | Tensor
"""One number for all, or a column with one number for each peer."""
LARGEST_AGREEMENT = 0.5
"""Of momenta in a round of step-mix. More gains nothing, see `stability.StepMixMoments`."""


@dataclass(frozen=True)
class LocalWork:
    """What a peer has done since its last round.

    weight: the samples of a usual round of its own relative to the median of its last group, see
    `averaging.clipped_weight`. horizon: its inner steps relative to those that it usually makes between two rounds.
    """

    weight: Scale = 1.0
    horizon: Scale = 1.0


@dataclass(frozen=True)
class ParameterState:
    """What a peer holds of the averaged values, as float32 tensors of one shape.

    local: the parameters that are trained. shared: what goes to the group in a round, and for some strategies the slow
    weights between two rounds. state: as many more as the strategy has `state_names`.
    """

    local: Tensor
    shared: Tensor
    state: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class OuterSettings:
    """Learning rate and momentum of the outer step."""

    learning_rate: float
    momentum: float

    def rescaled(self, horizon: Scale) -> tuple[Scale, Scale]:
        """Learning rate and momentum for a round of `horizon` times the usual inner steps, 1 at most.

        mu_h = mu^h and lr_h = lr (1 - mu_h) / (1 - mu): the momentum forgets at the same pace in samples, and a steady
        drift is followed at the same speed. A longer round, after one that was missed, counts as a usual one: what was
        learnt in it is larger anyway, and a larger step of it too would take peers apart.
        """
        momentum = self.momentum ** (horizon.clamp(max=1.0) if isinstance(horizon, Tensor) else min(horizon, 1.0))
        return self.learning_rate * (1 - momentum) / (1 - self.momentum), momentum


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
    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale) -> None:
        """Moves `local` by what the group's average says; what was learnt since `contribute` stays.

        alpha: share of the way to go. Where it is 1 and nothing was learnt meanwhile, peers that held the same state
        end bitwise equal.
        """


class Average(Strategy):
    """Local SGD with parameter averaging (Stich 2018), the classic gossip: x += alpha (average - snapshot)."""

    name: ClassVar[StrategyName] = "average"
    average_is_state = True

    def contribute(self, parameters: ParameterState, work: LocalWork) -> None:
        """The parameters as they are."""
        parameters.shared.copy_(parameters.local)

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale) -> None:
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
        return f"{self.name} lr {self.outer.learning_rate:g} momentum {self.outer.momentum:g}"


class StepMix(_WithOuterStep):
    """The outer Nesterov step of DiLoCo (Douillard et al. 2023) taken by each peer alone, then averaging.

        d = w (theta - phi);  m = mu m + d;  z = phi + lr (d + mu m)
        m += alpha beta / lr (average of z - z);  phi = z + alpha (average of z - z)

    One tensor travels, and serves twice: by how much the group's steps differed from the own one tells by how much
    their momenta do. All of it is linear in the peers' values, and what the members of a group are moved by sums to
    zero, so the swarm's mean follows DiLoCo exactly for every group size. beta is `agreement`.
    """

    name: ClassVar[StrategyName] = "step-mix"
    state_names = ("momentum",)
    weighs_average = False
    keeps_shared = True

    @property
    def agreement(self) -> float:
        """Share of what the momenta seem to differ by that is made up for in a round (beta above).

        Slow weights differ too, and that is taken for momentum: a difference that averaging has just removed comes
        back beta mu^2 / (1 - mu) times as large, with the other sign, over the rounds that follow. So beta is at most
        (1 - mu) / mu^2, and peers agree however seldom they meet; see `stability.StepMixMoments`.
        """
        momentum = self.outer.momentum
        return min(LARGEST_AGREEMENT, (1 - momentum) / momentum**2) if momentum else 0.0

    def kept(self, parameters: ParameterState) -> tuple[Tensor, ...]:
        """The slow weights, which are what was shared last, and the momentum."""
        return (parameters.shared, *parameters.state)

    def contribute(self, parameters: ParameterState, work: LocalWork) -> None:
        """The slow weights after the own outer step, from which the inner steps go on."""
        (momentum,) = parameters.state
        learning_rate, mu = self.outer.rescaled(work.horizon)
        # What was learnt takes the place of the parameters, which are to follow the slow weights anyway.
        learnt = parameters.local.sub_(parameters.shared).mul_(work.weight)
        momentum.mul_(mu).add_(learnt)
        _add(parameters.shared, learnt, learning_rate)
        _add(parameters.shared, momentum, learning_rate * mu)
        parameters.local.copy_(parameters.shared)

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale) -> None:
        """Slow weights and parameters move alike, so the next step sees what was learnt and nothing else."""
        (momentum,) = parameters.state
        share = alpha * self.agreement / self.outer.learning_rate
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
    """DiLoCo (Douillard et al. 2023): one outer Nesterov step of all peers together on their mean progress.

        d = average of theta - phi;  m = mu m + d;  phi = phi + lr (d + mu m);  theta = phi

    Slow weights and momentum are equal everywhere only while everyone takes part in every round.
    """

    name: ClassVar[StrategyName] = "diloco"
    meets_everyone = True

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale) -> None:
        """The common outer step."""
        slow, momentum = parameters.state
        learnt = average - slow
        momentum.mul_(self.outer.momentum).add_(learnt)
        slow.add_(learnt.mul_(self.outer.learning_rate))
        slow.add_(momentum, alpha=self.outer.learning_rate * self.outer.momentum)
        self._move_to_slow(parameters, alpha=alpha)


class NoLoCo(_OuterStepAfter):
    """NoLoCo (Kolehmainen et al. 2025) in its form with one tensor: heavy-ball momentum on the group's mean.

        m = mu m + lr (average of theta - phi);  phi += m;  theta = phi

    For comparison. What the peers disagree in goes through the momentum, so much of it makes them drift apart.
    """

    name: ClassVar[StrategyName] = "noloco"

    def take(self, parameters: ParameterState, average: Tensor, *, alpha: Scale) -> None:
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


def late_share(steps_late: int, steps_between_rounds: int) -> float:
    """Share of the way to go where an average comes `steps_late` inner steps after its snapshot: 1 / (1 + s).

    s: whole rounds that it is late, so within one interval all of it is taken.
    """
    return 1.0 / (1 + steps_late // max(1, steps_between_rounds))
