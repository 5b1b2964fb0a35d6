"""Crashes at twenty points of the protocol, in each role, with many orders of the peers: what the survivors hold.

The peers are the swarm's own code on the network in memory, under virtual time. Does not know processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from tests.swarm.crashed_rounds import POINTS, Crashed, crashed
from tests.swarm.interrupted_rounds import Role


@dataclass(frozen=True)
class RoleFindings:
    """Of one role. committed: how many crashes, by how many of the three survivors then had a round that committed."""

    role: Role
    points: int
    crashes: int
    not_reached: int
    committed: dict[int, int]
    wrong: list[str]


def of_role(role: Role, *, seeds: int, workers: int) -> RoleFindings:
    """Every point of the role with so many orders of the peers."""
    # Not forked: what this process has imported may have threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_of_case, *zip(*_cases(role, seeds), strict=True), chunksize=16))
    wrong = [text for text, _ in found if text]
    reached = [crash for _, crash in found if crash.is_reached]
    committed = Counter(crash.committed for crash in reached)
    return RoleFindings(
        role, len(POINTS[role]), len(found), len(found) - len(reached), dict(sorted(committed.items())), wrong
    )


def _cases(role: Role, seeds: int) -> Iterator[tuple[Role, int, int]]:
    return ((role, number, seed) for number in range(len(POINTS[role])) for seed in range(seeds))


def _of_case(role: Role, number: int, seed: int) -> tuple[str, Crashed]:
    point = POINTS[role][number]
    found = crashed(role, point, run=f"run {seed}")
    return (f"{role}, {point}, run {seed}: {found.wrong}" if found.wrong else ""), found
