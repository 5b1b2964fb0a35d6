"""What a node makes of whether others can dial it: what it says of itself, and what a person is told."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from typing import cast

import pytest

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.net.libp2p.dial_back import DialBack
from gossiptrain.net.libp2p.libp2p_daemon import carries
from gossiptrain.net.libp2p.relay_places import RelayPlaces
from gossiptrain.net.libp2p.reservation import HOP
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import Stream, Transport
from gossiptrain.node.reachability import PERIOD_S, Reachability
from gossiptrain.swarm.peer import Environment, SwarmPeer
from tests.node.test_neighbourhood import give_nothing
from tests.swarm.swarms import fingerprint
from tests.transports import MakeTransport, run_on

OUTSIDE = ipaddress.ip_address("8.8.4.4")
PORT = 4011
ALICE = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"
BOB = "12D3KooWSNZCd8UVCqKaHJkHtS5cNUA6JEfG58C5gox27tUXCjsq"


async def swarm_peer(transport: Transport) -> SwarmPeer:
    environment = Environment(transport, random.Random(1), 1)
    peer = SwarmPeer(
        environment, fingerprint(), settings=GossipSettings(), timing=NetworkSettings().timing, donate=give_nothing
    )
    await peer.open()
    return peer


async def carry(stream: Stream) -> None:
    await stream.read_exactly(3)
    await stream.write(b"\x04\x08\x02\x28\x64")


def found_out(*, answers_at: int, network: NetworkSettings | None = None) -> tuple[list[tuple[str, bool]], bool, int]:
    """What is told, whether the peer says that it carries, and at how many relays it has a place.

    Another peer, which can carry, sees it at a public address, and answered there at this port; 0: nowhere.
    """
    told: list[tuple[str, bool]] = []
    settings = network or NetworkSettings()

    async def answering(host: IpAddress, ports: tuple[int, ...]) -> int:
        return answers_at

    async def refresh_addresses() -> None:
        pass

    async def scenario(make: MakeTransport) -> tuple[list[tuple[str, bool]], bool, int]:
        alice, bob = await make(ALICE), await make(BOB)
        one, other = await swarm_peer(alice), await swarm_peer(bob)
        await DialBack(bob, lambda stream: OUTSIDE).serve()
        await bob.serve(HOP, carry)
        await one.join(bob.addresses)
        bob.addresses = (f"/ip4/8.8.8.8/tcp/4001/p2p/{bob.peer_id}",)
        other.membership.describe(other.membership.own.__class__(carries=True))
        await other.membership.announce()
        alice.addresses = (f"/ip4/{OUTSIDE}/tcp/{PORT}/p2p/{alice.peer_id}",)
        real = cast(Libp2pTransport, alice)
        real.dial_back = DialBack(alice, lambda stream: None)
        real.places = RelayPlaces(alice.peer_id, alice.clock, alice.open_stream, wanted=carries(settings))
        real.refresh_addresses = refresh_addresses  # type: ignore[method-assign]
        reachability = Reachability(one, real, settings, lambda text, warning: told.append((text, warning)))
        running = asyncio.create_task(reachability.run())
        await alice.clock.sleep(3 * PERIOD_S)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told, one.membership.own.carries, len(real.places.held)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gossiptrain.net.libp2p.dial_back._answering", answering)
        return run_on("virtual", scenario)


def test_who_can_be_dialled_says_that_it_carries_and_needs_no_place() -> None:
    told, says_so, places = found_out(answers_at=PORT)
    assert (says_so, places) == (True, 0)
    assert told == [("others can reach this peer, and it carries for those that nobody can dial", False)]


def test_who_cannot_be_dialled_has_a_place_at_one_that_can_and_says_so() -> None:
    told, says_so, places = found_out(answers_at=0)
    assert (says_so, places) == (False, 1)
    assert [warning for _, warning in told] == [False]
    assert "lets nobody in; others come through" in told[0][0]


def test_who_is_told_not_to_is_neither_carried_nor_carries() -> None:
    assert found_out(answers_at=PORT, network=NetworkSettings(relay=False)) == ([], False, 0)


def test_who_is_told_to_has_a_place_although_it_can_be_dialled() -> None:
    assert found_out(answers_at=PORT, network=NetworkSettings(relay=True))[1:] == (True, 1)
