"""What is said of a setting that cannot be what it was given: what it may be, in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from gossiptrain.config import GossipSettings, NetworkSettings, Settings, checked, layered
from gossiptrain.errors import UsageError
from gossiptrain.training.settings import TrainSettings
from gossiptrain.wrong_values import did_you_mean, one_of

JARGON = ("Input should", "valid", "permitted", "type=", "pydantic", "parse", "Extra", "None")


@pytest.mark.parametrize(
    ("kind", "field", "value", "said"),
    [
        (GossipSettings, "gossip_group_size", 65, "takes a whole number from 2 to 64, not 65."),
        (GossipSettings, "gossip_group_size", "many", "takes a whole number from 2 to 64, not 'many'."),
        (GossipSettings, "gossip_group_size", 2.5, "takes a whole number from 2 to 64, not 2.5."),
        (GossipSettings, "gossip_alpha", 2.0, "takes a number from 0.1 to 1, not 2.0."),
        (GossipSettings, "gossip_alpha", [], "takes a number from 0.1 to 1, not []."),
        (GossipSettings, "every_steps", 0, "takes a whole number from 1 on, not 0."),
        (GossipSettings, "outer_momentum", 1.0, "takes a number from 0 on and below 1, not 1.0."),
        (GossipSettings, "outer_learning_rate", 0.0, "takes a number above 0 and up to 2, not 0.0."),
        (GossipSettings, "matchmaking_time", float("inf"), "takes a number above 0 and up to 86,400, not inf."),
        (GossipSettings, "seed", 2**63, f"takes a whole number from 0 on and below {2**63:,}, not {2**63}."),
        (GossipSettings, "seed", -1, "takes a whole number from 0 on, not -1."),
        (
            GossipSettings,
            "codec",
            "int9",
            "takes one of fp32, fp16, bf16, int8, int4, not 'int9'. Did you mean 'int8'?",
        ),
        (NetworkSettings, "preset", "moon", "takes one of local, lan, wan, not 'moon'."),
        (NetworkSettings, "open", "perhaps", "takes true or false, not 'perhaps'."),
        (NetworkSettings, "host_maddrs", 7, "takes a list, not 7."),
        (NetworkSettings, "identity_path", 7, "takes text, not 7."),
        (TrainSettings, "run", "", "takes text of 1 to 200 characters, not ''."),
        (TrainSettings, "run", "x" * 300, "takes text of 1 to 200 characters, not 'xxx"),
        (TrainSettings, "variant", "tiny", "takes a table, not 'tiny'."),
        (TrainSettings, "variant", {"model": [1]}, "takes a table, not [1]."),
        (TrainSettings, "data_dir", 3, "takes text, not 3."),
        (TrainSettings, "max_steps", 2**41, f"takes a whole number from 1 to {2**40:,}, not {2**41}."),
        (TrainSettings, "epohcs", 3, "epohcs is not a setting. Did you mean 'epochs'?"),
        (TrainSettings, "colour", 3, "colour is not a setting."),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    kind: type[Settings], field: str, value: object, said: str
) -> None:
    task: dict[str, Any] = {"task": "digits"} if kind is TrainSettings else {}
    with pytest.raises(UsageError) as caught:
        checked(kind, **task, **{field: value})
    assert said in caught.value.what
    assert caught.value.what.startswith(field)
    assert not [word for word in JARGON if word in str(caught.value)]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match=r"^task is missing\."):
        checked(TrainSettings)


def test_several_mistakes_are_sentences_of_one_message() -> None:
    with pytest.raises(UsageError) as caught:
        checked(GossipSettings, gossip_alpha=7, codec="int9")
    first, second = caught.value.what.split(". c")
    assert first == "gossip_alpha takes a number from 0.1 to 1, not 7"
    assert second.startswith("odec takes one of")


def test_a_setting_is_called_as_the_user_knows_it() -> None:
    called = {"gossip_alpha": "--gossip-alpha"}
    with pytest.raises(UsageError, match=r"^--gossip-alpha takes a number") as caught:
        layered(GossipSettings, {"gossip_alpha": 7}, {"seed": 3}, called=called, remedy="See --help.")
    assert caught.value.remedy == "See --help."


def test_whoever_calls_it_from_python_is_not_sent_to_the_command_line() -> None:
    with pytest.raises(UsageError) as caught:
        checked(GossipSettings, every_steps=0)
    assert caught.value.remedy == "The settings and their ranges: help(gossiptrain.config.GossipSettings)."


@pytest.mark.parametrize(
    ("word", "meant"), [("cifar", "cifar10"), ("TEXT", "text"), ("imagnet", "imagenet"), ("digit", "digits")]
)
def test_the_nearest_word_is_found(word: str, meant: str) -> None:
    assert did_you_mean(word, ("digits", "cifar10", "imagenet", "text")) == f"Did you mean {meant!r}?"


def test_where_no_word_is_near_all_are_named_and_none_is_guessed() -> None:
    assert did_you_mean("mnist-of-fashion", ("digits", "text")) == ""
    assert one_of("mnist-of-fashion", ("digits", "text")) == "There are: digits, text."
