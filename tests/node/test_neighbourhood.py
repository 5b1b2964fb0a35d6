"""What a node does where it is to find somebody on the local network."""

from __future__ import annotations

import asyncio
import random

import pytest

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.errors import PeerUnreachableError
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.node import neighbourhood
from gossiptrain.node.neighbourhood import Neighbourhood, cause_of_silence
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation
from tests.swarm.swarms import fingerprint


async def give_nothing(held: HeldAverage | None, fragment: int) -> Donation | None:
    return None


def test_where_nobody_is_found_it_ends_soon_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbourhood, "SEARCH_S", 0.3)

    async def main() -> None:
        network = NetworkSettings(search_local_network=True)
        environment = Environment(VirtualNetwork().transport("alice"), random.Random(1), 1)
        run = fingerprint(run="nobody trains this")
        peer = SwarmPeer(environment, run, settings=GossipSettings(), timing=network.timing, donate=give_nothing)
        nearby = Neighbourhood(peer, network)
        running = asyncio.create_task(nearby.run())
        with pytest.raises(PeerUnreachableError) as failed:
            await nearby.join()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert failed.value.exit_code == 13
        assert "nobody trains this" in failed.value.what
        assert "without --join" in failed.value.remedy

    asyncio.run(main())


def test_the_likelycause_of_silence_is_told_by_what_was_heard() -> None:
    assert "multicast passes" in cause_of_silence(others=2, heard=False)
    assert "announces itself and cannot be reached" in cause_of_silence(others=2, heard=True)
    silent = cause_of_silence(others=0, heard=False)
    assert all(word in silent for word in ("subnet", "Wi-Fi", "5353", "--no-local-network"))
