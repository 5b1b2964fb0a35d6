"""What the laboratory can be told, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from gossiptrain.config import checked
from gossiptrain.errors import UsageError
from gossiptrain.simulate.learn_settings import LearnSettings


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"peers": 1}, "peers takes a whole number from 2 to 256, not 1"),
        ({"peers": 257}, "peers takes a whole number from 2 to 256, not 257"),
        ({"strategy": "magic"}, "strategy takes "),
        ({"strategy": "diloco", "peers": 65}, "diloco all peers meet in one group, which holds at most 64"),
        ({"strategy": "sync", "peers": 65}, "sync all peers meet in one group"),
        ({"strategy": "sync", "delay": 3}, "in sync no average comes late"),
        ({"strategy": "alone", "outer_momentum": 0.9}, "alone has no outer step, and so no outer_momentum"),
        ({"strategy": "average", "outer_learning_rate": 0.7}, "average has no outer step"),
        ({"strategy": "central", "speeds": 2.0}, "in central there is one model"),
        ({"absent": 1.0}, "absent takes "),
        ({"non_iid": 0.0}, "non_iid takes "),
        ({"speeds": 0.5}, "speeds takes "),
        ({"codec": "int2"}, "codec takes "),
        ({"steps": 0}, "steps takes "),
        ({"colour": "red"}, "colour is not a setting"),
    ],
)
def test_nonsense_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        checked(LearnSettings, task="digits", **given)


def test_real_peers_would_get_the_same_settings() -> None:
    settings = LearnSettings(
        task="digits",
        strategy="step-mix",
        group_size=4,
        grouping="random",
        codec="int8",
        alpha=0.5,
        outer_learning_rate=0.6,
        outer_momentum=0.8,
        seed=5,
    ).gossip()
    assert (settings.strategy, settings.gossip_group_size, settings.grouping) == ("step-mix", 4, "random")
    assert (settings.codec, settings.gossip_alpha, settings.seed) == ("int8", 0.5, 5)
    assert (settings.outer_learning_rate, settings.outer_momentum) == (0.6, 0.8)


@pytest.mark.parametrize("strategy", ["diloco", "sync"])
def test_strategies_in_which_all_meet_have_one_group_whatever_the_grouping_is(strategy: Any) -> None:
    settings = LearnSettings(task="digits", strategy=strategy, grouping="random", group_size=2)
    assert settings.gossip().grouping == "all"
