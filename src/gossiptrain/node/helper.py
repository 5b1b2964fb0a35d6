"""A peer that only helps others find each other: an address that stays, and a part of the directory.

Owns the life of such a helper. It trains nothing, holds no weights and belongs to no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import NodeFailedError
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.dialling import dial_all


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
    transport = await Libp2pTransport.start(network.model_copy(update={"initial_peers": ()}), identity)
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


async def _join_directory(transport: Libp2pTransport, network: NetworkSettings) -> None:
    dialled = await dial_all(transport, network.initial_peers, timeout_s=network.timing.dial_timeout_s)
    dialled.check()
    await transport.bootstrap(dialled.reached)
