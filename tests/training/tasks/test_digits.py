"""Digits: all data together beats a quarter of it, in steps that cost next to nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from sklearn.datasets import load_digits

from gossiptrain.errors import DataMissingError
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.digits import load_split, read_samples
from gossiptrain.training.tasks.sampling import Share

CPU = torch.device("cpu")
STEPS = 1200


def accuracy_after_training(share: Share) -> float:
    task = task_named("digits")
    batches = task.open_training(data_dir=None, share=share, batch=task.recipe.batch, device=CPU)
    model = task.build_model(0)
    optimizer = task.build_optimizer(model, learning_rate=task.recipe.learning_rate)
    schedule = task.build_schedule(optimizer, total_steps=STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(model, batches.next()))
        optimizer.step()
        schedule.step()
    return task.open_evaluation(data_dir=None, device=CPU).evaluate(model).accuracy


def test_everything_is_learnt_well_and_a_quarter_clearly_worse() -> None:
    everything = accuracy_after_training(Share(1))
    quarters = [accuracy_after_training(Share(part, part, 4)) for part in (1, 2, 3, 4)]
    assert everything >= 0.96
    assert all(0.88 <= quarter <= everything - 0.02 for quarter in quarters)


def test_no_sample_is_in_training_and_test() -> None:
    training, test = load_split()
    rows = {row.tobytes() for row in training.pixels}
    assert len(training.labels) == 987
    assert len(test.labels) == 810
    assert not any(row.tobytes() in rows for row in test.pixels)


def test_the_samples_are_those_that_scikit_learn_gives() -> None:
    given, samples = load_digits(), read_samples(Path(sklearn.__file__).parents[1])
    assert np.array_equal(samples[:, :-1], given.data)
    assert np.array_equal(samples[:, -1], given.target)


def test_where_the_samples_are_missing_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="--force-reinstall scikit-learn"):
        read_samples(tmp_path)


def test_both_sides_hold_every_class_in_equal_shares() -> None:
    training, test = load_split()
    shares = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(training.labels))
    assert shares == pytest.approx(0.45, abs=0.02)


def test_pixels_are_scaled_and_the_model_fits_them() -> None:
    task = task_named("digits")
    batch = task.open_training(data_dir=None, share=Share(1), batch=32, device=CPU).next()
    assert batch.inputs.shape == (32, 64)
    assert batch.inputs.dtype == torch.float32
    assert 0 <= batch.inputs.min() <= batch.inputs.max() <= 1
    model = task.build_model(0)
    assert model(batch.inputs).shape == (32, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 17_226
