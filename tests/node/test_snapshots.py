"""How the fragments of a round come from the trainer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import numpy as np
import pytest

from gossiptrain.core.fragments import Fragments
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.node import control
from gossiptrain.node.control_socket import NodeSide
from gossiptrain.node.memory import SharedVectors
from gossiptrain.node.snapshots import LONGEST_STEP_S, Snapshots
from gossiptrain.swarm.messages import Assignment
from tests.node.test_process import Trainer

FRAGMENTS = Fragments((3, 5))


def with_snapshots(work: Callable[[Snapshots, Trainer], Awaitable[None]]) -> None:
    async def scenario() -> None:
        trainer, memory = Trainer(), SharedVectors.create(FRAGMENTS.longest, state=8)
        memory.snapshot[:] = np.arange(5)
        await work(Snapshots(cast("NodeSide", trainer), memory, FRAGMENTS), trainer)
        memory.close()

    run_virtual(scenario())


ASSIGNMENT = Assignment(round_id="ab", round=9, members=("a", "b"), samples=(4, 5), speeds=(1, 1))


def taken(fragment: int) -> control.SnapshotTaken:
    return control.SnapshotTaken(samples=1, fragment=fragment, asked=True)


def test_a_round_begins_with_the_fragment_that_is_in_the_memory() -> None:
    async def work(own: Snapshots, trainer: Trainer) -> None:
        for number, values in ((0, [0, 1, 2]), (1, [0, 1, 2, 3, 4])):
            own.begin(control.SnapshotTaken(samples=1, fragment=number))
            assert own.number == number
            assert own.buffers.snapshot.tolist() == values
            assert len(own.buffers.average) == len(values)
        assert trainer.told == []

    with_snapshots(work)


@pytest.mark.parametrize("averaged", [False, True])
def test_another_fragment_is_asked_for_and_waited_for(averaged: bool) -> None:
    async def work(own: Snapshots, trainer: Trainer) -> None:
        bringing = asyncio.create_task(own.bring(1, ASSIGNMENT, averaged=averaged))
        await asyncio.sleep(LONGEST_STEP_S / 2)
        samples = (4, 5) if averaged else None
        assert trainer.told == [control.FragmentWanted(round=9, fragment=1, samples=samples)]
        assert not bringing.done()
        own.answered(taken(0))  # to something that was asked for in an earlier round
        await asyncio.sleep(0)
        assert not bringing.done()
        own.answered(taken(1))
        assert await bringing
        assert own.number == 1

    with_snapshots(work)


@pytest.mark.parametrize("answer", [None, control.SnapshotRefused()])
def test_a_trainer_that_does_not_answer_or_refuses_leaves_the_round_without_it(
    answer: control.SnapshotRefused | None,
) -> None:
    async def work(own: Snapshots, trainer: Trainer) -> None:
        bringing = asyncio.create_task(own.bring(1, ASSIGNMENT, averaged=False))
        await asyncio.sleep(0)
        if answer is not None:
            own.answered(answer)
        assert not await bringing
        assert own.number == 0
        own.answered(taken(1))
        assert own.number == 0

    with_snapshots(work)


def test_the_trainer_is_told_once_which_round_is_next_and_only_where_rounds_carry_fragments() -> None:
    async def work(own: Snapshots, trainer: Trainer) -> None:
        for number in (0, 3, 3, 4):
            own.tell_round(number)
        assert trainer.told == [control.NextRound(number=3), control.NextRound(number=4)]

    with_snapshots(work)


def test_of_a_model_in_one_piece_no_round_is_told() -> None:
    async def scenario() -> None:
        trainer, memory = Trainer(), SharedVectors.create(5, state=5)
        Snapshots(cast("NodeSide", trainer), memory, Fragments((5,))).tell_round(3)
        assert trainer.told == []
        memory.close()

    run_virtual(scenario())
