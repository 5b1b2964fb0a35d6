"""Two runs are compared field by field, and the difference is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.core.fingerprint import CommonSettings, RunFingerprint, TensorSpec, model_digest

RUN = RunFingerprint(protocol=1, run="digits", task="digits/mlp", model="ab" * 32, elements=100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": 2}, "protocol version differs: 1 here, 2 there"),
        ({"run": "other"}, "run differs: 'digits' here, 'other' there"),
        ({"task": "cifar10"}, "task differs: 'digits/mlp' here, 'cifar10' there"),
        ({"elements": 1234}, "model differs: 100 averaged values here, 1,234 there"),
        ({"model": "cd" * 32}, "model differs: as many values"),
    ],
)
def test_a_field_that_differs_is_named(change: dict[str, object], words: str) -> None:
    other = replace(RUN, **change)  # type: ignore[arg-type]
    assert words in str(RUN.difference(other))
    assert RUN.key != other.key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gossip_min_group_size": 3}, "setting gossip_min_group_size differs: 2 here, 3 there"),
        ({"grouping": "grid"}, "setting grouping differs: auto here, grid there"),
        ({"seed": 7}, "setting seed differs: 0 here, 7 there"),
    ],
)
def test_a_setting_that_has_to_be_equal_is_named_and_the_run_is_the_same(change: dict[str, Any], words: str) -> None:
    other = replace(RUN, common=replace(RUN.common, **change))
    assert words in str(RUN.difference(other))
    assert RUN.key == other.key, "both find each other, and are told what differs"


def test_all_fields_that_differ_are_named() -> None:
    other = replace(RUN, run="other", elements=5, model="cd" * 32, common=replace(RUN.common, seed=7, grouping="grid"))
    parts = str(RUN.difference(other)).split("; ")
    assert [part.partition(" differs")[0] for part in parts] == [
        "the run",
        "the model",
        "the setting grouping",
        "the setting seed",
    ]


def test_of_another_protocol_version_nothing_else_is_compared() -> None:
    assert str(RUN.difference(replace(RUN, protocol=2, run="other"))).count("differs") == 1


def test_what_everybody_may_set_for_itself_is_not_compared() -> None:
    mine, theirs = GossipSettings(), GossipSettings(gossip_group_size=4, codec="int8", gossip_alpha=0.5, every_steps=7)
    assert CommonSettings.of(mine) == CommonSettings.of(theirs)


def test_equal_runs_do_not_differ() -> None:
    assert RUN.difference(replace(RUN)) is None
    assert RUN.key == replace(RUN).key


def test_the_digest_sees_names_shapes_types_order_and_frozen_values() -> None:
    weight, bias = TensorSpec("weight", (2, 3), "float32"), TensorSpec("bias", (2,), "float32")
    digests = {
        model_digest([weight, bias]),
        model_digest([bias, weight]),
        model_digest([replace(weight, name="w"), bias]),
        model_digest([replace(weight, shape=(3, 2)), bias]),
        model_digest([replace(weight, dtype="bfloat16"), bias]),
        model_digest([weight], [(bias, b"\0" * 32)]),
        model_digest([weight], [(bias, b"\1" * 32)]),
    }
    assert len(digests) == 7
