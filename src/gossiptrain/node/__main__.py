"""`python -m gossiptrain.node PARENT_PID CONTROL_DESCRIPTOR MEMORY_DESCRIPTOR`: started by the trainer's handle.

Owns the life of the node's process: its log, its socket, the sign of life, and how it ends: with the trainer, with the
node in it, or on SIGTERM. What the node does is `process`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from typing import NoReturn

import uvloop

from gossiptrain import logs
from gossiptrain.errors import GossipError, UsageError
from gossiptrain.net import trace
from gossiptrain.node import control
from gossiptrain.node.control_socket import ControlClosedError, NodeSide
from gossiptrain.node.lifeline import die_with_parent
from gossiptrain.node.process import serve

_logger = logging.getLogger(__package__)
ALIVE_S = 1.0


async def _live(connection: socket.socket, memory_descriptor: int) -> int:
    trainer = await NodeSide.attach(connection)
    alive = asyncio.create_task(_say_alive(trainer))
    code = 0
    try:
        code = await _serve(trainer, memory_descriptor)
    except* ControlClosedError:
        pass
    finally:
        alive.cancel()
    return code


async def _serve(trainer: NodeSide, memory_descriptor: int) -> int:
    try:
        await serve(trainer, memory_descriptor)
    except GossipError as error:
        _logger.error("the node ends: %s", error.what)
        failed = control.NodeFailed(error=type(error).__name__, what=error.what, cause=error.cause, remedy=error.remedy)
        trainer.send(failed)
        await trainer.flush()
        return 1
    return 0


async def _say_alive(trainer: NodeSide) -> NoReturn:
    while True:
        trainer.send(control.Alive())
        await asyncio.sleep(ALIVE_S)


def main() -> NoReturn:
    """Ends this process with the node's code."""
    parent_pid, control_descriptor, memory_descriptor = map(int, sys.argv[1:4])
    die_with_parent(parent_pid)
    # Ctrl+C is for the trainer, which then tells this process what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=control_descriptor)
    # What was imported stays. Looking through it again and again took a fifth of a node's processor time.
    gc.freeze()
    code = 1
    try:
        code = uvloop.run(_live(connection, memory_descriptor))
    except* MemoryError:
        _logger.error("the node ends: there is no more memory for it")
    sys.exit(code)


if __name__ == "__main__":
    try:
        logs.start()
    except UsageError as error:  # Whoever began the trainer in a program of their own has not been told yet.
        logs.start(logs.USUAL)
        _logger.warning("%s %s", error.what, error.remedy)
    trace.start_as_told()
    main()
