"""What a joiner takes over from its swarm, and what it is told of where it was told otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from gossiptrain.cli.recipe import Learnt, Told, check_known
from gossiptrain.config import GossipSettings, NetworkSettings, Settings, layered
from gossiptrain.errors import GossipError, RunMismatchError
from gossiptrain.swarm.recipe_messages import Recipe, Value
from gossiptrain.training.settings import TrainSettings

SETTINGS: dict[str, Value] = {
    "train.batch": 8,
    "train.learning_rate": 0.002,
    "train.epochs": 3.0,
    "gossip.strategy": "step-mix",
    "gossip.every_steps": 25,
    "gossip.codec": "int8",
    "gossip.gossip_group_size": 16,
    "gossip.seed": 0,
    "network.preset": "wan",
}


def learnt(**changes: Any) -> Learnt:
    fields = {"task": "text", "variant": {"model": "tiny"}, "settings": SETTINGS}
    return Learnt("mine", Recipe(**{**fields, **changes}), "12345678", None)


def told(
    *, task: str | None = None, run: str | None = None, variant: dict[str, Any] | None = None, **tables: Any
) -> Told:
    return Told(task, run, variant or {}, {"train": {}, "gossip": {}, "network": {}, **tables})


def settled(what: Learnt, by_user: Told) -> dict[str, Settings]:
    kinds: dict[str, type[Settings]] = {"train": TrainSettings, "gossip": GossipSettings, "network": NetworkSettings}
    own = {**by_user.settings, "train": {"task": what.task, **by_user.settings["train"]}}
    return {table: layered(kind, own[table], what.layer(table, by_user)) for table, kind in kinds.items()}


def said(what: Learnt, by_user: Told) -> list[str]:
    return [notice.message for notice in what.notices(by_user, settled(what, by_user))]


def test_who_was_told_nothing_takes_over_all_and_hears_what_is_not_usual_everywhere() -> None:
    what, nothing = learnt(), told()
    what.check(nothing)
    holds = settled(what, nothing)
    assert {name: getattr(holds[name.partition(".")[0]], name.partition(".")[2]) for name in SETTINGS} == SETTINGS
    assert said(what, nothing) == [
        "taken over from the swarm (peer 12345678): text --model tiny --preset wan --strategy step-mix --codec int8 "
        "--every-steps 25 --batch 8 --epochs 3 --lr 0.002"
    ]


def test_what_the_user_has_said_goes_before_and_a_difference_that_may_be_is_named() -> None:
    by_user = told(task="text", variant={"model": "tiny"}, train={"learning_rate": 0.5}, gossip={"every_steps": 25})
    messages = said(learnt(), by_user)
    assert "--lr" not in messages[0]
    assert "--model" not in messages[0]
    assert messages[1].startswith(
        "this peer was told to train otherwise than the swarm: --lr is 0.5 here and 0.002 there."
    )
    assert settled(learnt(), by_user)["train"].model_dump()["learning_rate"] == 0.5


def test_what_must_be_the_same_is_refused_field_by_field() -> None:
    by_user = told(task="digits", run="other", variant={"model": "small"}, gossip={"strategy": "diloco", "seed": 4})
    with pytest.raises(RunMismatchError) as refused:
        learnt().check(by_user)
    for part in (
        "the task is digits here and text there",
        "--run is other here and mine there",
        "--model is small here and tiny there",
        "--strategy is diloco here and step-mix there",
        "--group-seed is 4 here and 0 there",
    ):
        assert part in str(refused.value)


def test_settings_that_take_each_others_place_leave_no_room_for_those_of_the_swarm() -> None:
    assert settled(learnt(), told(train={"max_steps": 10}))["train"].model_dump()["epochs"] is None
    assert settled(learnt(), told(gossip={"every_seconds": 2.0}))["gossip"].model_dump()["every_steps"] is None


@pytest.mark.parametrize(("batch", "rate"), [(8, 0.002), (64, None)])
def test_the_learning_rate_of_the_swarm_is_that_of_its_batch(batch: int, rate: float | None) -> None:
    assert settled(learnt(), told(train={"batch": batch}))["train"].model_dump()["learning_rate"] == rate


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "chess"}, "the task 'chess'"),
        ({"settings": {"train.data_dir": "/etc"}}, "the setting train.data_dir"),
        ({"settings": {"network.host_maddrs": "/ip4/0.0.0.0/tcp/1"}}, "the setting network.host_maddrs"),
        ({"variant": {"classes": 7}}, "the setting classes"),
    ],
)
def test_nothing_but_the_recipe_is_believed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(GossipError, match=words):
        check_known(learnt(**changes).recipe)
