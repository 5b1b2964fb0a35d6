"""Optimizer and schedule: decay only where it belongs, and a learning rate that is a function of the step."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW

from gossiptrain.errors import UsageError
from gossiptrain.training.tasks.recipe import Recipe, StepSchedule

LINEAR = Recipe(batch=8, epochs=1, learning_rate=0.2, every_steps=1, weight_decay=0.1, warmup=0.1)
COSINE = Recipe(batch=8, epochs=1, learning_rate=0.2, every_steps=1, warmup=0.25, decay="cosine")
ADAMW = Recipe(batch=8, epochs=1, learning_rate=0.01, every_steps=1, optimizer="adamw", second_beta=0.95)


def small_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def schedule_of(recipe: Recipe, total_steps: int) -> StepSchedule:
    optimizer = recipe.build_optimizer(small_model(), learning_rate=recipe.learning_rate)
    return recipe.build_schedule(optimizer, total_steps=total_steps)


def rates(schedule: StepSchedule) -> list[float]:
    return [float(group["lr"]) for group in schedule.optimizer.param_groups]


def stepped(schedule: StepSchedule, steps: int) -> StepSchedule:
    """The slow way to a step: one by one."""
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
    return schedule


def test_biases_and_normalisation_are_not_decayed() -> None:
    optimizer = LINEAR.build_optimizer(small_model(), learning_rate=0.2)
    decay_by_shape = {
        tuple(parameter.shape): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decay_by_shape == {(4, 3, 3, 3): 0.1, (2, 4): 0.1, (4,): 0.0, (2,): 0.0}


def test_the_optimizer_is_the_one_that_is_named() -> None:
    sgd, adamw = (recipe.build_optimizer(small_model(), learning_rate=0.2) for recipe in (LINEAR, ADAMW))
    assert isinstance(sgd, SGD)
    assert isinstance(adamw, AdamW)
    assert [group["betas"] for group in adamw.param_groups] == [(0.9, 0.95)] * 2


def test_a_larger_batch_takes_a_higher_rate_as_its_optimizer_bears_it() -> None:
    assert LINEAR.learning_rate_for(32) == pytest.approx(4 * 0.2)
    assert ADAMW.learning_rate_for(32) == pytest.approx(2 * 0.01)


@pytest.mark.parametrize("gradient", [0.5, 30.0])
def test_a_long_gradient_is_shortened_and_a_short_one_is_not(gradient: float) -> None:
    model = nn.Linear(4, 1, bias=False)
    recipe = replace(LINEAR, weight_decay=0.0, momentum=0.0, nesterov=False, clip_norm=2.0)
    optimizer = recipe.build_optimizer(model, learning_rate=1.0)
    before = model.weight.detach().clone()
    model.weight.grad = torch.full((1, 4), gradient)
    optimizer.step()
    assert (before - model.weight).norm().item() == pytest.approx(min(2 * gradient, 2.0), rel=1e-4)


def test_a_gradient_is_shortened_at_its_true_size_when_it_was_scaled_for_float16() -> None:
    model = nn.Linear(4, 1, bias=False)
    recipe = replace(LINEAR, weight_decay=0.0, momentum=0.0, nesterov=False, clip_norm=2.0)
    optimizer = recipe.build_optimizer(model, learning_rate=1.0)
    before = model.weight.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    torch.autograd.backward(scaler.scale(0.5 * model(torch.ones(1, 4)).sum()))
    scaler.step(optimizer)
    torch.testing.assert_close(before - model.weight, torch.full((1, 4), 0.5))


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    (group,) = LINEAR.build_optimizer(model, learning_rate=0.2).param_groups
    assert [tuple(parameter.shape) for parameter in group["params"]] == [(2, 3)]


@pytest.mark.parametrize("recipe", [LINEAR, COSINE])
def test_the_rate_rises_to_its_peak_and_falls_to_a_hundredth(recipe: Recipe) -> None:
    schedule = schedule_of(recipe, 100)
    course = []
    for step in range(101):
        schedule.move_to(step)
        course.append(rates(schedule)[0])
    peak = course.index(max(course))
    assert peak == round(recipe.warmup * 100)
    assert max(course) == pytest.approx(0.2)
    assert course[: peak + 1] == sorted(course[: peak + 1])
    assert course[peak:] == sorted(course[peak:], reverse=True)
    assert course[0] > 0
    assert course[-1] == pytest.approx(0.002)


def test_a_peer_that_goes_on_keeps_the_last_rate() -> None:
    schedule = schedule_of(LINEAR, 10)
    schedule.move_to(1_000_000)
    assert rates(schedule) == pytest.approx([0.002, 0.002])


@settings(deadline=None, max_examples=30)
@given(total=st.integers(1, 60), before=st.integers(0, 40), to=st.integers(0, 80), after=st.integers(0, 5))
def test_moving_to_a_step_equals_stepping_there(total: int, before: int, to: int, after: int) -> None:
    moved = stepped(schedule_of(LINEAR, total), before)
    moved.move_to(to)
    slow = stepped(schedule_of(LINEAR, total), to)
    assert moved.position == slow.position == to
    assert rates(moved) == rates(slow)
    assert moved.get_last_lr() == slow.get_last_lr()
    assert rates(stepped(moved, after)) == rates(stepped(slow, after))


def test_the_state_of_a_schedule_fits_into_json_and_back() -> None:
    schedule = stepped(schedule_of(COSINE, 40), 13)
    other = schedule_of(COSINE, 40)
    other.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert rates(stepped(other, 1)) == rates(stepped(schedule, 1))


def test_impossible_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="no step -1"):
        schedule_of(LINEAR, 10).move_to(-1)
    with pytest.raises(UsageError, match="at least one step"):
        schedule_of(LINEAR, 0)


def test_a_run_of_one_step_learns_at_the_peak() -> None:
    assert rates(schedule_of(LINEAR, 1)) == pytest.approx([0.2, 0.2])


def test_the_optimizer_takes_a_step_downhill() -> None:
    model = nn.Linear(4, 1)
    optimizer = LINEAR.build_optimizer(model, learning_rate=0.01)
    inputs = torch.ones(8, 4)
    before = model(inputs).square().mean()
    before.backward()
    optimizer.step()
    assert model(inputs).square().mean() < before
