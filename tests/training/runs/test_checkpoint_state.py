"""What a checkpoint does to a model, an optimizer and the random generators: all of it, or nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint
from tests.training.runs.test_checkpoints import MakeOptimizer, adamw, fresh, sgd, state, train


@pytest.mark.parametrize("make_optimizer", [sgd, adamw])
def test_training_goes_on_bitwise_as_if_it_had_never_stopped(tmp_path: Path, make_optimizer: MakeOptimizer) -> None:
    model, optimizer, schedule = fresh(make_optimizer)
    train(model, optimizer, schedule=schedule, steps=12)
    CheckpointWriter(tmp_path).save(model, optimizer, state=state(12, schedule=schedule.state_dict()))
    train(model, optimizer, schedule=schedule, steps=9)

    again, optimizer_again, schedule_again = fresh(make_optimizer, seed=1)
    checkpoint = load_checkpoint(tmp_path)
    checkpoint.apply(again, optimizer_again, fingerprint="digits-0123")
    schedule_again.load_state_dict(checkpoint.state.schedule)
    train(again, optimizer_again, schedule=schedule_again, steps=9)

    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert optimizer_again.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_a_checkpoint_can_be_applied_twice(tmp_path: Path) -> None:
    model, optimizer, schedule = fresh(adamw)
    train(model, optimizer, schedule=schedule, steps=3)
    CheckpointWriter(tmp_path).save(model, optimizer, state=state())
    checkpoint = load_checkpoint(tmp_path)
    results = []
    for _ in range(2):
        checkpoint.apply(model, optimizer)
        train(model, optimizer, schedule=schedule, steps=3)
        results.append(torch.cat([value.flatten().double() for value in model.state_dict().values()]))
        schedule.load_state_dict({**schedule.state_dict(), "last_epoch": 3})
    assert torch.equal(*results)


def test_random_states_stay_as_they_are_on_request(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    CheckpointWriter(tmp_path).save(model, None, state=state())
    expected = (torch.initial_seed(), random.getstate())
    before = torch.get_rng_state()
    torch.rand(5)
    moved = torch.get_rng_state()
    load_checkpoint(tmp_path).apply(model, random_states=False)
    assert torch.equal(torch.get_rng_state(), moved)
    load_checkpoint(tmp_path).apply(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.initial_seed(), random.getstate()) == expected


def test_a_checkpoint_that_does_not_fit_names_the_first_difference_and_changes_nothing(tmp_path: Path) -> None:
    CheckpointWriter(tmp_path).save(nn.Linear(3, 2), None, state=state())
    checkpoint = load_checkpoint(tmp_path)
    for model, difference in [
        (nn.Linear(4, 2), r"'weight' has the shape \[2, 3\] there and \[2, 4\] in this model"),
        (nn.Linear(3, 2).double(), "'weight' is torch.float32 there and torch.float64"),
        (nn.Linear(3, 2, bias=False), "a tensor 'bias', which this model lacks"),
        (nn.Sequential(nn.Linear(3, 2)), r"no tensor '0\.weight', which this model has"),
    ]:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        generator = torch.get_rng_state()
        with pytest.raises(CheckpointMismatchError, match=difference):
            checkpoint.apply(model)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert torch.equal(generator, torch.get_rng_state())


def test_a_checkpoint_of_another_run_is_refused_by_its_fingerprint(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    CheckpointWriter(tmp_path).save(model, None, state=state())
    with pytest.raises(CheckpointMismatchError, match="'digits-0123' and this run is 'digits-9999'"):
        load_checkpoint(tmp_path).apply(model, fingerprint="digits-9999")


@pytest.mark.parametrize(
    ("make_optimizer", "difference"),
    [
        (None, "holds no optimizer"),
        (adamw, "its optimizer is AdamW and this run has SGD"),
        (lambda model: torch.optim.SGD([{"params": [p]} for p in model.parameters()]), "groups of"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(
    tmp_path: Path, make_optimizer: MakeOptimizer | None, difference: str
) -> None:
    model = nn.Linear(3, 2)
    CheckpointWriter(tmp_path).save(model, make_optimizer and make_optimizer(model), state=state())
    with pytest.raises(CheckpointMismatchError, match=difference):
        load_checkpoint(tmp_path).apply(model, sgd(model))
