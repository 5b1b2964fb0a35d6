"""Tasks by name: what exists, what peers must agree on, and the common promises of all tasks."""

from __future__ import annotations

import pytest
import torch

from gossiptrain.errors import UsageError
from gossiptrain.training.tasks import TASK_NAMES, task_named
from gossiptrain.training.tasks.task import Task, seeded


def any_task(name: str) -> Task:
    """A task that needs no data to be built."""
    return task_named(name, classes=10, class_digest="abcd1234") if name == "imagenet" else task_named(name)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_name_gives_its_task(name: str) -> None:
    task = any_task(name)
    assert task.name == name
    assert task.description.startswith(f"{name}/")


@pytest.mark.parametrize("name", TASK_NAMES)
def test_a_task_is_built_again_from_its_variant(name: str) -> None:
    task = any_task(name)
    again = task_named(task.name, **task.variant)
    assert (again.description, again.variant) == (task.description, task.variant)


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no task 'mnist'[\s\S]*digits, cifar10, imagenet"):
        task_named("mnist")


def test_a_variant_that_a_task_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="cifar10 has no setting image_size"):
        task_named("cifar10", image_size=64)
    with pytest.raises(UsageError, match="imagenet has no setting depth"):
        task_named("imagenet", depth=18)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_a_model_depends_on_its_seed_alone(name: str) -> None:
    task = any_task(name)
    torch.manual_seed(1)
    first = task.build_model(7)
    torch.manual_seed(2)
    second = task.build_model(7)
    other = task.build_model(8)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", TASK_NAMES)
def test_building_a_model_leaves_the_global_random_state_alone(name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    any_task(name).build_model(0)
    assert torch.equal(torch.rand(4), expected)


def test_the_random_state_is_given_back_when_the_body_fails() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(5):
        _ = torch.rand(3) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_recipes_are_complete(name: str) -> None:
    recipe = any_task(name).recipe
    assert recipe.batch >= 1
    assert recipe.epochs > 0
    assert recipe.every_steps >= 1
    assert recipe.learning_rate_for(recipe.batch) == recipe.learning_rate < recipe.learning_rate_for(2 * recipe.batch)
