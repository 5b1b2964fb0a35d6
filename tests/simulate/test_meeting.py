"""What a group computes without a network is, bit by bit, what real peers compute over one."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest
from blake3 import blake3

from gossiptrain.config import CodecName, GossipSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import PlainCodecName, codec_named
from gossiptrain.core.modular import Modular
from gossiptrain.simulate.meeting import meet_coded, meet_far_apart, meet_nearby, meet_plainly
from gossiptrain.swarm.attempt import Attempt, Outcome
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.exchange import Exchange
from gossiptrain.swarm.near_coding import NEAR_BITS, SpreadEstimate
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, TestPeer, swarm_of
from tests.transports import MakeTransport, run_on

WIDE = TIMING.model_copy(update={"chunk_bytes": 64 << 10})
"""One chunk for each slice, so that there is one order in which chunks can be coded."""
SAMPLES = {"a": 100, "b": 150, "c": 100, "d": 60}


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """Every attempt of real peers, once for each of its members."""
    seen: list[Attempt] = []
    run = Exchange.run

    async def remember(exchange: Exchange) -> Outcome:
        seen.append(exchange.attempt)
        return await run(exchange)

    monkeypatch.setattr(Exchange, "run", remember)
    return seen


def buffers_of(swarm: Swarm, attempt: Attempt) -> list[Buffers]:
    """What its members would bring now, in their order."""
    by_id = {peer.id: peer for peer in swarm.peers.values()}
    return [Buffers(by_id[member].values.copy(), by_id[member].buffers.average.copy()) for member in attempt.members]


def knowledge_of(peer: TestPeer) -> SpreadEstimate:
    """What it thinks of the others now."""
    return copy.deepcopy(peer.swarm._averager._statistics_of(0, elements=ELEMENTS).spread)


async def one_round(swarm: Swarm, attempts: list[Attempt]) -> tuple[Attempt, dict[str, Vector]]:
    attempts.clear()
    found = await swarm.average()
    assert all(own is not None and own.result.committed for own in found.values())
    return attempts[0], {name: peer.values.copy() for name, peer in swarm.peers.items()}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_plain_values(count: int, attempts: list[Attempt]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, count) as swarm:
            before = {peer.id: peer.values.copy() for peer in swarm.peers.values()}
            attempt, after = await one_round(swarm, attempts)
            members = [Buffers(before[member], np.empty(ELEMENTS, np.float32)) for member in attempt.members]
            sent_bytes = meet_plainly(members, attempt.samples)
            for member in members:
                assert member.average.tobytes() == after["a"].tobytes()
            assert sent_bytes == 2 * (count - 1) * 4 * ELEMENTS

    run_on("virtual", scenario)


def test_weighted_values(attempts: list[Attempt]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            before = {peer.id: peer.values.copy() for peer in swarm.peers.values()}
            await asyncio.gather(*(swarm.peers[name].average(samples=count) for name, count in SAMPLES.items()))
            attempt = attempts[0]
            assert sorted(attempt.samples) == sorted(SAMPLES.values())
            members = [Buffers(before[member], np.empty(ELEMENTS, np.float32)) for member in attempt.members]
            meet_plainly(members, attempt.samples)
            assert members[0].average.tobytes() == swarm.peers["a"].values.tobytes()

    run_on("virtual", scenario)


@pytest.mark.parametrize("codec", ["fp16", "bf16"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_values_in_half_the_bytes(count: int, codec: PlainCodecName, attempts: list[Attempt]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, count, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            before = {peer.id: peer.values.copy() for peer in swarm.peers.values()}
            attempt, after = await one_round(swarm, attempts)
            members = [Buffers(before[member], np.empty(ELEMENTS, np.float32)) for member in attempt.members]
            sent_bytes = meet_coded(members, attempt.samples, codec_named(codec))
            for member in members:
                assert member.average.tobytes() == after["a"].tobytes()
            assert sent_bytes == 2 * (count - 1) * 2 * ELEMENTS

    run_on("virtual", scenario)


def test_values_of_members_that_knew_nothing_of_each_other_in_int4(attempts: list[Attempt]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=GossipSettings(codec="int4"), timing=WIDE) as swarm:
            before = {peer.id: (peer.values.copy(), knowledge_of(peer)) for peer in swarm.peers.values()}
            _, after = await one_round(swarm, attempts)
            attempt = attempts[-1]
            assert attempt.number == 1
            members = [Buffers(before[member][0], np.empty(ELEMENTS, np.float32)) for member in attempt.members]
            known = [before[member][1] for member in attempt.members]
            sent_bytes = meet_far_apart(members, attempt.samples, known)
            assert sent_bytes == 2 * 2 * 2 * ELEMENTS
            for buffers in members:
                assert buffers.average.tobytes() == after["a"].tobytes()

    run_on("virtual", scenario)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("codec", NEAR_BITS)
def test_values_in_a_quarter_of_the_bytes_or_an_eighth(codec: CodecName, count: int, attempts: list[Attempt]) -> None:
    moves = np.random.default_rng(0).normal(scale=0.01, size=(count, ELEMENTS)).astype(np.float32)

    async def scenario(make: MakeTransport) -> None:
        settings = GossipSettings(matchmaking_time=2.0, codec=codec)
        async with swarm_of(make, count, settings=settings, timing=WIDE) as swarm:
            await one_round(swarm, attempts)
            for peer, move in zip(swarm.peers.values(), moves, strict=True):
                peer.values += move
            before = {peer.id: (peer.values.copy(), knowledge_of(peer)) for peer in swarm.peers.values()}
            attempt, after = await one_round(swarm, attempts)
            members = [Buffers(before[member][0], np.empty(ELEMENTS, np.float32)) for member in attempt.members]
            digests = [blake3(f"{attempt.round_id}/{position}".encode()).digest(length=8) for position in range(count)]
            seeds = [int.from_bytes(digest, "big") for digest in digests]
            known = [before[member][1] for member in attempt.members]
            modular = Modular(ELEMENTS, bits=NEAR_BITS[codec])
            sent_bytes = meet_nearby(members, attempt.samples, modular, known, seeds)
            for member in members:
                assert member.average.tobytes() == after["a"].tobytes()
            assert sent_bytes < 2 * (count - 1) * (0.05 + NEAR_BITS[codec] / 8) * ELEMENTS

    run_on("virtual", scenario)
