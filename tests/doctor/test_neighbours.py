"""What is said of peers that announce themselves on the local network."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.doctor.finding import Finding
from gossiptrain.doctor.neighbours import check_neighbours
from gossiptrain.net.identity import Identity
from gossiptrain.net.local_network import LocalNetwork, attached_networks


async def found_while_announced() -> list[Finding]:
    local = LocalNetwork.open("some run", (peer := Identity.generate().peer_id))
    try:
        await local.announce([f"/ip4/198.51.100.7/tcp/4011/p2p/{peer}"])
        return await check_neighbours()
    finally:
        await local.close()


@pytest.mark.skipif(
    all(network.is_loopback for network in attached_networks() if network.version == 4),
    reason="this computer is on no network",
)
def test_a_peer_that_announces_itself_shows_that_multicast_passes() -> None:
    (finding,) = asyncio.run(found_while_announced())
    assert finding.verdict == "ok"
    assert "announce themselves" in finding.what


def test_that_multicast_cannot_be_used_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run_key: str, peer: str) -> LocalNetwork:
        raise OSError("no such device")

    monkeypatch.setattr(LocalNetwork, "open", refuse)
    (finding,) = asyncio.run(check_neighbours())
    assert finding.verdict == "warning"
    assert "no such device" in finding.what
