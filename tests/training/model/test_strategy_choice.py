"""Which strategy the settings mean, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gossiptrain.config import CodecName, GossipSettings, StrategyName
from gossiptrain.core.fragments import LARGEST_ELEMENTS
from gossiptrain.errors import UsageError
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.strategy_choice import Usual, resolved, settled, strategy_for

AVERAGE = Usual(50, "average")


def usual(model: nn.Module) -> StrategyName:
    return Usual.of(ModelBinding(model), every_steps=50).strategy


def test_a_model_that_is_trained_as_a_whole_begins_with_averages_and_grows_into_an_outer_step() -> None:
    assert usual(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))) == "gradual"
    assert usual(nn.Linear(3, 2).double()) == "gradual"


def test_plain_averaging_is_for_models_of_which_a_part_is_frozen() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert usual(model) == "average"


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_plain_averaging_is_for_models_in_half_precision(precision: torch.dtype) -> None:
    assert usual(nn.Linear(3, 2).to(precision)) == "average"


def test_plain_averaging_is_for_models_that_travel_in_fragments() -> None:
    with torch.device("meta"):
        model = nn.Embedding(LARGEST_ELEMENTS + 1, 1)
    assert usual(model.to_empty(device="cpu")) == "average"


@pytest.mark.parametrize("name", ["average", "gradual", "step-mix", "diloco", "noloco", "sync"])
def test_each_strategy_is_found_by_its_name(name: StrategyName) -> None:
    assert strategy_for(GossipSettings(strategy=name)).name == name


def test_noloco_refuses_settings_with_which_peers_drift_apart() -> None:
    pairs = GossipSettings(strategy="noloco", gossip_group_size=2, outer_momentum=0.9)
    with pytest.raises(UsageError, match="drift apart"):
        strategy_for(pairs)
    assert strategy_for(pairs.model_copy(update={"outer_momentum": 0.5})).name == "noloco"


def test_an_outer_step_cannot_be_set_where_there_is_none() -> None:
    with pytest.raises(UsageError, match="no outer step"):
        strategy_for(GossipSettings(outer_momentum=0.5))


@pytest.mark.parametrize("name", ["diloco", "sync"])
def test_what_needs_everyone_meets_everyone(name: StrategyName) -> None:
    settings = GossipSettings(strategy=name)
    assert resolved(settings, AVERAGE)[0].grouping == "all"


def test_what_needs_everyone_refuses_other_groups() -> None:
    settings = GossipSettings(strategy="diloco", grouping="random")
    with pytest.raises(UsageError, match="all peers in one group"):
        resolved(settings, AVERAGE)


def test_other_strategies_meet_whom_they_are_told_to() -> None:
    settings = GossipSettings(strategy="step-mix", grouping="grid", every_steps=10, codec="int8")
    assert resolved(settings, AVERAGE)[0] == settings


def codec(model: nn.Module, **settings: Any) -> CodecName | None:
    return settled(GossipSettings(**settings), Usual.of(ModelBinding(model), every_steps=50)).codec


def test_the_parameters_of_a_model_in_half_precision_travel_in_it() -> None:
    halves = nn.Linear(3, 2).to(torch.bfloat16)
    assert codec(halves) == "bf16"
    assert codec(nn.Linear(3, 2).half(), strategy="sync") == "fp16"
    assert codec(halves, codec="int8") == "int8"
    assert codec(nn.Sequential(halves, nn.Linear(2, 2))) == "fp32"
    assert codec(nn.Linear(3, 2)) == "fp32"


@pytest.mark.parametrize("name", ["gradual", "step-mix", "diloco", "noloco"])
def test_what_an_outer_step_keeps_beside_a_model_in_half_precision_travels_in_full(name: StrategyName) -> None:
    assert codec(nn.Linear(3, 2).to(torch.bfloat16), strategy=name) == "fp32"


def test_strategy_and_pace_are_the_usual_ones_where_none_is_set() -> None:
    found = settled(GossipSettings(), Usual(25, "step-mix"))
    assert (found.strategy, found.every_steps, found.every_seconds) == ("step-mix", 25, None)
    chosen = settled(GossipSettings(strategy="average", every_seconds=2.0), Usual(25, "step-mix"))
    assert (chosen.strategy, chosen.every_steps, chosen.every_seconds) == ("average", None, 2.0)
    assert settled(GossipSettings(strategy="sync"), AVERAGE).every_steps == 1
    assert settled(GossipSettings(), Usual(25, "sync")).every_steps == 1
