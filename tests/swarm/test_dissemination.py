"""How heartbeats spread: what one peer says is soon known to all."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gossiptrain.net import trace
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.candidates import FEW_UNTRIED
from gossiptrain.swarm.dissemination import EXCHANGES_AT_ONCE, LEAST_WIDE, SMALL_SWARM
from tests.swarm.swarms import TIMING, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


@on_both_transports
def test_a_newcomer_is_known_to_all_although_it_dialled_only_one(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 5) as swarm:
            for peer in swarm.peers.values():
                assert len(peer.swarm.membership.trainers()) == 5
                assert ("joined", swarm.peers["a"].id) in peer.changes or peer.name == "a"

    run_on(kind, scenario)


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


def test_who_has_many_to_meet_does_not_tell_each_of_all_others(tmp_path: Path) -> None:
    path = tmp_path / "trace"

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 24) as swarm:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trace, "active", trace.Trace(path))
                newcomer = await swarm.add("z")
                await until(lambda: len(newcomer.swarm.membership.trainers()) == 25)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        said = [line["message"] for line in lines if line["kind"] == "HeartbeatSummary" and line["direction"] == "sent"]
        lists = [len(message["versions"]) for message in said if f'"peer":"{newcomer.id}"' in message["own"]["body"]]
        assert 0 in lists
        assert max(lists) > FEW_UNTRIED

    run_on("virtual", scenario)


def test_in_a_large_swarm_urgent_news_goes_to_many_and_reaches_all_three_periods_later() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 26) as swarm:
            telling, *others = (peer.swarm.membership for peer in swarm.peers.values())
            telling.describe(replace(telling.own, ends_in_s=0.0))
            await telling.announce_widely()
            told = EXCHANGES_AT_ONCE // len(others)
            assert LEAST_WIDE <= told <= sum(telling.me in other.ended() for other in others) < len(others)
            await asyncio.sleep(3 * TIMING.heartbeat_s)
            assert all(telling.me in other.ended() for other in others)

    run_on("virtual", scenario)


def test_in_a_small_swarm_urgent_news_goes_to_all_at_once() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, SMALL_SWARM + 1) as swarm:
            telling, *others = (peer.swarm.membership for peer in swarm.peers.values())
            telling.describe(replace(telling.own, ends_in_s=0.0))
            await telling.announce_widely()
            assert all(telling.me in other.ended() for other in others)

    run_on("virtual", scenario)


@on_both_transports
def test_who_announces_widely_hears_what_they_say_now_and_not_what_their_last_heartbeats_said(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 6) as swarm:
            asking, *others = (peer.swarm.membership for peer in swarm.peers.values())
            for other in others:
                other.describe(replace(other.own, ends_in_s=100.0))
            await asking.announce_widely()
            said = asking.others_end_in_s()
            assert len(said) == len(others)
            assert all(in_s is not None and in_s > 90.0 for in_s in said.values())

    run_on(kind, scenario)
