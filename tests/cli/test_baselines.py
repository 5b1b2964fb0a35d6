"""Trainings for comparison are spread over processes, and each one's result is its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.cli.baselines import AloneRun, Baselines, spread
from gossiptrain.cli.local_swarm import SwarmPlan
from tests.cli.waiting import until


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 10_000), max_size=12), st.integers(1, 5))
def test_every_run_is_given_to_one_process_and_none_has_much_more_to_do(steps: list[int], processes: int) -> None:
    runs = [AloneRun([], amount) for amount in steps]
    workers = spread(runs, processes)
    assert sorted(id(run) for worker in workers for run in worker.runs) == sorted(map(id, runs))
    assert len(workers) <= processes
    assert all(worker.runs for worker in workers)
    if workers:
        assert max(worker.steps for worker in workers) - min(worker.steps for worker in workers) <= max(steps)


@pytest.mark.usefixtures("children")
def test_each_share_is_trained_alone_for_its_own_number_of_steps() -> None:
    plan = SwarmPlan(run="test", folder=Path("test"), parts=3, max_steps=1)
    steps = (900, 300, 10)
    runs = [
        AloneRun(plan.alone_command(share, out=f"alone-{share}", steps=amount), amount)
        for share, amount in enumerate(steps)
    ]

    async def course() -> Baselines:
        async with Baselines(runs, processes=1) as baselines:
            await baselines.start()
            assert baselines.share_done == 0.0
            await until(lambda: 0.0 < baselines.share_done < 1.0, "a part of it")
            await until(lambda: baselines.are_over, "the end")
        return baselines

    baselines = asyncio.run(course())
    assert [run.done for run in runs] == list(steps)
    assert baselines.share_done == 1.0
    assert baselines.last_words == ""
    learnt, less, nothing = (run.accuracy or 0.0 for run in runs)
    assert nothing < less < learnt


@pytest.mark.usefixtures("children")
def test_what_a_failed_process_said_last_is_kept() -> None:
    async def course() -> Baselines:
        async with Baselines([AloneRun(["train", "nothing"], 10)]) as baselines:
            await baselines.start()
            await until(lambda: baselines.are_over, "the end")
        return baselines

    assert "nothing" in asyncio.run(course()).last_words


def test_without_runs_it_is_over_at_once() -> None:
    async def course() -> Baselines:
        async with Baselines([]) as baselines:
            return baselines

    baselines = asyncio.run(course())
    assert baselines.are_over
    assert baselines.share_done == 1.0
