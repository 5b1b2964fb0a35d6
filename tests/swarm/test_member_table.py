"""Who is believed to be alive, and on whose word."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.net.framing import decode_message
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm import member_table
from gossiptrain.swarm.messages import Heartbeat, SignedHeartbeat
from gossiptrain.swarm.own_heartbeat import OwnState, signed
from tests.swarm.swarms import TIMING, TestPeer, fingerprint, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


def own_heartbeat(peer: TestPeer) -> Heartbeat:
    return decode_message(peer.swarm.membership._own.record.body.encode(), Heartbeat)


def signed_by(peer: TestPeer, heartbeat: Heartbeat) -> SignedHeartbeat:
    return signed(heartbeat, peer.swarm.transport)


@on_both_transports
def test_a_goodbye_is_heard_by_all(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            leaver = swarm.peers["b"]
            await leaver.swarm.leave()
            await leaver.stop()
            for name in "ac":
                assert ("left", leaver.id) in swarm.peers[name].changes
                assert leaver.id not in swarm.peers[name].swarm.membership.live()

    run_on(kind, scenario)


@on_both_transports
def test_a_peer_that_died_is_lost_to_the_others(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            dead = swarm.peers["b"]
            await dead.stop()
            await dead.swarm.transport.close()
            for name in "ac":
                await until(lambda name=name: ("lost", dead.id) in swarm.peers[name].changes)  # type: ignore[misc]

    run_on(kind, scenario)


def test_a_silent_peer_is_lost_after_its_lifetime_and_back_with_its_next_heartbeat() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            frozen = swarm.peers["c"]
            network.freeze("c")
            started_s = asyncio.get_running_loop().time()
            await until(lambda: ("lost", frozen.id) in swarm.peers["a"].changes)
            assert asyncio.get_running_loop().time() - started_s <= TIMING.lifetime_s + 2 * TIMING.heartbeat_s
            network.thaw("c")
            await until(lambda: frozen.id in swarm.peers["a"].swarm.membership.live())

    run_on("virtual", scenario, network=network)


def test_in_a_swarm_of_which_news_comes_less_often_a_silent_peer_lives_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = VirtualNetwork()
    monkeypatch.setattr(member_table, "AT_FULL_PACE", 1)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            frozen, a = swarm.peers["c"], swarm.peers["a"]
            network.freeze("c")
            started_s = asyncio.get_running_loop().time()
            await until(lambda: ("lost", frozen.id) in a.changes)
            lived_s = asyncio.get_running_loop().time() - started_s
            assert TIMING.lifetime_s < lived_s <= 2 * TIMING.lifetime_s + 2 * TIMING.heartbeat_s

    run_on("virtual", scenario, network=network)


def test_heartbeats_that_are_forged_foreign_or_old_change_nothing() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            a, b, c = (swarm.peers[name] for name in "abc")
            true = own_heartbeat(b)
            ahead = true.model_copy(update={"counter": true.counter + 100, "round": 77})
            forged = signed_by(c, ahead)
            foreign = signed_by(b, ahead.model_copy(update={"run_key": fingerprint(run="other").key}))
            old = signed_by(b, true.model_copy(update={"counter": 0, "round": 77}))
            broken = SignedHeartbeat(body="Heartbeat {", signature="00")
            a.swarm.membership._table.absorb([forged, foreign, old, broken])
            assert a.swarm.membership.round == 0
            a.swarm.membership._table.absorb([signed_by(b, ahead)])
            assert a.swarm.membership.round == 77

    run_on("virtual", scenario)


def test_an_old_heartbeat_does_not_bring_back_a_peer_that_left() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            before = b.swarm.membership._own.record
            await b.swarm.leave()
            await b.stop()
            a.swarm.membership._table.absorb([before])
            assert b.id not in a.swarm.membership.live()

    run_on("virtual", scenario)


def test_a_heartbeat_of_an_earlier_life_changes_nothing() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            now = own_heartbeat(b)
            earlier = {"incarnation": now.incarnation - 1, "counter": now.counter + 100, "round": 77}
            a.swarm.membership._table.absorb([signed_by(b, now.model_copy(update=earlier))])
            assert a.swarm.membership.live()[b.id].incarnation == now.incarnation
            assert a.swarm.membership.round == 0

    run_on("virtual", scenario)


def test_who_starts_anew_is_heard_at_once_though_it_counts_from_the_beginning() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            now = own_heartbeat(b)
            later = {"incarnation": now.incarnation + 1, "counter": 0, "round": 77}
            a.swarm.membership._table.absorb([signed_by(b, now.model_copy(update=later))])
            assert a.swarm.membership.live()[b.id].incarnation == now.incarnation + 1
            assert a.swarm.membership.round == 77

    run_on("virtual", scenario)


@on_both_transports
def test_a_restarted_peer_is_taken_back_under_its_new_incarnation(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            old = swarm.peers["b"]
            await old.stop()
            await old.swarm.transport.close()
            new = await swarm.add("b", initial="a")
            assert new.id == old.id
            await swarm.know_each_other()
            rounds = await swarm.average()
            assert all(found is not None and found.result.committed for found in rounds.values())

    run_on(kind, scenario)


def test_a_joiner_is_noticed_when_it_comes_and_once_more_when_it_holds_the_parameters() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            assert a.changes == [("joined", b.id), ("ready", b.id)]
            b.swarm.membership.describe(OwnState(joined=False))
            await until(lambda: b.id not in a.swarm.membership.trainers())
            assert a.changes[2:] == []
            b.swarm.membership.describe(OwnState(joined=True))
            await until(lambda: b.id in a.swarm.membership.trainers())
            assert a.changes[2:] == [("ready", b.id)]

    run_on("virtual", scenario)


def test_a_peer_that_wants_to_merge_is_noticed_once() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            b.swarm.membership.describe(OwnState(ready_in_s=0.0, finishing=True))
            await asyncio.sleep(5 * TIMING.heartbeat_s)
            assert a.changes.count(("finishing", b.id)) == 1

    run_on("virtual", scenario)


@pytest.mark.parametrize(("ends_in_s", "times"), [(None, 2), (0.0, 1)])
def test_who_wants_to_merge_in_a_later_round_as_well_is_noticed_again_unless_it_has_ended(
    ends_in_s: float | None, times: int
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            for number in (0, 1):
                wants = OwnState(round=number, ready_in_s=0.0, finishing=True, ends_in_s=ends_in_s)
                b.swarm.membership.describe(wants)
                await asyncio.sleep(5 * TIMING.heartbeat_s)
            assert a.changes.count(("finishing", b.id)) == times

    run_on("virtual", scenario)


def test_a_peer_never_counts_itself_twice() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a = swarm.peers["a"]
            a.swarm.membership._table.absorb([a.swarm.membership._own.record])
            assert PeerId(a.id) not in a.swarm.membership.live()
            assert len(a.swarm.membership.trainers()) == 2

    run_on("virtual", scenario)
