"""Each benchmark measures what it says, in a small run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch

from benchmarks import alone, formation
from gossiptrain.training.tasks import task_named


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_real_peers_form_groups_of_all_round_after_round() -> None:
    found = asyncio.run(formation.measure(3, rounds=4, preset="local"))
    assert (found.peers, found.rounds, found.whole_rounds) == (3, 4, 4)
    assert found.formation_s.samples == 3 * 4
    assert 0 <= found.formation_s.minimum <= found.formation_s.median <= found.formation_s.maximum < 5


def test_a_loop_is_timed_with_and_without_gossip() -> None:
    found = alone.measure("digits", seconds=0.2, repetitions=1, data_dir=None)
    assert found.steps_per_s_plain > 0
    assert found.steps_per_s_gossip > 0
    assert found.kept.samples == 1
    assert found.kept.median == pytest.approx(found.steps_per_s_gossip / found.steps_per_s_plain, rel=1e-3)


def test_without_a_folder_of_images_random_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOSSIPTRAIN_DATA", raising=False)
    task = task_named("cifar10")
    batches, data = alone.open_batches(task, None)
    batch = batches.next()
    assert data == "random"
    assert batch.inputs.shape == (task.recipe.batch, 3, 32, 32)
