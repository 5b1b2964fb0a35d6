"""The life of the node's process: what it is given, when it is up, and how it ends.

Owns the order in which the control socket, the shared memory, the identity and the transport are taken and let go of.
It ends with the trainer, with the node in it, or on SIGTERM. What the node does is `process`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from typing import NoReturn

import uvloop

from gossiptrain.errors import GossipError
from gossiptrain.net.identity import Identity
from gossiptrain.net.incarnation import next_incarnation
from gossiptrain.net.old_ports import start_at_old_ports
from gossiptrain.node import control
from gossiptrain.node.lifeline import die_with_parent
from gossiptrain.node.memory import SharedVectors
from gossiptrain.node.process import Node

_logger = logging.getLogger(__package__)
ALIVE_S = 1.0


async def _live(connection: socket.socket, memory_descriptor: int) -> int:
    trainer = await control.NodeSide.attach(connection)
    alive = asyncio.create_task(_say_alive(trainer))
    try:
        configure = await trainer.receive()
        if not isinstance(configure, control.Configure):
            return 1
        memory = SharedVectors(memory_descriptor, configure.fingerprint.elements, state_vectors=configure.state_vectors)
        return await _live_as(configure, trainer, memory)
    except* control.ControlClosedError:
        pass
    finally:
        alive.cancel()
    return 0


async def _live_as(configure: control.Configure, trainer: control.NodeSide, memory: SharedVectors) -> int:
    network = configure.network
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    try:
        with Identity.kept_or_new(network.identity_path) as identity:
            transport = await start_at_old_ports(network, identity, configure.ports)
            incarnation = next_incarnation(network.identity_path)
            trainer.send(
                control.NodeReady(
                    peer_id=transport.peer_id, addresses=transport.addresses, daemon_pid=transport.daemon_pid
                )
            )
            work = asyncio.create_task(Node(trainer, memory, configure, transport, incarnation=incarnation).run())
            interrupted = asyncio.create_task(stopped.wait())
            try:
                await asyncio.wait([work, interrupted], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                for task in (work, interrupted):
                    task.cancel()
                await asyncio.gather(work, interrupted, return_exceptions=True)
                await transport.close()
    except GossipError as error:
        _logger.error("the node ends: %s", error.what)
        failed = control.NodeFailed(error=type(error).__name__, what=error.what, cause=error.cause, remedy=error.remedy)
        trainer.send(failed)
        await trainer.flush()
        return 1
    return 0


async def _say_alive(trainer: control.NodeSide) -> NoReturn:
    while True:
        trainer.send(control.Alive())
        await asyncio.sleep(ALIVE_S)


def main() -> NoReturn:
    """Entry: `python -m gossiptrain.node PARENT_PID CONTROL_DESCRIPTOR MEMORY_DESCRIPTOR`."""
    parent_pid, control_descriptor, memory_descriptor = map(int, sys.argv[1:4])
    die_with_parent(parent_pid)
    # Ctrl+C is for the trainer, which then tells this process what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=control_descriptor)
    code = 1
    try:
        code = uvloop.run(_live(connection, memory_descriptor))
    except* MemoryError:
        _logger.error("the node ends: there is no more memory for it")
    sys.exit(code)
