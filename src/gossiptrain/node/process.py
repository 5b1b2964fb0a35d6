"""The node: the process beside the trainer that talks to other peers.

Owns the translation between the trainer's messages and the swarm. Ends when the trainer ends, when libp2p's daemon
ends or does not answer any more (the trainer starts a new node), or when told to leave. Does not touch models: it
sees flat vectors in shared memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
from typing import NoReturn

import uvloop

from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.errors import GossipError, NodeFailedError
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p import Libp2pTransport
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.node.lifeline import die_with_parent
from gossiptrain.node.memory import SharedVectors
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.membership import Change, OwnState
from gossiptrain.swarm.peer import AveragedRound, Surroundings, SwarmPeer
from gossiptrain.swarm.state import Donation

_logger = logging.getLogger(__package__)
ALIVE_S = 1.0
DAEMON_PROBE_S = 2.0
DAEMON_PATIENCE_S = 5.0


class Node:
    """Serves one trainer until it ends."""

    def __init__(
        self,
        trainer: control.NodeSide,
        memory: SharedVectors,
        configure: control.Configure,
        transport: Libp2pTransport,
    ) -> None:
        self._transport = transport
        self._trainer = trainer
        self._memory = memory
        self._configure = configure
        self._state_taken: asyncio.Future[control.StateTaken] | None = None
        self._end_told: asyncio.Task[None] | None = None
        self._peer: SwarmPeer

    async def run(self) -> None:
        """Joins the swarm and takes part until the trainer says `Leave`. Raises GossipError where it cannot."""
        configure = self._configure
        fingerprint = RunFingerprint(
            PROTOCOL_VERSION,
            configure.run,
            configure.task,
            configure.model,
            configure.elements,
            configure.strategy,
        )
        self._peer = SwarmPeer(
            Surroundings(self._transport, random.Random(os.urandom(16)), configure.incarnation),
            fingerprint,
            settings=configure.gossip,
            timing=configure.network.timing,
            donate=self._donate,
            weighs_average=configure.weighs_average,
            on_change=self._tell_change,
        )
        _logger.info("%s of run %s listens at %s", self._transport.peer_id, configure.run, self._transport.addresses)
        await self._peer.open()
        await self._join()
        background = [
            asyncio.create_task(self._peer.run()),
            asyncio.create_task(self._watch_daemon()),
        ]
        serving = asyncio.create_task(self._serve())
        try:
            done, _ = await asyncio.wait([serving, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._peer.leave()
        finally:
            for task in (serving, *background):
                task.cancel()
            await asyncio.gather(serving, *background, return_exceptions=True)

    async def _join(self) -> None:
        configure = self._configure
        try:
            await self._peer.join(configure.network.initial_peers)
        except GossipError:
            if configure.must_join:
                raise
        received = await self._peer.fetch_state(self._memory.state) if configure.take_state else None
        peers = len(self._peer.membership.live()) + 1
        _logger.info("joined %d others, state %s", peers - 1, received and f"of {received.donor}, step {received.step}")
        if received is None:
            self._trainer.send(control.Joined(donor=None, peers=peers))
            return
        self._trainer.send(
            control.Joined(
                donor=received.donor,
                step=received.step,
                samples=received.samples,
                seconds=received.seconds,
                size_bytes=received.size_bytes,
                peers=peers,
            )
        )

    async def _serve(self) -> None:
        """Does what the trainer says, in its order, until it says `Leave`; a round goes on beside."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                message = await self._trainer.receive()
                if isinstance(message, control.Progress):
                    await self._note_progress(message, tasks)
                elif isinstance(message, control.SnapshotTaken):
                    tasks.create_task(self._average(message))
                elif isinstance(message, control.EndsWanted):
                    tasks.create_task(self._tell_ends())
                elif isinstance(message, control.StateTaken) and self._state_taken is not None:
                    if not self._state_taken.done():
                        self._state_taken.set_result(message)
                elif isinstance(message, control.Leave):
                    return

    async def _note_progress(self, progress: control.Progress, tasks: asyncio.TaskGroup) -> None:
        membership = self._peer.membership
        own = membership.own
        # What others decide by whom they wait for; the next heartbeat may come too late for their round.
        finishing_now = progress.finishing and not own.finishing
        ready_again = progress.ready_in_s is not None and own.ready_in_s is None
        ended_now = progress.ends_in_s == 0 and own.ends_in_s != 0
        membership.describe(
            OwnState(
                membership.own.round,
                progress.step,
                progress.ready_in_s,
                finishing=progress.finishing,
                ends_in_s=progress.ends_in_s,
            )
        )
        if ended_now:
            self._end_told = tasks.create_task(membership.meet_everyone())
        elif finishing_now or ready_again:
            tasks.create_task(membership.announce())

    async def _tell_ends(self) -> None:
        """Not before the others were met: what their last heartbeats said of their ends may be long ago."""
        if self._end_told is not None:
            await self._end_told
        self._trainer.send(control.Ends(in_s=self._peer.membership.others_end_in_s()))

    async def _average(self, taken: control.SnapshotTaken) -> None:
        buffers = Buffers(self._memory.snapshot, self._memory.average)
        averaged = await self._peer.average(buffers, samples=taken.samples, final=taken.final)
        self._trainer.send(_round_ended(averaged, self._transport))

    async def _donate(self) -> Donation | None:
        self._state_taken = asyncio.get_running_loop().create_future()
        self._trainer.send(control.StateWanted())
        taken = await self._state_taken
        return Donation(self._memory.state, taken.step, taken.samples, release=self._memory.forget_state)

    def _tell_change(self, change: Change, peer: PeerId) -> None:
        membership = self._peer.membership
        heartbeat = membership.live().get(peer)
        addresses = heartbeat.addresses if heartbeat is not None else ()
        peers = len(membership.live()) + 1
        self._trainer.send(control.PeerChanged(peer=peer, change=change, addresses=addresses, peers=peers))

    async def _watch_daemon(self) -> NoReturn:
        """Raises as soon as libp2p's daemon has ended or stopped answering."""
        while True:
            try:
                async with asyncio.timeout(DAEMON_PROBE_S):
                    await self._transport.daemon_exited.wait()
            except TimeoutError:
                if await self._transport.daemon_alive(DAEMON_PATIENCE_S):
                    continue
                raise NodeFailedError("libp2p's daemon does not answer any more.") from None
            raise NodeFailedError("libp2p's daemon has ended.")


