"""Whole runs: repeatable to the byte, disturbed by each fault in its way, and broken where something is planted."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from gossiptrain.net.virtual.network import VirtualNetwork, VirtualTransport
from gossiptrain.simulate.swarms import invariants, sometimes
from gossiptrain.simulate.swarms.peers import SimulatedPeer
from gossiptrain.simulate.swarms.plan import Crash, Cut, Flood, Freeze, Lie, OneWay, Plan, Reset, Skew, Slow
from gossiptrain.simulate.swarms.results import SwarmResult
from gossiptrain.simulate.swarms.running import run
from gossiptrain.simulate.swarms.seeds import command_for, shrunk
from gossiptrain.simulate.swarms.settings import SwarmSettings, read_faults
from gossiptrain.swarm.attempt import Outcome
from gossiptrain.swarm.leader import Verdict
from gossiptrain.swarm.messages import Abandon
from gossiptrain.swarm.round import Round

SHORT = SwarmSettings(peers=4, seconds=20, preset="local", every_seconds=2, faults=read_faults("none"))
PRINTED = """
import json
from gossiptrain.simulate.swarms.running import run
from gossiptrain.simulate.swarms.settings import SwarmSettings
settings = SwarmSettings(peers=4, seconds=15, preset="local", every_seconds=2, faults_per_minute=30, seed=5)
print(json.dumps(run(settings).as_json()))
"""


def printed(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", PRINTED], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_same_seed_gives_the_same_bytes_whatever_hashes_are() -> None:
    one = printed("1")
    assert one == printed("2")
    assert '"committed": true' in one


def test_an_undisturbed_swarm_goes_on_and_ends_with_one_model() -> None:
    result = run(SHORT)
    assert result.violations == ()
    assert result.committed > 20
    assert result.abandoned == 0
    assert result.reached[sometimes.ENDED_TOGETHER] == 1
    assert result.reached[sometimes.FOUNDED] == 1
    assert result.reached[sometimes.STATE_TAKEN] == SHORT.peers - 1
    assert result.sent_bytes > 100_000


# Faults.

ALL_AT_WORK: Plan = (
    Skew(0.0, 35.0, "p3", offset_s=-3600.0, rate=1.04),
    Crash(16.0, 6.0, "p1"),
    Flood(18.0, 8.0, ("n0", "n1", "n2")),
    Reset(19.0, 0.0, "p2"),
    Lie(20.0, 10.0, "liar0"),
    Slow(21.0, 5.0, "p0", factor=4.0, uplink_bytes_per_s=200e3),
    Freeze(27.0, 6.0, "p0"),
    OneWay(29.0, 1.0, "p1", "p2"),
    Crash(30.0, 0.0, "nobody"),
)


def test_a_private_swarm_bears_the_same_faults() -> None:
    settings = SHORT.model_copy(update={"private": True, "faults": read_faults("crash,cut,flood,lie"), "seed": 3})
    result = run(settings.model_copy(update={"faults_per_minute": 20.0}))
    assert result.violations == ()
    assert any(each.committed for each in result.rounds)
    assert "--private" in command_for(settings)


@pytest.fixture(scope="module")
def disturbed() -> SwarmResult:
    return run(SHORT, plan=ALL_AT_WORK)


def alive_at(result: SwarmResult, at_s: float) -> int:
    return next(sample.alive for sample in result.samples if sample.at_s >= at_s)


def test_faults_happen_where_there_is_somebody_to_happen_to(disturbed: SwarmResult) -> None:
    assert disturbed.violations == ()
    assert [fault.number for fault in disturbed.faults if not fault.happened] == [8]


def test_a_crashed_peer_is_gone_and_comes_back_as_the_same_peer(disturbed: SwarmResult) -> None:
    assert [alive_at(disturbed, at_s) for at_s in (15.0, 16.5)] == [4, 3]
    assert disturbed.reached[sometimes.RETURNED] >= 1
    assert any(each.peer == "p1" and each.committed and each.ended_s > 25 for each in disturbed.rounds)


def test_a_flood_of_joiners_comes_and_goes(disturbed: SwarmResult) -> None:
    assert [alive_at(disturbed, at_s) for at_s in (18.5, 24.5, 27.5)] == [6, 7, 4]


def test_a_frozen_peer_takes_part_in_nothing_and_is_met_again(disturbed: SwarmResult) -> None:
    committed_s = [each.ended_s for each in disturbed.rounds if each.peer == "p0" and each.committed]
    assert not any(28.5 < at_s < 33.0 for at_s in committed_s)
    assert any(at_s > 33.0 for at_s in committed_s)
    assert disturbed.reached[sometimes.LOST_AND_MET] >= 3


def test_a_slow_peer_comes_less_often(disturbed: SwarmResult) -> None:
    def rounds_of(peer: str, *, since_s: float, until_s: float) -> int:
        return sum(each.peer == peer and since_s < each.ended_s < until_s for each in disturbed.rounds)

    assert rounds_of("p0", since_s=22.5, until_s=27.0) <= rounds_of("p3", since_s=22.5, until_s=27.0)


def test_a_cut_parts_the_swarm_and_it_is_one_again_after_it() -> None:
    result = run(SHORT, plan=(Cut(16.0, 12.0, ("p0", "p1")),))
    assert result.violations == ()
    assert result.reached[sometimes.CUT_HEALED] == 1
    during = [each.members for each in result.rounds if each.committed and 20.0 < each.ended_s < 28.0]
    assert during
    assert all(set(members) in ({"p0", "p1"}, {"p2", "p3"}) for members in during)


# What is planted is found.


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces an attribute of a class for one test."""
    return monkeypatch.setattr


