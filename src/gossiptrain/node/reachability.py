"""What the node finds out of whether others can dial it, and what follows.

Owns when others are asked, who of them could carry for this peer, that it says of itself whether it can carry, and what
a person is told. Does not know how one is asked, nor how a place at a relay is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from gossiptrain.config import NetworkSettings
from gossiptrain.net.libp2p.dial_back import ASK_EVERY_S, Verdict
from gossiptrain.net.libp2p.relay_places import relays_in
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.swarm.peer import SwarmPeer

PERIOD_S = 2.0
ASK_AGAIN_S = {"unknown": 1.2 * ASK_EVERY_S}
"""By what was found, after how long others are asked again; else after `SETTLED_S`."""
SETTLED_S = 60.0
MOST_RELAYS = 8
"""Members that could carry for this peer; anybody may say that he could."""
ASKED = 3
"""So many are asked at once."""


class Reachability:
    """Of one peer."""

    def __init__(
        self, peer: SwarmPeer, transport: Libp2pTransport, network: NetworkSettings, tell: Callable[[str, bool], None]
    ) -> None:
        """tell: takes what a person should know, and whether it is a warning."""
        self.verdict: Verdict = "unknown"
        self._peer = peer
        self._transport = transport
        self._mode = network.relay
        self._named = relays_in(network.initial_peers, anywhere=network.relay is True)
        self._tell = tell
        self._told = ""

    async def run(self) -> None:
        """Until cancelled; returns at once where this peer is neither to be carried nor to carry."""
        if self._mode is False:
            return
        clock, places = self._transport.clock, self._transport.places
        ask_at_s = clock.now()
        while True:
            if places.relays != (relays := self._relays()):
                places.relays = relays
                await places.refresh()
            if clock.now() >= ask_at_s and (asked := self._asked()):
                await self._find_out(asked)
                ask_at_s = clock.now() + ASK_AGAIN_S.get(self.verdict, SETTLED_S)
            self._say(self._in_words())
            await clock.sleep(PERIOD_S)

    def _relays(self) -> dict[PeerId, tuple[str, ...]]:
        """Initial peers, and members that say that others can dial them."""
        live = self._peer.membership.live()
        told = [address for heartbeat in live.values() if heartbeat.carries for address in heartbeat.addresses]
        own = {self._transport.peer_id}
        found = {**self._named, **relays_in(told, anywhere=False)}
        known = [(relay, addresses) for relay, addresses in found.items() if relay not in own]
        return dict(known[: max(MOST_RELAYS, len(self._named))])

    def _asked(self) -> list[PeerId]:
        live = self._peer.membership.live()
        others = sorted(live, key=lambda peer: not live[peer].carries)
        return list(dict.fromkeys((*self._named, *others)))[:ASKED]

    async def _find_out(self, asked: list[PeerId]) -> None:
        found = await self._transport.dial_back.verdict(asked)
        if found != "unknown":
            self.verdict = found
        is_open = self.verdict == "open"
        places = self._transport.places
        places.wanted = self._mode is True or not is_open
        await places.refresh()
        with contextlib.suppress(UnreachableError):  # where the daemon has ended, others notice it
            await self._transport.refresh_addresses()
        carries = is_open or (self._mode is True and self.verdict != "closed")
        membership = self._peer.membership
        membership.describe(replace(membership.own, carries=carries))

    def _say(self, text: str) -> None:
        if text and text != self._told:
            self._told = text
            self._tell(text, self.verdict == "closed" and not self._transport.places.held)

    def _in_words(self) -> str:
        held = self._transport.places.held
        through = " and ".join(f"…{relay[-6:]}" for relay in held)
        if self.verdict == "open":
            return "others can reach this peer, and it carries for those that nobody can dial"
        if self.verdict not in ("closed", "translated"):
            return ""
        seen = (
            "not reachable from outside: the router lets nobody in"
            if self.verdict == "closed"
            else "a router stands before this peer, and lets in at least those that were called"
        )
        if held:
            return f"{seen}; others come through {through}, and parameters go directly where both routers allow it"
        if self.verdict == "translated":
            return f"{seen}; no peer is there to carry for it"
        return (
            f"{seen}, and no peer that can be reached carries for this one: it meets only those that it can call. "
            "Forward a port of the router to it, or have somebody with a public address run `gossip bootstrap`."
        )
