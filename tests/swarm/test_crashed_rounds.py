"""A peer that crashes leaves the others with what they had or with the new average, all of them.

`python -m benchmarks.crashes protocol` does it in fifty orders of the peers.
"""

from __future__ import annotations

import pytest

from tests.swarm.crashed_rounds import POINTS, crashed
from tests.swarm.interrupted_rounds import Role
from tests.swarm.interruptions import Point

CASES = [(role, point) for role, those in POINTS.items() for point in those]


def test_there_are_twenty_points_for_each_role() -> None:
    assert {role: len(set(those)) for role, those in POINTS.items()} == {"member": 20, "leader": 20, "coordinator": 20}


@pytest.mark.parametrize(("role", "point"), CASES, ids=[f"{role}-{point}" for role, point in CASES])
def test_survivors_of_a_crash_hold_what_they_had_or_all_hold_the_average(role: Role, point: Point) -> None:
    found = crashed(role, point, run="run 0")
    assert found.is_reached
    assert not found.wrong
