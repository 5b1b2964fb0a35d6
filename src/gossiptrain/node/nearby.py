"""Which swarm is joined on the local network by one who was told no address, and perhaps not even the task.

Owns the question to all who announce themselves, and which swarm is meant where several answer. Does not know what is
believed of announcements (`net.local_network`), nor as what the own user is let in (`acquaintance`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gossiptrain.config import NetworkSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import PeerUnreachableError, RunMismatchError, UsageError
from gossiptrain.net.transport import Transport
from gossiptrain.node.acquaintance import Found, swarm_of
from gossiptrain.node.neighbourhood import JOIN_BY_ADDRESS, SEARCH_S, cause_of_silence
from gossiptrain.swarm.access.refusals import not_admitted
from gossiptrain.swarm.address_book import peer_of
from gossiptrain.swarm.dialling import dial_all

SETTLE_S = 0.5
"""So long others may still answer after the first: whoever is there does so within half a second."""
MOST_NAMED = 5

Announced = Callable[[float], Awaitable[Sequence[str]]]
"""Waits for at most so many seconds, and returns addresses that were announced since the last call."""


@dataclass(frozen=True)
class Wanted:
    """Which swarm is looked for; None where any of them will do."""

    task: str | None = None
    run: str | None = None

    def fits(self, fingerprint: RunFingerprint) -> bool:
        """Whether a swarm is one of these. A task of `gossip train` is the first word of what peers agree on."""
        of_task = self.task is None or fingerprint.task.partition("/")[0] == self.task
        return of_task and (self.run is None or fingerprint.run == self.run)

    def __str__(self) -> str:
        of_run = "" if self.run is None else f" of the run {self.run!r}"
        return of_run + ("" if self.task is None else f" that trains {self.task}")


async def find_nearby(transport: Transport, network: NetworkSettings, wanted: Wanted) -> Found:
    """The swarm of a neighbour. Raises PeerUnreachableError where there is none, UsageError where there are several,
    RunMismatchError where there is only one that does not let this peer in."""
    # Imported late, since nobody else has to wait for it.
    from gossiptrain.net.local_network import LocalNetwork

    try:
        local = LocalNetwork.open(None, transport.peer_id)
    except OSError as error:
        raise PeerUnreachableError(
            "The local network cannot be searched for peers.", cause=f"{error}.", remedy=JOIN_BY_ADDRESS
        ) from error
    try:
        local.look()
        return await NearbySearch(transport, network, wanted).among(
            lambda within_s: local.neighbours(within_s=within_s)
        )
    finally:
        await local.close()


class NearbySearch:
    """One search, at most `SEARCH_S` long."""

    def __init__(self, transport: Transport, network: NetworkSettings, wanted: Wanted) -> None:
        self._transport = transport
        self._network = network
        self._wanted = wanted
        self._found: dict[str, Found] = {}
        """By what peers of a run agree on."""
        self._refused: RunMismatchError | None = None
        self._heard = False
        self._asking: set[asyncio.Task[None]] = set()
        self._has_found = asyncio.Event()

    async def among(self, announced: Announced) -> Found:
        """The swarm that is meant, of those who are announced. Raises what `find_nearby` raises."""
        listening = asyncio.create_task(self._listen(announced), name="announcements of neighbours")
        try:
            with suppress(TimeoutError):
                async with self._transport.clock.timeout(SEARCH_S):
                    await self._has_found.wait()
            if self._has_found.is_set():
                await self._transport.clock.sleep(SETTLE_S)
        finally:
            tasks = (listening, *self._asking)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._meant()

    async def _listen(self, announced: Announced) -> None:
        while True:
            by_peer: dict[str, list[str]] = {}
            for address in await announced(SEARCH_S):
                by_peer.setdefault(peer_of(address) or "", []).append(address)
            for addresses in by_peer.values():
                # Each by itself, so that one behind a firewall holds up nobody else.
                task = asyncio.create_task(self._ask(addresses), name="question to a neighbour")
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _ask(self, addresses: Sequence[str]) -> None:
        self._heard = True
        dialled = await dial_all(self._transport, addresses, timeout_s=self._network.timing.dial_timeout_s)
        for peer in dialled.reached:
            try:
                found = await swarm_of(self._transport, peer, self._network)
                if (found.access is None) != self._network.open:
                    raise not_admitted(peer, "open" if found.access is None else "kind")
            except RunMismatchError as error:
                self._refused = self._refused or error
            except (PeerUnreachableError, ConnectionError, TimeoutError):
                pass
            else:
                self._found.setdefault(found.fingerprint.key, found)
                if self._wanted.fits(found.fingerprint):
                    self._has_found.set()

    def _meant(self) -> Found:
        fitting = [found for found in self._found.values() if self._wanted.fits(found.fingerprint)]
        # A run that was given no name has that of its task.
        usual = [found for found in fitting if found.fingerprint.run == self._wanted.task]
        if len(fitting) == 1 or len(usual) == 1:
            return (usual or fitting)[0]
        if fitting:
            raise UsageError(
                f"Several swarms{self._wanted} answer on the local network: {'; '.join(_named(fitting))}.",
                remedy="Say which: --run NAME, or --join with an address that a peer of it prints.",
            )
        if self._found:
            raise PeerUnreachableError(
                f"No peer{self._wanted} answers on the local network.",
                cause=f"Others do: {'; '.join(_named(list(self._found.values())))}.",
                remedy="Leave out what is otherwise there: --join takes it over from the swarm. Or start the first "
                "peer without --join.",
            )
        if self._refused is not None:
            raise self._refused
        raise PeerUnreachableError(
            f"No peer{self._wanted} answers on the local network.",
            cause=cause_of_silence(others=0, heard=self._heard),
            remedy=JOIN_BY_ADDRESS,
        )


def _named(swarms: Sequence[Found]) -> Iterator[str]:
    for found in swarms[:MOST_NAMED]:
        yield f"the run {found.fingerprint.run[:60]!r} of {found.fingerprint.task[:60]!r}"
    if len(swarms) > MOST_NAMED:
        yield f"{len(swarms) - MOST_NAMED} more"
