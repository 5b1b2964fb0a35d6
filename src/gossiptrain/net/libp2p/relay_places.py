"""Places at relays, through which those reach this peer that cannot dial it.

Owns which relays are asked, that a place is asked for again before it could be gone, that there are two wherever there
can be, so that the end of one relay costs nothing, and the addresses that lead through them. Does not know who can be a
relay: it is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from gossiptrain.core.recent import Recent
from gossiptrain.net.addresses import Address, readable_addresses
from gossiptrain.net.libp2p.reservation import HOP, Reservation, reserve
from gossiptrain.net.transport import Clock, PeerId, Stream, UnreachableError

_logger = logging.getLogger(__package__)
PLACES = 2
MAX_ADDRESSES = 2
"""Of one relay, that are told others."""
PERIOD_S = 5.0
"""A relay that has ended or started anew is noticed after so long."""
RETRY_S = 20.0
"""A relay that has refused, or does not answer, is asked again after so long."""
ASK_S = 3.0
MAX_REMEMBERED = 256

Relays = Mapping[PeerId, Sequence[str]]
"""By relay, the addresses at which others reach it."""


class RelayPlaces:
    """The places of one peer."""

    def __init__(
        self, peer: PeerId, clock: Clock, open_stream: Callable[[PeerId, str], Awaitable[Stream]], *, wanted: bool
    ) -> None:
        """open_stream: to a relay, of a protocol. Raises UnreachableError."""
        self.wanted = wanted
        """Whether to have any."""
        self.relays: Relays = {}
        """Who could carry for this peer, those that are to be asked first in front."""
        self._peer = peer
        self._clock = clock
        self._open_stream = open_stream
        self._held: dict[PeerId, Reservation] = {}
        self._not_before_s: Recent[PeerId, float] = Recent(MAX_REMEMBERED)

    @property
    def held(self) -> Collection[PeerId]:
        """The relays at which this peer has a place."""
        return self._held.keys()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others reach this peer through its relays, those in front that carry most on a connection."""
        return tuple(
            f"{address}/p2p-circuit/p2p/{self._peer}"
            for relay in sorted(self._held, key=lambda relay: -self._held[relay].data_bytes)
            for address in _tellable(self.relays.get(relay, ()))
        )

    async def run(self) -> None:
        """Keeps the places, until cancelled."""
        while True:
            await self._clock.sleep(PERIOD_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Asks again for the places that there are, and for as many as are missing."""
        if not self.wanted:
            self._held.clear()
            return
        known = [relay for relay in self._held if relay in self.relays]
        await asyncio.gather(*(self._ask(relay) for relay in known))
        for relay in [relay for relay in self._held if relay not in self.relays]:
            del self._held[relay]
        now_s = self._clock.now()
        others = [relay for relay in self.relays if relay not in self._held]
        due = [relay for relay in others if now_s >= self._not_before_s.get(relay, now_s)]
        missing = PLACES - len(self._held)
        await asyncio.gather(*(self._ask(relay) for relay in due[: max(0, missing)]))

    async def _ask(self, relay: PeerId) -> None:
        given = await self._reserved(relay)
        if given is not None:
            if relay not in self._held:
                _logger.info("%s carries for this peer, %d bytes on each connection", relay, given.data_bytes)
            self._held[relay] = given
            return
        self._held.pop(relay, None)
        self._not_before_s[relay] = self._clock.now() + RETRY_S

    async def _reserved(self, relay: PeerId) -> Reservation | None:
        try:
            async with self._clock.timeout(ASK_S):
                stream = await self._open_stream(relay, HOP)
                try:
                    return await reserve(stream)
                finally:
                    stream.abort()
        except (UnreachableError, ConnectionError, TimeoutError) as error:
            _logger.info("%s does not carry for this peer: %s", relay, str(error) or "no answer in time")
            return None


def relays_in(addresses: Iterable[str], *, anywhere: bool) -> dict[PeerId, tuple[str, ...]]:
    """Whoever of the peers at these addresses could be a relay for others: those at a public place.

    anywhere: also those at other places.
    """
    found: dict[PeerId, tuple[str, ...]] = {}
    for address in readable_addresses(addresses):
        if address.peer is not None and not address.relayed and (anywhere or is_public(address)):
            found[address.peer] = (*found.get(address.peer, ()), address.text)
    return found


def is_public(address: Address) -> bool:
    """Whether an address can be dialled from everywhere, as far as it shows."""
    return not address.relayed and (address.ip is None or address.ip.is_global)


def _tellable(addresses: Sequence[str]) -> list[str]:
    usable = [
        one
        for one in readable_addresses(addresses)
        if not one.relayed and (one.ip is None or not (one.ip.is_loopback or one.ip.is_unspecified))
    ]
    return [one.text for one in sorted(usable, key=lambda one: not is_public(one))][:MAX_ADDRESSES]
