"""Rounds that carry one fragment of a model each, and last rounds that carry all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from gossiptrain.core.averaging import Vector
from gossiptrain.core.fragments import Fragments
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.ending import Farewell, Grace
from gossiptrain.swarm.fragments import together
from gossiptrain.swarm.matchmaking import Aim
from gossiptrain.swarm.messages import Assignment
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.round import RoundResult
from tests.swarm.swarms import ELEMENTS, Swarm, TestPeer, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

FRAGMENTS = Fragments((ELEMENTS // 2, ELEMENTS // 4, ELEMENTS - ELEMENTS // 2 - ELEMENTS // 4))
GRACE = Grace.usual(1.0)


@dataclass
class InFragments:
    """The values of a peer, which stand still, as a trainer would bring them."""

    values: Vector
    fragments: Fragments = FRAGMENTS
    number: int = 0
    brought: list[int] = field(default_factory=list)
    refuses: frozenset[int] = frozenset()
    groups: int = 0
    memory: Buffers = field(
        default_factory=lambda: Buffers(
            np.zeros(FRAGMENTS.longest, np.float32), np.zeros(FRAGMENTS.longest, np.float32)
        )
    )

    @property
    def buffers(self) -> Buffers:
        length = self.fragments.lengths[self.number]
        return Buffers(self.memory.snapshot[:length], self.memory.average[:length])

    def begin(self, number: int) -> None:
        self.number = number
        place = self.fragments.place(number)
        self.buffers.snapshot[:] = self.values[place.start : place.stop]

    def take(self) -> None:
        place = self.fragments.place(self.number)
        self.values[place.start : place.stop] = self.buffers.average

    def found(self) -> None:
        self.groups += 1

    async def bring(self, number: int, assignment: Assignment, *, averaged: bool) -> bool:
        if averaged:
            self.take()
        self.brought.append(number)
        if number in self.refuses:
            return False
        self.begin(number)
        return True


def due(peer: TestPeer) -> int:
    """The fragment of the round that the peer would take part in next."""
    return FRAGMENTS.of_round(peer.swarm.fingerprint.key, peer.swarm.membership.round)


async def average(peer: TestPeer, own: InFragments, *, bringing: int | None = None) -> AveragedRound:
    own.begin(due(peer) if bringing is None else bringing)
    averaged = await peer.swarm.participation.average(own, samples=1, aim=Aim())
    assert averaged is not None
    if averaged.result.committed:
        own.take()
    return averaged


async def last_round(peer: TestPeer, own: InFragments) -> AveragedRound:
    own.begin(due(peer))
    farewell = Farewell(grace=GRACE, patience_s=4.0)
    averaged = await peer.swarm.participation.end(own, samples=1, farewell=farewell)
    assert averaged is not None
    if averaged.result.committed:
        own.take()
    return averaged


def held_by(swarm: Swarm) -> dict[str, InFragments]:
    return {name: InFragments(peer.values.copy()) for name, peer in swarm.peers.items()}


@on_both_transports
def test_each_round_averages_one_fragment_and_leaves_the_rest(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            held = held_by(swarm)
            mean = np.mean([own.values for own in held.values()], axis=0)
            turns = []
            for _ in range(3):
                before = {name: own.values.copy() for name, own in held.items()}
                rounds = await asyncio.gather(*(average(swarm.peers[name], held[name]) for name in held))
                assert all(averaged.result.committed for averaged in rounds)
                (number,) = {own.number for own in held.values()}
                turns.append(number)
                place = FRAGMENTS.place(number)
                for name, own in held.items():
                    changed = own.values[place.start : place.stop]
                    np.testing.assert_allclose(changed, mean[place.start : place.stop], rtol=1e-5, atol=1e-6)
                    rest = own.values.copy()
                    rest[place.start : place.stop] = before[name][place.start : place.stop]
                    assert np.array_equal(rest, before[name])
            assert sorted(turns) == [0, 1, 2]
            assert not any(own.brought for own in held.values())
            assert all(own.groups == 3 for own in held.values()), "each round has told that it had its group"

    run_on(kind, scenario)


@on_both_transports
def test_the_last_round_carries_all_fragments_so_that_all_end_with_one_model(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            held = held_by(swarm)
            mean = np.mean([own.values for own in held.values()], axis=0)
            rounds = await asyncio.gather(*(last_round(swarm.peers[name], held[name]) for name in held))
            assert all(averaged.final and averaged.ended and averaged.result.committed for averaged in rounds)
            assert len({averaged.result.digest for averaged in rounds}) == 1
            for own in held.values():
                assert own.values.tobytes() == held["a"].values.tobytes()
                np.testing.assert_allclose(own.values, mean, rtol=1e-5, atol=1e-6)
                assert len(own.brought) == 2, "the first fragment was there"
            assert rounds[0].result.bytes_sent >= 4 * ELEMENTS

    run_on(kind, scenario)


def test_who_brings_a_fragment_that_is_not_due_is_asked_for_the_right_one() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            held = held_by(swarm)
            right = due(swarm.peers["a"])
            wrong = (right + 1) % 3
            rounds = await asyncio.gather(
                *(average(swarm.peers[name], held[name], bringing=wrong if name == "b" else right) for name in held)
            )
            assert all(len(averaged.result.members) == 3 and averaged.result.committed for averaged in rounds)
            assert held["b"].brought == [right]
            place = FRAGMENTS.place(right)
            parts = {own.values[place.start : place.stop].tobytes() for own in held.values()}
            assert len(parts) == 1

    run_on("virtual", scenario)


@pytest.mark.parametrize("refused", [1, 2])
def test_who_has_no_next_fragment_to_bring_is_left_behind_and_the_others_end_with_one_model(refused: int) -> None:
    """It has given what it gave, and its own round has not committed."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            held = held_by(swarm)
            order = FRAGMENTS.from_there_on(due(swarm.peers["a"]))
            held["b"].refuses = frozenset([order[refused]])
            rounds = dict(
                zip(held, await asyncio.gather(*(last_round(swarm.peers[n], held[n]) for n in held)), strict=True)
            )
            assert not rounds["b"].result.committed
            assert not rounds["b"].ended
            for name in "acd":
                assert rounds[name].result.committed
                assert set(rounds[name].result.members) == {swarm.peers[other].id for other in "acd"}
                assert held[name].values.tobytes() == held["a"].values.tobytes()

    run_on("virtual", scenario)


