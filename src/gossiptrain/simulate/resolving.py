"""The settings of a run together with what its task says, and what does not go together.

Owns defaults that depend on the task, and the speeds of peers. Does not know how a run goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gossiptrain.errors import UsageError
from gossiptrain.simulate.learn_settings import BASELINES, LearnSettings
from gossiptrain.training.compute import chosen_device
from gossiptrain.training.model.strategy_choice import strategy_for
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.sampling import seed_from
from gossiptrain.training.tasks.task import Task

EVALUATIONS = 40


@dataclass(frozen=True)
class Resolved:
    """The settings with all that the task's recipe has said. every_steps: between two records, and two rounds but for
    strategies that have one after every step."""

    settings: LearnSettings
    batch: int
    learning_rate: float
    every_steps: int
    evaluate_every: int
    device: str

    @property
    def steps_between_rounds(self) -> int:
        """Inner steps from one round to the next."""
        return 1 if self.settings.strategy == "sync" else self.every_steps


def resolved(settings: LearnSettings) -> tuple[Task, Resolved]:
    """The task, and the settings with what it says. Raises UsageError, DataError."""
    task = task_named(settings.task, data_dir=settings.data_dir, **settings.variant)
    if settings.constant_rate:
        task.recipe = replace(task.recipe, warmup=0.0, final=1.0)
    batch = settings.batch or task.recipe.batch
    every = settings.evaluate_every
    found = Resolved(
        settings=settings,
        batch=batch,
        learning_rate=settings.learning_rate or task.recipe.learning_rate_for(batch),
        every_steps=settings.every_steps or task.recipe.every_steps,
        evaluate_every=max(1, settings.steps // EVALUATIONS) if every is None else every,
        device=str(chosen_device(settings.device)),
    )
    if settings.strategy not in BASELINES:
        strategy_for(settings.gossip())
        if found.steps_between_rounds > settings.steps:
            raise UsageError(
                f"The first round would be after {found.every_steps} steps, and the run ends after {settings.steps}.",
                remedy="Choose more --steps, or fewer --every-steps.",
            )
    return task, found


def speeds_of(peers: int, spread: float, *, seed: int) -> list[float]:
    """Inner steps of each peer in the time of one usual step: from slowest to fastest by equal factors, `spread` in
    all, dealt at random. Their mean is 1, so that all peers together do what equal ones would."""
    even = np.geomspace(1.0, spread, peers)
    dealt = np.random.default_rng(seed_from("speeds", seed)).permutation(even / even.mean())
    return [1.0] * peers if spread == 1 else [float(speed) for speed in dealt]
