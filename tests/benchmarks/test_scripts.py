"""Each benchmark measures what it says, in a small run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import alone, codecs, formation
from gossiptrain.training.tasks import task_named

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_real_peers_form_groups_of_all_round_after_round() -> None:
    found = asyncio.run(formation.measure(3, rounds=4, preset="local"))
    assert (found.peers, found.rounds, found.whole_rounds, found.without_group) == (3, 4, 4, 0)
    assert found.formation_s.samples == 3 * 4
    assert 0 <= found.formation_s.minimum <= found.formation_s.median <= found.formation_s.maximum < 5


def test_a_smaller_format_is_timed_and_its_error_told() -> None:
    found = {
        name: codecs.measure(name, elements=4096, repetitions=2, calls=2) for name in ("fp32", "fp16", "bf16", "int8")
    }
    assert [int(own.bytes_per_value) for own in found.values()] == [4, 2, 2, 1]
    assert all(own.encode_gb_per_s.minimum > 0 and own.decode_gb_per_s.minimum > 0 for own in found.values())
    assert found["fp32"].error == 0
    assert 0 < found["fp16"].error < 0.005
    assert 0 < found["int8"].error < 0.005, "a share of what the two differ by"
    assert found["int8"].in_groups.disagreement < 1e-4


def test_a_round_of_two_processes_is_timed_beside_its_floor(tmp_path: Path) -> None:
    # A size at which the parts of two peers are worth a direct lane.
    arguments = ["--sizes=3", "--peers=2", "--repetitions=1", "--systems", "tls", "gossiptrain-direct-fp32", "--json"]
    command = [sys.executable, "-m", "benchmarks.round", *arguments, str(tmp_path / "round.json")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "3 MB among 2 peers" in done.stdout
    floor, own = json.loads((tmp_path / "round.json").read_text())["results"]
    assert (floor["system"], floor["transfer_to_tls"], floor["formation_s"]["maximum"]) == ("tls", 1.0, 0.0)
    assert (own["system"], own["incomplete"], len(own["samples"])) == ("gossiptrain-direct-fp32", [], 1)
    assert own["whole_to_hivemind"] is None
    assert own["transfer_to_tls"] == pytest.approx(own["transfer_s"]["median"] / floor["transfer_s"]["median"])
    assert 0 < own["transfer_s"]["median"] <= own["whole_s"]["median"] < 60


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
