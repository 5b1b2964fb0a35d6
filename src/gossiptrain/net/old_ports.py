"""Listening where a peer listened before, so that the addresses that others keep of it stay true.

Owns which port a peer had, and that another one is taken where somebody else has it now. Does not know who keeps the
addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import PortInUseError
from gossiptrain.net.addresses import Address, parse_listen_address, readable_addresses

TRIES = 4
PAUSE_S = 0.25
"""Between tries: the daemon of a node that has just been killed may hold the port for another moment."""

TransportT = TypeVar("TransportT")


def ports_of(addresses: Iterable[str]) -> dict[str, int]:
    """The ports in addresses of one peer, by kind, such as `ip4/tcp`."""
    found: dict[str, int] = {}
    for address in readable_addresses(addresses):
        if address.ip is not None and not address.relayed:
            found.setdefault(_kind(address), address.port)
    return found


async def start_at_old_ports(
    network: NetworkSettings,
    ports: Mapping[str, int],
    *,
    start: Callable[[NetworkSettings], Awaitable[TransportT]],
) -> TransportT:
    """Starts a transport at the ports it had before wherever any port will do, and at others where those are taken.

    ports: as `ports_of` gives them. start: raises PortInUseError where somebody has a port. Raises what it raises.
    """
    wanted = _with_ports(network, ports)
    if wanted != network:
        for _ in range(TRIES):
            try:
                return await start(wanted)
            except PortInUseError:
                await asyncio.sleep(PAUSE_S)
    return await start(network)


def _with_ports(network: NetworkSettings, ports: Mapping[str, int]) -> NetworkSettings:
    if network.announce_maddrs:
        # The ports that others know are then those of a router.
        return network
    places = (_with_port(text, ports) for text in network.host_maddrs)
    return network.model_copy(update={"host_maddrs": tuple(places)})


def _with_port(text: str, ports: Mapping[str, int]) -> str:
    address = parse_listen_address(text)
    old = ports.get(_kind(address), 0)
    if address.port or not old:
        return text
    parts = text.split("/")
    parts[4] = str(old)  # /KIND/HOST/PROTOCOL/PORT...
    return "/".join(parts)


def _kind(address: Address) -> str:
    return f"{address.host_kind}/{address.transport}"
