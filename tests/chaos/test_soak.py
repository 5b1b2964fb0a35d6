"""The short form of `make soak`: each kind of fault that is not in the other files here, once, on real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.soak import tight
from benchmarks.soak.course import soak
from benchmarks.soak.faults import Planned

from tests.processes import Family


@pytest.fixture
def small_disks(tmp_path: Path) -> list[str]:
    """The fault of a full disk, where a small file system can be mounted."""
    try:
        with tight.small_disk(tmp_path / "small"):
            return ["disk"]
    except OSError:
        return []


@pytest.mark.timeout(400)
def test_peers_come_go_are_killed_and_have_no_room_and_the_swarm_goes_on(
    family: Family, small_disks: list[str]
) -> None:
    kinds = ["storm", "memory", "memory-node", *small_disks, "kill", "terminate"]
    plan = [Planned(0.0, kind, victim) for victim, kind in enumerate(kinds)]
    run = soak(family, plan, peers=4, epochs=1_000_000, is_over=lambda run: sum(run.faults.values()) == len(kinds))
    assert not run.broken
    assert set(run.faults) == set(kinds)
