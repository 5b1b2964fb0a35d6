"""Settings: defaults, ranges and messages."""

from __future__ import annotations

import pytest

from gossiptrain.config import GossipSettings, NetworkSettings, checked, layered
from gossiptrain.errors import UsageError
from gossiptrain.training.settings import TrainSettings


def test_defaults_are_those_of_the_classic_form() -> None:
    settings = GossipSettings()
    assert (settings.gossip_group_size, settings.gossip_min_group_size, settings.gossip_alpha) == (16, 2, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gossip_group_size", 1),
        ("gossip_group_size", 65),
        ("gossip_min_group_size", 1),
        ("gossip_min_group_size", 17),
        ("gossip_alpha", 0.09),
        ("gossip_alpha", 1.01),
        ("gossip_alpha", float("nan")),
        ("matchmaking_time", 0.0),
        ("matchmaking_time", float("inf")),
        ("every_steps", 0),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        checked(GossipSettings, **{name: value})


def test_a_minimum_above_the_group_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"gossip_min_group_size \(8\) is larger than gossip_group_size \(4\)"):
        checked(GossipSettings, gossip_group_size=4, gossip_min_group_size=8)


def test_pairs_that_the_minimum_forbids_are_refused() -> None:
    with pytest.raises(UsageError, match=r"exponential makes pairs, which gossip_min_group_size \(3\) forbids"):
        checked(GossipSettings, grouping="exponential", gossip_min_group_size=3)


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(UsageError, match="gossip_groupsize"):
        checked(GossipSettings, gossip_groupsize=4)


def test_none_means_the_default() -> None:
    assert checked(GossipSettings, gossip_alpha=None).gossip_alpha == 1.0


def test_what_averages_after_every_step_has_no_other_pace() -> None:
    with pytest.raises(UsageError, match="sync averages after every step, not every 2 seconds"):
        checked(GossipSettings, strategy="sync", every_seconds=2.0)
    with pytest.raises(UsageError, match="sync averages after every step, not after 5"):
        checked(GossipSettings, strategy="sync", every_steps=5)


def test_the_first_layer_that_gives_a_value_decides() -> None:
    flags, file, before = {"gossip_alpha": 0.3, "seed": None}, {"gossip_alpha": 0.5, "seed": 2}, {"seed": 1}
    settings = layered(GossipSettings, flags, file, {**before, "gossip_group_size": 8})
    assert (settings.gossip_alpha, settings.seed, settings.gossip_group_size) == (0.3, 2, 8)
    assert settings.gossip_min_group_size == 2


def test_an_empty_list_gives_nothing() -> None:
    settings = layered(NetworkSettings, {"host_maddrs": []}, {"host_maddrs": ["/ip4/127.0.0.1/tcp/1"]})
    assert settings.host_maddrs == ("/ip4/127.0.0.1/tcp/1",)


def test_a_flag_that_says_no_is_not_overruled() -> None:
    assert layered(NetworkSettings, {"relay": False}, {"relay": True}).relay is False


def test_of_two_settings_that_replace_each_other_the_one_of_the_higher_layer_stays() -> None:
    gossip = layered(GossipSettings, {"every_seconds": 5.0}, {"every_steps": 100})
    assert (gossip.every_steps, gossip.every_seconds) == (None, 5.0)
    train = layered(TrainSettings, {"task": "digits", "epochs": 3.0}, {"max_steps": 100})
    assert (train.max_steps, train.epochs) == (None, 3.0)
    both = layered(GossipSettings, {"every_seconds": 5.0, "every_steps": 7}, {"every_steps": 100})
    assert (both.every_steps, both.every_seconds) == (7, 5.0)
