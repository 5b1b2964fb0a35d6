"""The node: what beside the trainer talks to other peers.

Owns the translation between the trainer's messages and the swarm, and the order in which shared memory, identity and
transport are taken and let go of around it. Ends when libp2p's daemon ends or does not answer any more (the trainer
starts a new node), when told to leave, or on SIGTERM. Does not touch models: it sees flat vectors in shared memory, and
does not know how its process begins.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import NoReturn

from gossiptrain.core.codecs import prepare
from gossiptrain.errors import GossipError, NodeFailedError, NotAdmittedError
from gossiptrain.net.identity import Identity
from gossiptrain.net.incarnation import next_incarnation
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.old_ports import start_at_old_ports
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.node.access import Upkeep, access_of, mismatch_with
from gossiptrain.node.control_socket import ControlClosedError, NodeSide
from gossiptrain.node.donor import Donor
from gossiptrain.node.forecast import PROGRESS_S, Forecast
from gossiptrain.node.lookout import Lookout
from gossiptrain.node.memory import SharedVectors
from gossiptrain.node.neighbourhood import Neighbourhood
from gossiptrain.node.reachability import Reachability
from gossiptrain.node.snapshots import Snapshots
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.peer import Environment, SwarmPeer

_logger = logging.getLogger(__package__)
DAEMON_PROBE_S = 2.0
DAEMON_TIMEOUT_S = 5.0


class Node:
    """Serves one trainer until it ends."""

    def __init__(
        self,
        trainer: NodeSide,
        memory: SharedVectors,
        configure: control.Configure,
        transport: Libp2pTransport,
        *,
        incarnation: int,
        access: PrivateAccess | None,
    ) -> None:
        """access: what makes the peer a member of a private swarm; None for an open one."""
        self._transport = transport
        self._trainer = trainer
        self._memory = memory
        self._configure = configure
        self._forecast = Forecast()
        self._donor = Donor(
            trainer,
            memory,
            self._forecast,
            lengths=configure.state_lengths,
            moments=configure.fragments.lengths,
            average_is_state=configure.average_is_state,
        )
        self._snapshots = Snapshots(trainer, memory, configure.fragments, parts=configure.parts)
        self._incarnation = incarnation
        self._access = access
        self._state_read = asyncio.Event()
        self._peer: SwarmPeer
        self._neighbourhood: Neighbourhood
        self._tasks: asyncio.TaskGroup
        self._prepared: asyncio.Task[None]
        """Has compiled the loops of the codec; nothing but the first round waits for it."""
        self._beside: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Joins the swarm and takes part until the trainer says `Leave`. Raises GossipError where it cannot."""
        configure = self._configure
        self._peer = SwarmPeer(
            Environment(self._transport, random.Random(os.urandom(16)), self._incarnation, self._access),
            configure.fingerprint,
            settings=configure.gossip,
            timing=configure.network.timing,
            donate=self._donor.donate,
            donate_moments=self._donor.donate_moments,
            weighs_average=configure.weighs_average,
            recipe=configure.recipe,
            on_change=self._tell_change,
            report=lambda text: self._trainer.send(control.Joining(waits_for=text)),
        )
        own = replace(self._peer.membership.own, step=configure.step, joined=not configure.take_state)
        self._peer.membership.describe(own)
        _logger.info(
            "%s of run %s listens at %s", self._transport.peer_id, configure.fingerprint.run, self._transport.addresses
        )
        self._prepared = asyncio.create_task(self._prepare())
        await self._peer.open()
        serving = asyncio.create_task(self._serve())
        admission = self._peer.admission
        self._transport.bound_strangers(lambda peer: admission.has_admitted(peer) or admission.has_met(peer))
        reachability = Reachability(self._peer, self._transport, configure.network, self._tell_reached)
        self._neighbourhood = Neighbourhood(self._peer, configure.network)
        beside = [
            self._join(),
            self._peer.run(),
            self._watch_daemon(),
            self._watch_trainer(),
            self._neighbourhood.run(),
            reachability.run(),
        ]
        if configure.network.watch:
            beside.append(Lookout(self._peer, lambda seen: self._trainer.send(control.SwarmSeen(peers=seen))).run())
        if self._access is not None and self._access.founded_here:
            upkeep = Upkeep(configure.fingerprint, self._peer.membership, addresses=lambda: self._transport.addresses)
            beside.append(upkeep.run())
        background = [asyncio.create_task(work) for work in beside]
        try:
            await _until_done(serving, background)
            await self._peer.leave()
        finally:
            for task in (serving, *background, self._prepared):
                task.cancel()
            await asyncio.gather(serving, *background, self._prepared, return_exceptions=True)

    async def _prepare(self) -> None:
        if self._configure.gossip.wire_codec != "fp32":
            await asyncio.to_thread(prepare)

    async def _join(self) -> None:
        configure = self._configure
        try:
            await self._peer.join(configure.network.initial_peers, configure.network.known_peers)
            if configure.network.search_local_network and not self._peer.membership.live():
                await self._neighbourhood.join()
        except GossipError as error:
            if configure.must_join:
                raise await self._explained(error) from None
        received = await self._take_state() if configure.take_state else None
        moments = None
        if configure.takes_moments and received is not None and received.step > 0:
            moments = await self._take_moments(received)
        peers = len(self._peer.membership.participants()) + 1
        _logger.info("joined %d others, state %s", peers - 1, received and f"of {received.donor}, step {received.step}")
        trainers = len(self._peer.membership.trainers())
        self._trainer.send(control.Joined(received=received, has_moments=moments, peers=peers, trainers=trainers))

    async def _explained(self, error: GossipError) -> GossipError:
        """Peers of one user may hear of each other's runs, though each is a private swarm of its own."""
        if not isinstance(error, NotAdmittedError):
            return error
        configure, within_s = self._configure, self._configure.network.timing.dial_timeout_s
        addresses = configure.network.initial_peers
        known = await mismatch_with(self._transport, addresses, configure.fingerprint, within_s=within_s)
        return known or error

    async def _take_state(self) -> ReceivedState | None:
        return await self._peer.take_state(
            self._memory.state, lengths=self._configure.state_lengths, taken=self._hand_over
        )

    async def _take_moments(self, received: ReceivedState) -> bool:
        async def hand_over(fragment: int) -> None:
            await self._hand_over(fragment, received, moments=True)

        lengths = self._configure.fragments.lengths
        return await self._peer.take_moments(self._memory.state, lengths=lengths, first=received.donor, taken=hand_over)

    async def _hand_over(self, fragment: int, received: ReceivedState, *, moments: bool = False) -> None:
        self._state_read.clear()
        self._trainer.send(control.StateArrived(fragment=fragment, step=received.step, moments=moments))
        await self._state_read.wait()

    async def _serve(self) -> None:
        """Does what the trainer says, in its order, until it says `Leave`, which ends a round that goes on beside."""
        async with asyncio.TaskGroup() as self._tasks:
            while not isinstance(message := await self._trainer.receive(), control.Leave):
                self._forecast.heard(asyncio.get_running_loop().time())
                if isinstance(message, control.Progress):
                    self._note_progress(message)
                elif isinstance(message, control.SnapshotTaken | control.SnapshotRefused):
                    self._note_snapshot(message)
                elif isinstance(message, control.AverageRefused):
                    self._peer.last_average.forget()
                elif isinstance(message, control.Hasten):
                    self._peer.participation.hasten()
                elif isinstance(message, control.StateTaken):
                    self._donor.state_taken(message)
                elif isinstance(message, control.StateRead):
                    self._state_read.set()
            for task in tuple(self._beside):
                task.cancel()

    def _note_snapshot(self, message: control.SnapshotTaken | control.SnapshotRefused) -> None:
        if isinstance(message, control.SnapshotRefused) or message.asked:
            self._snapshots.answered(message)
        else:
            self._start(self._average(message))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _note_progress(self, progress: control.Progress) -> None:
        membership = self._peer.membership
        own = membership.own
        if progress.loss is not None:
            self._peer.status.note_loss(progress.step, progress.loss)
        # What others decide by whom they wait for; the next heartbeat may come too late for their round.
        ready_again = progress.ready_in_s is not None and own.ready_in_s is None
        ended_now = progress.ends_in_s == 0 and own.ends_in_s != 0
        self._tell_next_round()
        ready_in_s = own.ready_in_s if own.finishing else progress.ready_in_s
        membership.describe(replace(own, step=progress.step, ready_in_s=ready_in_s, ends_in_s=progress.ends_in_s))
        if ended_now:
            self._peer.participation.stop_finding()
            self._start(membership.announce_widely())
        elif ready_again:
            self._start(membership.announce())

    async def _average(self, taken: control.SnapshotTaken) -> None:
        await asyncio.shield(self._prepared)
        participation, own = self._peer.participation, self._snapshots
        own.begin(taken)
        if taken.last is not None:
            averaged = await participation.end(own, samples=taken.samples, farewell=taken.last)
        elif taken.everyone:
            averaged = await participation.merge(own, samples=taken.samples)
        else:
            averaged = await participation.average(own, samples=taken.samples)
        if averaged is not None:
            self._peer.status.note_round(averaged.number, averaged.result)
        self._tell_next_round()
        self._trainer.send(_round_ended(averaged, self._transport))

    def _tell_next_round(self) -> None:
        """By which the trainer knows the fragment that it brings next."""
        self._snapshots.tell_round(self._peer.membership.round)

    def _trainer_is_silent(self) -> bool:
        return self._forecast.is_stale(asyncio.get_running_loop().time())

    async def _watch_trainer(self) -> NoReturn:
        """Takes back what the trainer has said of when it is ready, once it has been silent for too long."""
        membership = self._peer.membership
        while True:
            await asyncio.sleep(PROGRESS_S / 2)
            if self._trainer_is_silent() and membership.own.ready_in_s is not None:
                membership.describe(replace(membership.own, ready_in_s=None))
                await membership.announce()

    def _tell_change(self, change: Change, peer: PeerId) -> None:
        membership = self._peer.membership
        if membership.only_watches(peer):
            return  # To who trains it is nobody.
        heartbeat = membership.said_by(peer)
        addresses, number = (heartbeat.addresses, heartbeat.round) if heartbeat is not None else ((), 0)
        peers = len(membership.participants()) + 1
        self._trainer.send(
            control.PeerChanged(
                peer=peer,
                change=change,
                addresses=addresses,
                peers=peers,
                trainers=len(membership.trainers()),
                round=number,
            )
        )

    def _tell_reached(self, text: str, warning: bool) -> None:
        self._trainer.send(control.Reached(text=text, warning=warning))

    async def _watch_daemon(self) -> NoReturn:
        """Raises as soon as libp2p's daemon has ended or stopped answering."""
        while True:
            try:
                async with asyncio.timeout(DAEMON_PROBE_S):
                    await self._transport.daemon_exited.wait()
            except TimeoutError:
                if await self._transport.daemon_alive(DAEMON_TIMEOUT_S):
                    continue
                raise NodeFailedError("libp2p's daemon does not answer any more.") from None
            raise NodeFailedError("libp2p's daemon has ended.")


