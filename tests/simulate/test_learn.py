"""Whole runs of the laboratory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gossiptrain.errors import UsageError
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.resolving import resolved, speeds_of
from gossiptrain.simulate.results import LearnResult, Record


def digits(**given: Any) -> LearnSettings:
    standard = {"task": "digits", "peers": 4, "steps": 120, "every_steps": 20, "batch": 16, "group_size": 2}
    return LearnSettings(**{**standard, **given})


def figures(result: LearnResult) -> dict[str, Any]:
    """Everything but how long it took."""
    return {name: value for name, value in result.as_json().items() if not name.endswith("seconds")}


def test_peers_that_meet_learn_more_than_loners() -> None:
    together, alone = (run(digits(strategy=name, steps=300)) for name in ("average", "alone"))
    assert together.mean_peer.loss < 0.8 * alone.mean_peer.loss
    assert together.merged.accuracy > 0.9
    assert together.disagreement < 0.2 * alone.disagreement
    assert alone.bytes_per_peer == alone.rounds == 0


def test_sync_is_one_model_with_all_batches() -> None:
    sync, central = (run(digits(strategy=name, steps=40)) for name in ("sync", "central"))
    assert sync.merged.loss == pytest.approx(central.merged.loss, rel=1e-3)
    assert sync.rounds == 40
    assert sync.bytes_per_peer == central.bytes_per_peer == 1.5 * 4 * 17_226 * 40
    assert len(central.peers) == 1
    assert sync.inner_steps == central.inner_steps == 160


@pytest.mark.parametrize("strategy", ["average", "gradual", "step-mix", "diloco", "noloco"])
def test_the_same_settings_give_the_same_result(strategy: Any) -> None:
    settings = digits(strategy=strategy, codec="int8", absent=0.3, speeds=2.0, delay=3, non_iid=0.5, steps=60)
    first, again = run(settings), run(settings)
    assert figures(first) == figures(again)
    other = run(settings.model_copy(update={"seed": 1}))
    assert figures(first) != figures(other)


def test_every_round_is_recorded_with_the_contraction_it_had() -> None:
    told: list[Record] = []
    result = run(digits(strategy="average", grouping="random"), on_record=told.append)
    assert tuple(told) == result.records
    assert [record.step for record in told] == [20, 40, 60, 80, 100, 120]
    assert result.rounds == 6
    assert all(record.expected_contraction == pytest.approx(1 / 3) for record in told)
    assert all(record.contraction is not None and 0 < record.contraction < 1 for record in told)
    sent = [record.bytes_per_peer for record in told]
    assert sent == [(number + 1) * 4 * 17_226 for number in range(6)]
    assert told[0].training_loss > told[-1].training_loss


@pytest.mark.parametrize(("delay", "steps"), [(5, [25, 45, 65, 85, 100]), (18, [38, 62, 86, 100])])
def test_late_averages_leave_rounds_as_far_apart_as_they_are_or_a_third_longer_than_they_take(
    delay: int, steps: list[int]
) -> None:
    result = run(digits(strategy="average", delay=delay, steps=100))
    assert [record.step for record in result.records] == steps


def test_the_merged_model_is_looked_at_as_often_as_asked() -> None:
    result = run(digits(strategy="average", evaluate_every=40))
    assert [record.step for record in result.records if record.merged is not None] == [40, 80, 120]
    never = run(digits(strategy="average", evaluate_every=0, steps=40))
    assert not any(record.merged for record in never.records)
    assert math.isfinite(never.merged.loss)


def test_peers_are_looked_at_before_their_round_where_asked() -> None:
    result = run(digits(strategy="average", group_size=4, evaluate_every=40, evaluate_peers=True))
    before = {record.step: record.mean_peer for record in result.records if record.mean_peer is not None}
    merged = {record.step: record.merged for record in result.records if record.merged is not None}
    assert list(before) == list(merged) == [40, 80, 120]
    # Each has learnt from a quarter of the data since the round before, and not yet from the others.
    assert all(own.loss > merged[step].loss for step, own in before.items())
    assert not any(record.mean_peer for record in run(digits(strategy="average", steps=40)).records)


def test_the_merged_model_is_the_mean_of_all_peers() -> None:
    # All in one group, and a last round at the very end: nothing is left to merge.
    result = run(digits(strategy="average", group_size=4))
    assert result.disagreement < 1e-6
    assert all(peer.loss == pytest.approx(result.merged.loss, rel=1e-5) for peer in result.peers)


def test_the_worst_peer_is_the_one_with_the_largest_loss() -> None:
    result = run(digits(strategy="alone", steps=40))
    assert result.worst_peer.loss == max(peer.loss for peer in result.peers) > result.mean_peer.loss


def test_a_run_that_diverges_says_so_and_stays_fit_for_json() -> None:
    result = run(digits(strategy="average", learning_rate=1000.0, steps=40))
    assert result.diverged
    content = result.as_json()
    assert content["merged"]["loss"] is None
    assert content["diverged"] is True
    json.dumps(content, allow_nan=False)


def test_a_text_is_learnt_too(text_folder: Path) -> None:
    settings = LearnSettings(
        task="text",
        variant={"model": "tiny"},
        peers=2,
        steps=6,
        every_steps=3,
        batch=2,
        data_dir=text_folder,
        non_iid=1.0,
    )
    result = run(settings)
    assert result.rounds == 2
    assert result.merged.loss < math.log(256)
    assert result.parameters == 119_424


def test_there_must_be_time_for_a_round() -> None:
    with pytest.raises(UsageError, match="The first round would be after 50 steps, and the run ends after 40"):
        run(digits(steps=40, every_steps=50))
    assert run(digits(strategy="alone", steps=40, every_steps=50)).rounds == 0


def test_a_learning_rate_stays_where_it_is_wanted_so() -> None:
    task, _ = resolved(digits())
    constant, _ = resolved(digits(constant_rate=True))
    rates: dict[str, list[float]] = {}
    for name, recipe in (("falls", task.recipe), ("stays", constant.recipe)):
        optimizer = recipe.build_optimizer(torch.nn.Linear(2, 2), learning_rate=0.1)
        schedule = recipe.build_schedule(optimizer, total_steps=100)
        rates[name] = []
        for step in (0, 50, 99):
            schedule.move_to(step)
            rates[name].append(optimizer.param_groups[0]["lr"])
    assert rates["stays"] == [0.1, 0.1, 0.1]
    assert rates["falls"][0] < rates["falls"][1] > rates["falls"][2]
    assert type(task).recipe.final < 1, "and no other run is changed by it"


def test_settings_are_checked_without_a_run() -> None:
    resolved(digits())
    resolved(digits(strategy="alone"))
    with pytest.raises(UsageError, match="drift apart"):
        resolved(digits(strategy="noloco", outer_momentum=0.9, outer_learning_rate=1.0))
    with pytest.raises(UsageError, match="The first round would be"):
        resolved(digits(every_steps=1000))


def test_tasks_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="There is no task 'numbers'"):
        run(digits(task="numbers"))


def test_threads_are_left_as_they_were() -> None:
    torch.set_num_threads(2)
    run(digits(steps=20))
    assert torch.get_num_threads() == 2


def test_speeds_have_the_spread_that_was_asked_for_and_mean_one() -> None:
    speeds = speeds_of(10, 4.0, seed=0)
    assert max(speeds) / min(speeds) == pytest.approx(4.0)
    assert sum(speeds) == pytest.approx(10.0)
    assert speeds != sorted(speeds)
    assert speeds_of(3, 1.0, seed=0) == [1.0] * 3


def test_with_some_peers_away_step_mix_learns_nearly_as_much() -> None:
    given = digits(strategy="step-mix", peers=8, group_size=4, steps=600)
    everyone, some = (run(given.model_copy(update={"absent": share})) for share in (0.0, 0.3))
    assert some.merged.loss < 1.3 * everyone.merged.loss
