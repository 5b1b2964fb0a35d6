"""The plan of a soak, and what is made of its figures; `tests/chaos/test_soak.py` has a real one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.soak.faults import FAULTS, planned
from benchmarks.soak.findings import Findings, loss_beside

FOUND = Findings(
    peers=16,
    minutes=15.0,
    faults={"kill": 72},
    rounds=400,
    rounds_per_minute=27.0,
    longest_gap_s=5.0,
    recovery_s=None,
    samples=1_000_000,
    loss=0.2,
    accuracy=0.95,
    disagreement=0.0,
    left=[],
    broken=[],
)


def test_so_many_percent_of_the_peers_are_struck_each_minute_and_a_seed_says_by_what() -> None:
    kinds = list(FAULTS)
    plan = planned(kinds, peers=16, percent_a_minute=30.0, minutes=15.0, seed=3)
    assert plan == planned(kinds, peers=16, percent_a_minute=30.0, minutes=15.0, seed=3)
    assert plan != planned(kinds, peers=16, percent_a_minute=30.0, minutes=15.0, seed=4)
    for minute in range(0, 15, 5):
        assert sum(60 * minute <= fault.at_s < 60 * (minute + 5) for fault in plan) == 16 * 0.3 * 5
    assert {fault.kind for fault in plan} <= set(kinds)
    assert {fault.victim for fault in plan} <= set(range(16))


def test_without_faults_nothing_is_planned() -> None:
    assert planned([], peers=16, percent_a_minute=30.0, minutes=15.0, seed=0) == []


@pytest.mark.parametrize(("loss", "broken"), [(0.19, 0), (0.203, 0), (0.21, 1)])
def test_a_loss_may_be_two_percent_above_that_of_the_undisturbed_run(loss: float, broken: int) -> None:
    disturbed = replace(FOUND, loss=loss, broken=[])
    above = loss_beside(disturbed, FOUND)
    assert above == pytest.approx(loss / 0.2 - 1)
    assert len(disturbed.broken) == broken
