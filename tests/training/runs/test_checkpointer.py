"""What of a training is in its checkpoints, and that a resumed run has all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from gossiptrain import events
from gossiptrain.training.bus import EventBus
from gossiptrain.training.compute import MixedPrecision
from gossiptrain.training.runs.checkpointer import Checkpointer, TrainingState
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.sampling import Share

CPU = torch.device("cpu")


class Masked(nn.Module):
    """A parameter, a statistic, and a causal mask as it is often made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.mean = nn.Buffer(torch.zeros(2))
        self.mask = nn.Buffer(torch.full((3, 3), -torch.inf).triu(1))


@contextmanager
def keeper_of(model: nn.Module, folder: Path, told: list[events.Event] | None = None) -> Iterator[Checkpointer]:
    task = task_named("digits")
    bus = EventBus()
    bus.subscribe((told if told is not None else []).append)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = task.open_training(data_dir=None, share=Share.parse(None, identity_seed=0), batch=8, device=CPU)
    try:
        yield Checkpointer(
            task, model, optimizer, batches, MixedPrecision(CPU, "fp32"), CheckpointWriter(folder / "checkpoints"), bus
        )
    finally:
        batches.close()


def test_a_resumed_run_stands_where_it_stood(tmp_path: Path) -> None:
    counts = {"steps_since_snapshot": 7, "median_samples": 80.5, "has_begun": True}
    place = TrainingState(40, 30, 6, {"0.weight": torch.ones(2)}, counts)
    with keeper_of(Masked(), tmp_path) as checkpointer:
        checkpointer.save(place)
    with keeper_of(Masked(), tmp_path) as checkpointer:
        restored = checkpointer.restore(load_checkpoint(tmp_path))
    assert (restored.step, restored.own_steps, restored.rounds) == (40, 30, 6)
    assert restored.round_counts == counts
    assert torch.equal(restored.outer["0.weight"], torch.ones(2))


def test_a_model_with_a_mask_of_minus_infinity_is_saved(tmp_path: Path) -> None:
    told: list[events.Event] = []
    with keeper_of(Masked(), tmp_path, told) as checkpointer:
        checkpointer.save(TrainingState(1, 1))
    assert [event.event for event in told] == ["checkpoint"]


@pytest.mark.parametrize("name", ["weight", "mean"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_ceases_to_be_finite_is_not_saved(tmp_path: Path, name: str, value: float) -> None:
    told: list[events.Event] = []
    model = Masked()
    with keeper_of(model, tmp_path, told) as checkpointer:
        with torch.no_grad():
            model.state_dict()[name][0] = value
        checkpointer.save(TrainingState(1, 1))
    assert [event.event for event in told] == ["checkpoint_failed"]
