"""How a task is trained: the defaults of its settings, its optimizer, and its learning rate over the steps.

Owns SGD with momentum, AdamW, a limit on gradients, and the two usual schedules. Does not know models, data or the
length of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gossiptrain.config import StrategyName
from gossiptrain.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Defaults of a task. The command line may override `batch`, `epochs` and `learning_rate`."""

    batch: int
    """Samples in one step."""
    epochs: float
    """Passes over the samples that a peer sees."""
    learning_rate: float
    """Peak learning rate at this `batch`."""
    every_steps: int
    """Inner steps between two rounds."""
    strategy: StrategyName = "gradual"
    """Of `training.model.strategies`; `docs/algorithms.md` says why."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    """How much of the gradients before is kept in each step; the first beta of AdamW."""
    nesterov: bool = True
    """Of SGD only."""
    second_beta: float = 0.999
    """Of AdamW only: how much is kept of the squared gradients before."""
    weight_decay: float = 0.0
    """Not applied to biases and normalisation layers."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient, which is shortened to it; None: no limit."""
    label_smoothing: float = 0.0
    warmup: float = 0.05
    """Share of all steps in which the learning rate rises to its peak."""
    decay: Literal["linear", "cosine"] = "linear"
    """How it falls afterwards."""
    final: float = 0.01
    """Share of the peak that is left at the end and is kept by a peer that goes on."""

    def learning_rate_for(self, batch: int) -> float:
        """The peak learning rate for another batch.

        SGD: in proportion to the batch (Goyal et al. 2017). AdamW: to its square root (Malladi et al. 2022).
        """
        ratio = batch / self.batch
        return self.learning_rate * (ratio if self.optimizer == "sgd" else math.sqrt(ratio))

    def build_optimizer(self, model: nn.Module, *, learning_rate: float) -> Optimizer:
        """The optimizer over the trainable parameters, in two groups: with and without weight decay."""
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            # Vectors are biases and the scales of normalisation layers: decay would only fight the data there.
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        # One kernel instead of several per tensor: a third of a small step. But a fused step takes float16 gradients
        # as they are, scaled up, and a limit needs their true size.
        fused = self.clip_norm is None
        optimizer: Optimizer
        if self.optimizer == "sgd":
            optimizer = SGD(groups, lr=learning_rate, momentum=self.momentum, nesterov=self.nesterov, fused=fused)
        else:
            optimizer = AdamW(groups, lr=learning_rate, betas=(self.momentum, self.second_beta), fused=fused)
        if self.clip_norm is not None:
            optimizer.register_step_pre_hook(_clip_to(self.clip_norm))
        return optimizer

    def build_schedule(self, optimizer: Optimizer, *, total_steps: int) -> StepSchedule:
        """The learning rate over `total_steps` steps, standing at step 0."""
        return StepSchedule(optimizer, self._factor_over(total_steps))

    def _factor_over(self, total_steps: int) -> Callable[[int], float]:
        if total_steps < 1:
            raise UsageError(f"A run needs at least one step, not {total_steps}.")
        warmup_steps = min(total_steps - 1, round(self.warmup * total_steps))
        decay_steps = total_steps - warmup_steps

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            progress = min(1.0, (step - warmup_steps) / decay_steps)
            left = 1.0 - progress if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
            return self.final + (1.0 - self.final) * left

        return factor


def _clip_to(norm: float) -> Callable[[Optimizer, Any, Any], None]:
    """A hook that shortens the gradient before every step of any loop, whoever wrote it."""

    def clip(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], norm)

    return clip


class StepSchedule(LambdaLR):
    """A learning rate that is a function of the step alone, so a peer that arrives late can start in its middle."""

    @property
    def position(self) -> int:
        """The step whose learning rate is set."""
        return self.last_epoch

    def move_to(self, step: int) -> None:
        """Goes to `step` at once, forwards or backwards, as if `step()` had been called that often from the start."""
        if step < 0:
            raise ValueError(f"a schedule has no step {step}")
        self.last_epoch = step
        rates = [base * factor(step) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = rates