def test_a_fragment_that_is_not_finite_is_shown_to_nobody() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            held = held_by(swarm)
            second = FRAGMENTS.from_there_on(due(swarm.peers["a"]))[1]
            held["b"].values[FRAGMENTS.place(second).start] = np.nan
            rounds = await asyncio.gather(*(last_round(swarm.peers[name], held[name]) for name in held))
            assert [averaged.result.committed for averaged in rounds] == [True, False, True]
            assert np.isfinite(held["a"].values).all()
            assert held["a"].values.tobytes() == held["c"].values.tobytes()

    run_on("virtual", scenario)


def part(*, committed: bool = True, disagreement: float | None = 0.0, digest: str = "ab") -> RoundResult:
    members = (PeerId("a"), PeerId("b"))
    return RoundResult(
        committed=committed,
        members=members,
        attempts=1,
        seconds=0.5,
        bytes_sent=100,
        disagreement=disagreement,
        digest=digest,
        silent=frozenset([PeerId("c")]),
    )


def test_the_parts_of_a_round_come_to_one_result() -> None:
    whole = together([part(disagreement=0.3), part(disagreement=0.1), part(disagreement=None)], [1, 3, 5])
    assert whole.committed
    assert (whole.seconds, whole.bytes_sent, whole.attempts) == (1.5, 300, 1)
    assert whole.disagreement == pytest.approx(np.sqrt((0.09 + 3 * 0.01) / 4))
    assert whole.silent == {"c"}
    other = together([part(digest="ab"), part(digest="cd"), part()], [1, 3, 5])
    assert whole.digest not in ("ab", other.digest)


def test_a_round_whose_last_part_failed_has_not_committed() -> None:
    failed = together([part(), part(committed=False)], [1, 3])
    assert not failed.committed
    assert failed.digest == ""
    assert together([part()], [4]) == part()
