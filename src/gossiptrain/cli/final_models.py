"""The models that a swarm left behind, measured: each by itself, and all as one.

Owns the reading and evaluation of the last checkpoints of several runs of one task. Does not know who made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoint_state import Checkpoint
from gossiptrain.training.runs.checkpoints import load_checkpoint
from gossiptrain.training.runs.merging import merge
from gossiptrain.training.tasks import task_named


@dataclass(frozen=True)
class FinalModel:
    """accuracy: on the test set, 0 to 1. own_steps: the inner steps that its peer made itself."""

    own_steps: int
    accuracy: float


@dataclass(frozen=True)
class FinalModels:
    """models: by the label of the peer, those that could be read. merged: accuracy of their mean."""

    models: dict[str, FinalModel]
    merged: float | None
    disagreement: float | None


def measure(folders: Mapping[str, Path], *, task: str) -> FinalModels:
    """Measures the last checkpoint of each run folder, by label; runs without a whole checkpoint are left out."""
    checkpoints: dict[str, Checkpoint] = {}
    for label, folder in folders.items():
        try:
            checkpoints[label] = load_checkpoint(folder)
        except CheckpointError:
            continue
    if not checkpoints:
        return FinalModels({}, None, None)
    opened = task_named(task)
    model = opened.build_model(seed=0)
    test_set = opened.open_evaluation(data_dir=None, device=torch.device("cpu"))

    def accuracy_of(state: dict[str, torch.Tensor]) -> float:
        model.load_state_dict(state)
        return test_set.evaluate(model).accuracy

    models = {
        label: FinalModel(int(checkpoint.state.extra["own_steps"]), accuracy_of(checkpoint.model_state()))
        for label, checkpoint in checkpoints.items()
    }
    merged = merge([checkpoint.model_state() for checkpoint in checkpoints.values()])
    return FinalModels(models, accuracy_of(merged.state), merged.disagreement)