def first_broken(settings: SwarmSettings = SHORT, plan: Plan = ()) -> str:
    violations = run(settings, plan=plan).violations
    assert violations
    return violations[0].invariant


def test_a_peer_that_fails_is_found(planted: Any) -> None:
    async def fail(self: SimulatedPeer) -> None:
        raise ZeroDivisionError

    planted(SimulatedPeer, "_train", fail)
    assert first_broken() == invariants.NOBODY_FAILS


def test_a_member_that_takes_no_verdict_is_found(planted: Any) -> None:
    find_verdict = Round._find_verdict

    async def ignore(self: Round, outcome: Outcome) -> Verdict:
        verdict = await find_verdict(self, outcome)
        return Abandon(reason="planted") if self.me == "p3" and self.attempt.members[0] != "p3" else verdict

    planted(Round, "_find_verdict", ignore)
    violations = run(SHORT).violations
    assert violations[0].invariant == invariants.ALL_OR_NOTHING
    assert "p3 did not (planted)" in violations[0].words


def test_peers_that_average_nothing_any_more_are_found(planted: Any) -> None:
    average = SimulatedPeer._average

    async def stop(self: SimulatedPeer) -> bool:
        return asyncio.get_running_loop().time() > 30.0 or await average(self)

    planted(SimulatedPeer, "_average", stop)
    assert first_broken() == invariants.PROGRESS


def test_a_peer_that_nobody_believes_is_found(planted: Any) -> None:
    verify = VirtualTransport.verify
    planted(VirtualTransport, "verify", lambda self, peer, *signed: peer != "p3" and verify(self, peer, *signed))
    assert first_broken() in (invariants.ONE_SWARM, invariants.PROGRESS)


def test_a_peer_that_ends_without_the_others_is_found(planted: Any) -> None:
    end = SimulatedPeer._end

    async def go(self: SimulatedPeer) -> None:
        if self.name != "p3":
            await end(self)

    planted(SimulatedPeer, "_end", go)
    assert first_broken() == invariants.ONE_MODEL


def test_a_peer_that_waits_too_long_is_found_while_it_waits(planted: Any) -> None:
    async def wait(self: SimulatedPeer) -> bool:
        return await self._within("a wait", asyncio.sleep(1000.0, result=True), longest_s=5.0)

    planted(SimulatedPeer, "_average", wait)
    assert first_broken() == invariants.NOBODY_WAITS_TOO_LONG


def test_a_peer_that_never_waits_is_found(planted: Any) -> None:
    async def spin(self: SimulatedPeer) -> None:
        while True:  # noqa: ASYNC110 - that is what must not go on
            await asyncio.sleep(0)

    planted(SimulatedPeer, "_train", spin)
    planted(SwarmSettings, "limit_turns", 100_000)
    assert first_broken() == invariants.TIME_GOES_ON


def test_shrinking_finds_the_one_fault_that_matters(planted: Any) -> None:
    planted(VirtualNetwork, "thaw", lambda self, peer: None)
    kinds = read_faults("freeze,reset:5,slow:2")
    settings = SHORT.model_copy(update={"faults": kinds, "faults_per_minute": 15.0, "seed": 3})
    result = run(settings)
    freezes = [fault.number for fault in result.faults if fault.name == "freeze"]
    assert 1 == len(freezes) < len(result.faults)
    assert list(shrunk(result)) == freezes
