"""What is served and kept of rounds: late questions, members that do not do their part, and no coded values."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gossiptrain.config import CodecName, GossipSettings
from gossiptrain.core.grouping import leaders
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.attempt import Outcome
from gossiptrain.swarm.coding import Coding
from gossiptrain.swarm.exchange import Exchange
from gossiptrain.swarm.leader import Deadlines, Leader, Verdict
from gossiptrain.swarm.messages import Probe, Report
from gossiptrain.swarm.round import Round
from gossiptrain.swarm.silence import ask_member
from tests.swarm.swarms import TIMING, Swarm, swarm_of
from tests.swarm.test_round import check_all_or_nothing, committed, values_of
from tests.transports import MakeTransport, run_on, until


def alive(kind: type) -> int:
    """How many objects of a class, or of one that inherits from it, there are."""
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


@pytest.mark.parametrize("codec", ["fp16", "int8", "int4"])
def test_of_rounds_that_are_over_no_coded_values_stay(codec: CodecName) -> None:
    async def scenario(make: MakeTransport) -> None:
        before = alive(Coding), alive(Exchange)
        async with swarm_of(make, 3, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            for _ in range(20):
                assert len(committed(await swarm.average())) == 3
            await asyncio.sleep(6.0)  # handlers linger until their openers have read the last bytes
            assert (alive(Coding), alive(Exchange)) == before

    run_on("virtual", scenario)


def test_a_round_that_is_cancelled_is_over_for_others_too() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            rounds = swarm.peers["c"].swarm._averager._rounds
            await until(lambda: bool(rounds))
            (round_id,) = rounds
            tasks["c"].cancel()
            await asyncio.gather(tasks["c"], return_exceptions=True)
            assert await _state(swarm, "a", "c", round_id) == "over"
            await asyncio.gather(tasks["a"], tasks["b"])

    run_on("virtual", scenario)


async def _state(swarm: Swarm, asking: str, asked: str, round_id: str) -> str | None:
    probe = Probe(round_id=round_id, attempt=0)
    return await ask_member(swarm.peers[asking].swarm.admission, swarm.peers[asked].id, probe)


def test_a_member_says_where_it_stands() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            assert await _state(swarm, "a", "b", "ab" * 16) == "unknown"
            await swarm.average()
            (round_id,) = swarm.peers["b"].swarm._averager._rounds
            assert await _state(swarm, "a", "b", round_id) == "committed"

    run_on("virtual", scenario)


def test_a_stranger_to_a_round_learns_nothing_of_it() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await swarm.average("a", "b")
            (round_id,) = swarm.peers["b"].swarm._averager._rounds
            assert await _state(swarm, "c", "b", round_id) == "unknown"

    run_on("virtual", scenario)


# Members and leaders that go on answering and do not do their part.


@pytest.mark.parametrize("stays_dead", [True, False])
def test_a_member_that_restarts_before_its_report_is_gone_and_what_the_others_hold_commits(
    stays_dead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = VirtualNetwork(latency_s=0.003)
    restarts: list[asyncio.Task[None]] = []
    find_verdict = Round._find_verdict

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:

            async def restart(name: str) -> None:
                tasks[name].cancel()
                await swarm.peers[name].stop()
                network.crash(name)
                if not stays_dead:
                    await swarm.add(name, initial=next(other for other in swarm.peers if other != name))

            async def find(self: Round, outcome: Outcome) -> Verdict:
                # The last in the order neither leads nor has to.
                if self.me == self.attempt.members[-1] and not restarts:
                    restarts.append(asyncio.create_task(restart(self.me)))
                    await asyncio.Event().wait()
                return await find_verdict(self, outcome)

            monkeypatch.setattr(Round, "_find_verdict", find)
            before, started_s = values_of(swarm), asyncio.get_running_loop().time()
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            await asyncio.wait(tasks.values())
            assert asyncio.get_running_loop().time() - started_s < 2.0
            rounds = {name: task.result() for name, task in tasks.items() if not task.cancelled()}
            check_all_or_nothing(before, swarm, rounds)
            assert len(committed(rounds)) == 3
            assert {len(found.result.members) for found in committed(rounds).values()} == {4}, "nothing is given up"
            held_up = {peer for found in committed(rounds).values() for peer in found.result.held_up}
            assert not held_up, "who knows nothing of the round any more is gone, and not waited for until time is up"
            await asyncio.gather(*restarts)

    run_on("virtual", scenario, network=network)


def _never_reports(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find_verdict = Round._find_verdict

    async def find(self: Round, outcome: Outcome) -> Verdict:
        if self.me == name:
            await asyncio.Event().wait()
        return await find_verdict(self, outcome)

    monkeypatch.setattr(Round, "_find_verdict", find)


def _never_decides(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    decide = Leader.decide

    async def dither(self: Leader, own: Report, deadlines: Deadlines) -> Verdict:
        if self._admission.transport.peer_id == name:
            await asyncio.Event().wait()
        return await decide(self, own, deadlines)

    monkeypatch.setattr(Leader, "decide", dither)


@pytest.mark.parametrize("how", [_never_reports, _never_decides])
def test_who_answers_and_does_not_do_its_part_holds_the_others_up_for_a_few_stalls_and_not_again(
    how: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            how(monkeypatch, "a")  # type: ignore[operator]
            took_s: list[float] = []
            remembered_s: list[float] = []
            while len(remembered_s) < 4 and len(took_s) < 100:  # who leads which round is a matter of hashes
                # Where it coordinates itself it leads when its rank is the first, for it does not put itself last.
                b, number = swarm.peers["b"].swarm, swarm.peers["b"].swarm.membership.round
                leader = leaders(swarm.peers, run=b.fingerprint.key, round_number=number, seed=0)[0]
                leads = b._matchmaker._coordinating.first_in_rank(number) == leader == "a"
                started_s = asyncio.get_running_loop().time()
                bad = asyncio.create_task(swarm.peers["a"].average())
                rounds = await swarm.average("b", "c", "d")
                took_s.append(asyncio.get_running_loop().time() - started_s)
                if not leads and max(took_s[:-1], default=0.0) > 2.0:
                    remembered_s.append(took_s[-1])
                assert len(committed(rounds)) == 3
                bad.cancel()
                await asyncio.gather(bad, return_exceptions=True)
            assert max(took_s) < 8 * (TIMING.stall_timeout_s + TIMING.probe_timeout_s) < TIMING.round_timeout_s
            assert len(remembered_s) == 4
            assert max(remembered_s) < 2.0, f"it is remembered: {took_s}"

    run_on("virtual", scenario)
