"""A peer that only helps others find each other: an address that stays, and a part of the directory.

Owns the life of such a helper. It trains nothing, holds no weights and belongs to no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import NodeFailedError
from gossiptrain.net.framing import opened
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.reservation import HOP, reserve
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.dialling import dial_all

STARTS = 6
ASK_S = 5.0
MUCH_BYTES = 1 << 20


async def help_others(
    network: NetworkSettings,
    identity: Identity,
    *,
    on_ready: Callable[[tuple[str, ...]], None],
    stop: asyncio.Event,
) -> None:
    """Helps until `stop` is set. `on_ready` is given the addresses under which others reach this helper.

    Raises PortInUseError, PeerUnreachableError where none of the initial peers answers, NodeFailedError.
    """
    # A helper is there to be reached: it carries for others and is never carried by its own initial peers.
    transport = await _started(network.model_copy(update={"initial_peers": ()}), identity)
    try:
        await Admission(transport, None, timing=network.timing).open()
        await _join_directory(transport, network)
        on_ready(transport.addresses)
        ended = asyncio.create_task(transport.daemon_exited.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, stopped):
            task.cancel()
        if not stop.is_set():
            raise NodeFailedError("libp2p's daemon has ended.", remedy="Start the helper again.")
    finally:
        await transport.close()


async def _started(network: NetworkSettings, identity: Identity) -> Libp2pTransport:
    """A transport that carries much, where that is wanted.

    Of libp2p's daemon one start in four carries only 128 KiB on a connection, whatever it is told, since it starts two
    relays that race each other. It says so to whoever asks for a place, so it is asked, and started anew.
    """
    for _ in range(STARTS):
        transport = await Libp2pTransport.start(network, identity, helper=True)
        try:
            does = network.relay is False or await _carries_much(transport)
        except BaseException:
            await transport.close()
            raise
        if does:
            return transport
        await transport.close()
    return await Libp2pTransport.start(network, identity, helper=True)


async def _carries_much(relay: Libp2pTransport) -> bool:
    """Also where it cannot be asked: that is not mended by starting it anew."""
    nearby = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), relay=False)
    asker = await Libp2pTransport.start(nearby, Identity.generate())
    try:
        async with asyncio.timeout(ASK_S):
            await asker.reach(relay.peer_id, relay.addresses)
            async with opened(asker, relay.peer_id, protocol=HOP) as stream:
                given = await reserve(stream)
        return given is None or given.data_bytes >= MUCH_BYTES
    except (ConnectionError, TimeoutError):
        return True
    finally:
        await asker.close()


async def _join_directory(transport: Libp2pTransport, network: NetworkSettings) -> None:
    dialled = await dial_all(transport, network.initial_peers, timeout_s=network.timing.dial_timeout_s)
    dialled.check()
    await transport.bootstrap(dialled.reached)