def _round_ended(averaged: AveragedRound | None, transport: Libp2pTransport) -> control.RoundEnded:
    if averaged is None:
        return control.RoundEnded(committed=False, found_group=False, reason="no group was ready in time")
    result = averaged.result
    return control.RoundEnded(
        committed=result.committed,
        reason=result.reason,
        found_group=True,
        round=averaged.number,
        members=result.members,
        samples=averaged.samples,
        seconds=result.seconds,
        formation_seconds=averaged.formation_seconds,
        bytes_sent=result.bytes_sent,
        attempts=result.attempts,
        disagreement=result.disagreement,
        lanes={peer: transport.lanes_used.get(peer, "libp2p") for peer in result.members if peer != transport.peer_id},
    )


async def _live(connection: socket.socket, memory_descriptor: int) -> int:
    trainer = await control.NodeSide.attach(connection)
    alive = asyncio.create_task(_say_alive(trainer))
    try:
        configure = await trainer.receive()
        if not isinstance(configure, control.Configure):
            return 1
        memory = SharedVectors(memory_descriptor, configure.elements, state_vectors=configure.state_vectors)
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
            transport = await Libp2pTransport.start(network, identity)
            trainer.send(
                control.NodeReady(
                    peer_id=transport.peer_id, addresses=transport.addresses, daemon_pid=transport.daemon_pid
                )
            )
            work = asyncio.create_task(Node(trainer, memory, configure, transport).run())
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
    sys.exit(uvloop.run(_live(connection, memory_descriptor)))
