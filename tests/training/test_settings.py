"""What the trainer can be told, and in which ranges."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.config import checked
from gossiptrain.errors import UsageError
from gossiptrain.training.settings import TrainSettings


def test_unless_told_otherwise_the_recipe_of_the_task_decides() -> None:
    settings = TrainSettings(task="digits")
    assert (settings.batch, settings.epochs, settings.learning_rate, settings.max_steps) == (None,) * 4
    assert (settings.seed, settings.device, settings.precision, settings.alone) == (0, "auto", "auto", False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch", 0),
        ("batch", 65_537),
        ("epochs", 0.0),
        ("epochs", float("inf")),
        ("epochs", float("nan")),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("max_steps", 0),
        ("max_seconds", 0.0),
        ("max_seconds", 1e9),
        ("seed", -1),
        ("seed", 2**63),
        ("threads", 0),
        ("eval_every", -1),
        ("checkpoint_every", 0.0),
        ("run", ""),
        ("run", "x" * 201),
        ("precision", "fp8"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        checked(TrainSettings, task="digits", **{name: value})


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(UsageError, match="bach"):
        checked(TrainSettings, task="digits", bach=3)


def test_settings_survive_the_way_through_a_file() -> None:
    settings = TrainSettings(
        task="imagenet", variant={"model": "resnet50"}, data_dir=Path("/data"), batch=3, epochs=0.5
    )
    assert checked(TrainSettings, **settings.model_dump(mode="json")) == settings


def test_settings_do_not_change() -> None:
    settings = TrainSettings(task="digits")
    with pytest.raises(ValueError, match="frozen"):
        settings.batch = 3
