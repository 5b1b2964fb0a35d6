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
from benchmarks.links import expect
from benchmarks.strategies import COURSES

from benchmarks import alone, codecs, error_feedback, formation, interruptions, large_model, state_transfer
from gossiptrain.training.tasks import task_named

REPOSITORY = Path(__file__).parents[2]
LONGEST_S = 280
"""Only a broken script ever runs so long, on however loaded a machine."""
pytestmark = pytest.mark.timeout(LONGEST_S + 20)


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


def test_what_an_interrupted_peer_costs_is_measured_at_all_instants_of_a_round() -> None:
    spread = interruptions.Spread(every_s=0.012, random_ones=1, runs=2)
    found = interruptions.measure("leader", "freeze", links="usual", round_name="later", spread=spread)
    assert found.cost_s.samples >= 6
    assert 0 < found.cost_s.median <= found.cost_s.maximum <= 3


@pytest.mark.long
def test_the_parameters_for_a_joiner_are_timed_from_one_donor_and_from_two() -> None:
    found = state_transfer.measure(2, megabytes=2, repetitions=1, every_seconds=2.0)
    assert [(one.donors, one.asked) for one in found] == [(2, 1), (2, 2)]
    assert all(1 <= one.given_by <= one.asked for one in found)
    assert all(0 < one.transfer_s.median < 60 for one in found)


@pytest.mark.long
def test_a_large_model_is_joined_and_averaged_by_fragments_and_ends_as_one() -> None:
    found = large_model.measure(large_model.Job(8_000_000, fragments=2, every_s=1.0), rounds=3)
    assert len({each.digest for each in found}) == 1
    donor, joiner = found
    assert donor.joined_s is None
    assert joiner.joined_s is not None
    for each in found:
        assert each.rounds >= 3
        assert each.round_mb == pytest.approx(16, rel=0.01), "half of the model"
        assert 0 < each.longest_wait_s < 60
        assert each.beyond_bytes > 3 * 4 * 4_000_000, "snapshot, average and state of one fragment at least"


def test_what_a_line_carries_is_what_a_member_sends_by_its_uplink() -> None:
    line = expect.Line(mbit=8.0, megabytes=100.0, members=4)
    assert line.sent_mb("fp32") == 150.0
    assert line.round_s("fp32") == pytest.approx(150 * (1 + expect.OVERHEAD))
    assert line.round_s("int4") < line.round_s("int8") < line.round_s("fp32") / 3.9
    assert line.sent_gb_a_day("fp32", every_s=86_400.0) == pytest.approx(0.15)
    assert line.sent_gb_a_day("fp32", every_s=1.0) == pytest.approx(3 / 4 * 86.4 / (1 + expect.OVERHEAD))


def test_the_steps_of_a_donor_during_a_transfer_are_compared_with_those_before() -> None:
    usual = [0.01 * number for number in range(200)]
    slower = [2.0 + 0.02 * number for number in range(100)]
    one = state_transfer.Transfer(asked=1, given_by=1, began_s=2.0, ended_s=4.0)
    row = state_transfer.row(100, [usual + slower], [one])
    assert row.kept is not None
    assert row.kept.median == pytest.approx(0.5, rel=0.02)
    assert row.step_s == pytest.approx(0.02)
    assert row.quiet_step_s == pytest.approx(0.01)


def test_a_smaller_format_is_timed_and_its_error_told() -> None:
    found = {
        name: codecs.measure(name, elements=4096, repetitions=2, calls=2)
        for name in ("fp32", "fp16", "bf16", "int8", "int4")
    }
    assert [int(2 * own.bytes_per_value) for own in found.values()] == [8, 4, 4, 2, 1]
    assert all(own.encode_gb_per_s.minimum > 0 and own.decode_gb_per_s.minimum > 0 for own in found.values())
    assert found["fp32"].error == 0
    assert 0 < found["fp16"].error < 0.005
    assert 0 < found["int8"].error < 0.005, "a share of what the two differ by"
    assert 0 < found["int4"].error < 0.01
    assert found["int8"].in_groups.disagreement < 1e-4
    assert found["int4"].in_groups.disagreement < 1e-4


def test_a_round_of_two_processes_is_timed_beside_its_floor(tmp_path: Path) -> None:
    # A size at which the parts of two peers are worth a direct connection.
    arguments = ["--sizes=3", "--peers=2", "--repetitions=1", "--systems", "tls", "gossiptrain-direct-fp32", "--json"]
    command = [sys.executable, "-m", "benchmarks.round", *arguments, str(tmp_path / "round.json")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LONGEST_S)
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


@pytest.mark.long
def test_a_swarm_is_shown_beside_one_peer_with_its_time_and_one_with_its_samples(tmp_path: Path) -> None:
    report = tmp_path / "end.json"
    arguments = ["digits", "--peers=2", "--steps=1000", "--every-steps=50", "--seeds=1", "--json", str(report)]
    command = [sys.executable, "-m", "benchmarks.end_to_end", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 0, done.stderr
    together, time_alone, samples_alone = json.loads(report.read_text())["results"]
    assert (together["steps"], time_alone["steps"], samples_alone["steps"]) == (1000, 1000, 2000)
    assert together["rounds"] > 1
    assert time_alone["rounds"] == samples_alone["rounds"] == 0
    assert all(0.5 < own["accuracy"] <= 1 for own in (together, time_alone, samples_alone))
    assert "one peer, the same samples" in done.stdout


@pytest.mark.long
def test_strategies_are_compared_with_a_learning_rate_for_each(tmp_path: Path) -> None:
    report = tmp_path / "strategies.json"
    arguments = ["digits", "--steps=40", "--every=4", "--seeds=2", "--peers=4", "--json", str(report)]
    command = [sys.executable, "-m", "benchmarks.strategies", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 0, done.stderr
    lines = {line["name"]: line for line in json.loads(report.read_text())["results"]}
    assert set(lines) == set(COURSES)
    assert all(len(line["losses"]) == 2 and line["learning_rate"] > 0 for line in lines.values())
    plain, often = lines["step-mix, groups of 4"], lines["step-mix, groups of 4, int8, twice as often"]
    assert 0.5 < often["megabytes_per_peer"] / plain["megabytes_per_peer"] < 0.55
    assert "to diloco" in done.stdout


def test_int4_is_shown_beside_peers_that_keep_what_rounding_takes() -> None:
    given = error_feedback.arguments().parse_args(["digits", "--steps=240", "--seeds=1"])
    plain, int4, remembering = error_feedback.lines_of("diloco", given)
    assert plain.loss_to_fp32 == (0.0,)
    assert len({plain.losses, int4.losses, remembering.losses}) == 3
    assert max(*int4.loss_to_fp32, *remembering.loss_to_fp32) < 0.3
    assert int4.megabytes_per_peer < plain.megabytes_per_peer / 4


@pytest.mark.long
def test_what_it_costs_to_be_one_of_many_peers_is_measured_on_real_ones(tmp_path: Path) -> None:
    arguments = ["--peers", "2", "--seconds", "1", "--every", "1", "--json", str(tmp_path / "many.json")]
    command = [sys.executable, "-m", "benchmarks.many_peers", *arguments]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=LONGEST_S)
    (found,) = json.loads((tmp_path / "many.json").read_text())["results"]
    assert (found["peers"], found["models"]) == (2, 1)
    assert found["rounds"]["minimum"] >= 1
    for usage in found["usage"].values():
        assert usage["memory_mb"] > 1
    assert found["kilobytes_per_s"] > 0
