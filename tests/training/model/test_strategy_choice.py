"""Which strategy the settings mean, and what is refused."""

from __future__ import annotations

import pytest

from gossiptrain.config import GossipSettings, StrategyName
from gossiptrain.errors import UsageError
from gossiptrain.training.model.strategy_choice import resolved, settled, strategy_for


@pytest.mark.parametrize("name", ["average", "step-mix", "diloco", "noloco", "sync"])
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
    assert resolved(settings, every_steps=50)[0].grouping == "all"


def test_what_needs_everyone_refuses_other_groups() -> None:
    settings = GossipSettings(strategy="diloco", grouping="random")
    with pytest.raises(UsageError, match="all peers in one group"):
        resolved(settings, every_steps=50)


def test_other_strategies_meet_whom_they_are_told_to() -> None:
    settings = GossipSettings(strategy="step-mix", grouping="grid", every_steps=10)
    assert resolved(settings, every_steps=50)[0] == settings


def test_strategy_and_pace_are_the_usual_ones_where_none_is_set() -> None:
    usual = settled(GossipSettings(), every_steps=25, strategy="step-mix")
    assert (usual.strategy, usual.every_steps, usual.every_seconds) == ("step-mix", 25, None)
    assert settled(GossipSettings(), every_steps=50).strategy == "average"
    chosen = settled(GossipSettings(strategy="average", every_seconds=2.0), every_steps=25, strategy="step-mix")
    assert (chosen.strategy, chosen.every_steps, chosen.every_seconds) == ("average", None, 2.0)
    assert settled(GossipSettings(strategy="sync"), every_steps=25).every_steps == 1
    assert settled(GossipSettings(), every_steps=25, strategy="sync").every_steps == 1
