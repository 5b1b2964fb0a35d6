"""Who is believed to be alive, and on whose word."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gossiptrain.net.framing import decode_message, encode_message
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.ending import Grace
from gossiptrain.swarm.membership import OwnState
from gossiptrain.swarm.messages import Heartbeat, SignedHeartbeat
from tests.swarm.swarms import TIMING, TestPeer, fingerprint, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


def own_heartbeat(peer: TestPeer) -> Heartbeat:
    return decode_message(peer.swarm.membership.records()[0].body.encode(), Heartbeat)


def signed_by(peer: TestPeer, heartbeat: Heartbeat) -> SignedHeartbeat:
    body = encode_message(heartbeat).decode()
    return SignedHeartbeat(body=body, signature=peer.swarm.transport.sign(body.encode()).hex())


@on_both_transports
def test_a_newcomer_is_known_to_all_although_it_dialled_only_one(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 5) as swarm:
            for peer in swarm.peers.values():
                assert len(peer.swarm.membership.trainers()) == 5
                assert ("joined", swarm.peers["a"].id) in peer.changes or peer.name == "a"

    run_on(kind, scenario)


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


def test_a_peer_that_is_heard_of_only_through_others_stays_alive() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            network.cut("a", "d")
            await asyncio.sleep(5 * TIMING.lifetime_s)
            assert swarm.peers["d"].id in swarm.peers["a"].swarm.membership.live()

    run_on("virtual", scenario, network=network)


def test_many_peers_hear_of_each_other_with_few_messages_each() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 24) as swarm:
            await asyncio.sleep(3 * TIMING.lifetime_s)
            assert all(len(peer.swarm.membership.trainers()) == 24 for peer in swarm.peers.values())
            assert not any(change == "lost" for peer in swarm.peers.values() for change, _ in peer.changes)

    run_on("virtual", scenario)


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
            a.swarm.membership.absorb([forged, foreign, old, broken])
            assert a.swarm.membership.round == 0
            a.swarm.membership.absorb([signed_by(b, ahead)])
            assert a.swarm.membership.round == 77

    run_on("virtual", scenario)


def test_an_old_heartbeat_does_not_bring_back_a_peer_that_left() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            before = b.swarm.membership.records()[0]
            await b.swarm.leave()
            await b.stop()
            a.swarm.membership.absorb([before])
            assert b.id not in a.swarm.membership.live()

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


def test_readiness_counts_down_between_heartbeats() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            b.swarm.membership.describe(OwnState(ready_in_s=10.0))
            await b.swarm.membership.announce()
            await b.stop()
            await asyncio.sleep(1.0)
            assert a.swarm.membership.outlooks()[b.id].ready_in_s == pytest.approx(9.0, abs=0.1)

    run_on("virtual", scenario)


def test_a_peer_that_wants_to_merge_is_noticed_once() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            b.swarm.membership.describe(OwnState(ready_in_s=0.0, finishing=True))
            await asyncio.sleep(5 * TIMING.heartbeat_s)
            assert a.changes.count(("finishing", b.id)) == 1

    run_on("virtual", scenario)


def test_a_peer_never_counts_itself_twice() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a = swarm.peers["a"]
            a.swarm.membership.absorb(a.swarm.membership.records())
            assert PeerId(a.id) not in a.swarm.membership.live()
            assert len(a.swarm.membership.trainers()) == 2

    run_on("virtual", scenario)


@on_both_transports
def test_who_has_made_all_its_steps_is_in_no_round_until_it_wants_to_merge(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            ended, others = swarm.peers["c"], [swarm.peers["a"], swarm.peers["b"]]

            async def say(**of_the_end: Any) -> None:
                membership = ended.swarm.membership
                membership.describe(replace(membership.own, **of_the_end))
                await membership.announce()

            await say(ends_in_s=0.0, ready_in_s=None)
            for peer in others:
                await until(lambda peer=peer: ended.id in peer.swarm.membership.ended())  # type: ignore[misc]
            found = await swarm.average("a", "b")
            for averaged in found.values():
                assert averaged is not None
                assert set(averaged.result.members) == {peer.id for peer in others}
            merges = asyncio.create_task(ended.end(Grace(longest_s=0.0, unknown_s=0.0, least_s=0.0)))
            for peer in others:
                await until(lambda peer=peer: peer.swarm.membership.outlooks()[ended.id].finishing)  # type: ignore[misc]
            for averaged in await asyncio.gather(merges, *(peer.average() for peer in others)):
                assert averaged is not None
                assert len(averaged.result.members) == 3

    run_on(kind, scenario)


def test_it_is_known_when_others_will_have_made_their_steps_and_time_passes() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watching, other = swarm.peers["a"].swarm.membership, swarm.peers["b"].swarm.membership
            assert set(watching.others_end_in_s().values()) == {None}
            other.describe(replace(other.own, ends_in_s=2.0))
            await other.announce()
            await until(lambda: watching.others_end_in_s()[other.me] is not None)
            first_s = watching.others_end_in_s()[other.me]
            assert first_s is not None
            assert 0.0 < first_s <= 2.0
            other.describe(replace(other.own, ends_in_s=0.0))
            await other.announce()
            await until(lambda: other.me not in watching.others_end_in_s())
            assert watching.ended() == {other.me}

    run_on("virtual", scenario)


@on_both_transports
def test_who_meets_everyone_hears_what_they_say_now_and_not_what_their_last_heartbeats_said(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 6) as swarm:
            asking, *others = (peer.swarm.membership for peer in swarm.peers.values())
            for other in others:
                other.describe(replace(other.own, ends_in_s=100.0))
            await asking.meet_everyone()
            said = asking.others_end_in_s()
            assert len(said) == len(others)
            assert all(in_s is not None and in_s > 90.0 for in_s in said.values())

    run_on(kind, scenario)


def test_what_is_expected_of_others_comes_in_one_order_whatever_hashes_are() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 6) as swarm:
            for peer in swarm.peers.values():
                assert list(peer.swarm.membership.outlooks()) == sorted(swarm.peers)

    run_on("virtual", scenario)