async def serve(trainer: NodeSide, memory_descriptor: int) -> None:
    """Serves the trainer, from its first word to its last, or until SIGTERM.

    Raises ControlClosedError where the trainer has ended, and GossipError where the swarm cannot be taken part in.
    """
    configure = await trainer.receive()
    if not isinstance(configure, control.Configure):
        raise ControlClosedError
    memory = SharedVectors(memory_descriptor, configure.fragments.longest, state=configure.state_elements)
    network = configure.network
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with Identity.kept_or_new(network.identity_path) as identity:
        access = access_of(configure, identity.peer_id)
        transport = await start_at_old_ports(
            network, configure.ports, start=functools.partial(Libp2pTransport.start, identity=identity)
        )
        incarnation = next_incarnation(network.identity_path)
        trainer.send(
            control.NodeReady(peer_id=transport.peer_id, addresses=transport.addresses, daemon_pid=transport.daemon_pid)
        )
        node = Node(trainer, memory, configure, transport, incarnation=incarnation, access=access)
        work = asyncio.create_task(node.run())
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


async def _until_done(serving: asyncio.Task[None], background: Sequence[asyncio.Task[None]]) -> None:
    """Until `serving` ends, or one of the others fails; raises what it failed with."""
    running: set[asyncio.Task[None]] = {serving, *background}
    while serving in running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def _round_ended(averaged: AveragedRound | None, transport: Libp2pTransport) -> control.RoundEnded:
    members = averaged.result.members if averaged is not None else ()
    paths = {str(peer): transport.paths_used.get(peer, "libp2p") for peer in members if peer != transport.peer_id}
    return control.RoundEnded(averaged=averaged, paths=paths)
