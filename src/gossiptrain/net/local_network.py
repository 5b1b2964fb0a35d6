"""Peers of one run find each other on the local network with no address: DNS-SD over multicast DNS (RFC 6763, 6762).

Owns what a peer announces there, and what is believed of what others announce. That is anybody's word: names of other
runs are passed over unread, the rest is bounded and checked, and an address counts only where it lies on a network that
this computer is attached to itself, so that nobody is sent to a third party. A run is announced by a digest, never by
its name. Does not know what peers say once they have met.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import ifaddr
from zeroconf import DNSQuestionType, InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf
from zeroconf import Error as ZeroconfError
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import parse_dial_address, readable_addresses
from gossiptrain.net.identity import is_peer_id
from gossiptrain.net.transport import PeerId

SERVICE = "_gossiptrain._tcp.local."
MAX_NEIGHBOURS = 32
"""So many peers are asked where they live; whoever announces more names is not heard."""
MAX_OF_EACH_RUN = 4
"""So many of them, where peers of any run are looked for: a large swarm leaves room for others."""
MAX_OTHERS = 1024
"""Names of other runs that are counted, for the words in which it is said that nobody was found."""
MAX_ADDRESSES = 4
"""Of one peer."""
RESOLVE_MS = 2000
_DIGEST_CHARS = 32
_PEER_CHARS = 20

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def announced_digest(run_key: str) -> str:
    """By which peers of a run know each other here: made of its key, which nobody can make of it."""
    return hashlib.sha256(f"gossiptrain local network\0{run_key}".encode()).hexdigest()[:_DIGEST_CHARS]


class LocalNetwork:
    """Announces one peer and looks for others of its run. Made by `open`; `close` takes back what was announced."""

    def __init__(
        self, zeroconf: AsyncZeroconf, run_key: str | None, peer: PeerId, networks: Sequence[IpNetwork]
    ) -> None:
        self.others: set[str] = set()
        """Names that peers of other runs have announced."""
        self._zeroconf = zeroconf
        self._digest = "" if run_key is None else announced_digest(run_key)
        self._peer = peer
        self._networks = networks
        self._found: asyncio.Queue[tuple[str, ...]] = asyncio.Queue(MAX_NEIGHBOURS)
        self._names: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._browser: AsyncServiceBrowser | None = None

    @classmethod
    def open(cls, run_key: str | None, peer: PeerId) -> LocalNetwork:
        """Begins to listen on all networks of this computer. run_key: None to look for peers of whatever run, and
        announce nothing. Raises OSError where that is not possible."""
        try:
            zeroconf = AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
        except (ZeroconfError, RuntimeError) as error:
            raise OSError(f"multicast DNS cannot be used: {error}") from error
        return cls(zeroconf, run_key, peer, tuple(attached_networks()))

    async def announce(self, addresses: Sequence[str]) -> None:
        """Says until `close` where this peer of a run lives; nothing where that is on no network.

        addresses: multiaddrs of this peer. Raises OSError.
        """
        places = _places(addresses)
        if not places:
            return
        port = places[0][1]
        info = AsyncServiceInfo(
            SERVICE,
            f"{self._digest}-{self._peer[-_PEER_CHARS:]}.{SERVICE}",
            port=port,
            parsed_addresses=[str(ip) for ip, its_port in places if its_port == port][:MAX_ADDRESSES],
            properties={"id": self._peer},
            server=f"gossiptrain-{self._peer[-_PEER_CHARS:]}.local.",
        )
        try:
            await (await self._zeroconf.async_register_service(info, allow_name_change=True))
        except ZeroconfError as error:
            raise OSError(f"multicast DNS cannot be used: {error}") from error

    def look(self) -> None:
        """From now on notes who announces itself as a peer of this run, for `neighbours`."""
        if self._browser is None:
            # Answers to one asker would reach only one of several programs on this computer that listen.
            self._browser = AsyncServiceBrowser(
                self._zeroconf.zeroconf, [SERVICE], handlers=[self._hear], question_type=DNSQuestionType.QM
            )

    async def neighbours(self, *, within_s: float, gather_s: float = 0.2) -> tuple[str, ...]:
        """Addresses, with `/p2p/ID`, of peers of this run that have been found since the last call.

        Waits for the first of them at most `within_s`, and then `gather_s` for more. Empty where there is none.
        """
        try:
            async with asyncio.timeout(within_s):
                found = await self._found.get()
        except TimeoutError:
            return ()
        await asyncio.sleep(gather_s)
        while not self._found.empty():
            found = (*found, *self._found.get_nowait())
        return found

    async def close(self) -> None:
        """Takes back what was announced, and ends."""
        if self._browser is not None:
            await self._browser.async_cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError, ZeroconfError):
            await self._zeroconf.async_close()

    def _hear(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Called with each name that is announced, whoever does it and whatever it is."""
        if state_change is ServiceStateChange.Removed or name in self._names:
            return
        run, _, peer = name.partition("-")
        if self._digest and run != self._digest:
            if len(self.others) < MAX_OTHERS:
                self.others.add(name)
        elif self._has_room_for(run) and not peer.startswith(f"{self._peer[-_PEER_CHARS:]}."):
            self._names.add(name)
            task = asyncio.create_task(self._resolve(zeroconf, name), name="question about a neighbour")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _has_room_for(self, run: str) -> bool:
        of_the_run = sum(name.startswith(f"{run}-") for name in self._names)
        return len(self._names) < MAX_NEIGHBOURS and (bool(self._digest) or of_the_run < MAX_OF_EACH_RUN)

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        info = AsyncServiceInfo(SERVICE, name)
        try:
            answered = await info.async_request(zeroconf, RESOLVE_MS, question_type=DNSQuestionType.QM)
        except (ZeroconfError, OSError, ValueError):
            answered = False
        if answered and (addresses := self._believed(info)):
            self._found.put_nowait(addresses)

    def _believed(self, info: AsyncServiceInfo) -> tuple[str, ...]:
        """The addresses of another peer, as far as they are what they should be."""
        said = info.properties.get(b"id") or b""
        peer = said.decode("ascii", "replace")
        if not is_peer_id(peer) or peer == self._peer:
            return ()
        hosts = [ip for ip in map(ipaddress.ip_address, info.parsed_addresses()) if self._is_attached(ip)]
        texts = [f"/ip{ip.version}/{ip}/tcp/{info.port}/p2p/{peer}" for ip in hosts[:MAX_ADDRESSES]]
        return tuple(_dialable(texts))

    def _is_attached(self, ip: IpAddress) -> bool:
        return not ip.is_loopback and any(ip in network for network in self._networks if network.version == ip.version)


def attached_networks() -> Iterator[IpNetwork]:
    """The networks, as ranges of addresses, to which this computer is attached."""
    for adapter in ifaddr.get_adapters():
        for one in adapter.ips:
            with suppress(ValueError):
                host = one.ip if isinstance(one.ip, str) else one.ip[0]
                yield ipaddress.ip_interface(f"{host}/{one.network_prefix}").network


def _places(addresses: Sequence[str]) -> list[tuple[IpAddress, int]]:
    """Where a peer takes TCP connections from the network."""
    return [
        (address.ip, address.port)
        for address in readable_addresses(addresses)
        if address.ip is not None and not address.ip.is_loopback and not address.relayed
        if address.place == f"/ip{address.ip.version}/{address.host}/tcp/{address.port}"
    ]


def _dialable(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        with suppress(AddressError):
            parse_dial_address(text)
            yield text
