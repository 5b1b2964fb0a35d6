"""The course of a demonstration: start, train, stop, compare.

Owns when each of these is over, and what keys and signals do meanwhile. The peers are in `local_swarm`, the look is
in `demo_view`; whether the swarm did well is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import secrets
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gossiptrain.cli.comparison import Comparison, Measured, compare
from gossiptrain.cli.demo_view import DemoView
from gossiptrain.cli.evaluate import write_report
from gossiptrain.cli.join_text import join_command, own_program
from gossiptrain.cli.keys import Keys
from gossiptrain.cli.local_swarm import LocalPeer, LocalSwarm, SwarmPlan
from gossiptrain.cli.verdict import PeerOutcome, SwarmOutcome, lines_of, problems_of, report_of, success_of
from gossiptrain.errors import SwarmFailedError
from gossiptrain.events import Event
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.swarm_table import SwarmTable
from gossiptrain.monitor.words import counted
from gossiptrain.training.runs.folder import RUNS

MAX_PEERS = 16
TICK_S = 0.1
TRAIN_S, LEAST_TRAIN_S = 16.0, 5.0
WHOLE_S = 53.0
"""How long the whole demonstration should take where no time is given; it is promised to end within a minute."""
SLOW_START = 2.2
"""Seconds of the whole that each second of starting costs, itself included; measured on two cores, idle and busy."""
START_S, START_S_PER_PEER = 60.0, 15.0
STOP_S = 15.0
"""A peer that was asked to stop promises to end within 10 seconds; a busy computer gets a little more."""
STEPS_PER_S = 4000
"""More inner steps in a second than a peer can be expected to make: the learning rate's course is laid out so that
the swarm is stopped by time before it is over."""
STEPS_HEADROOM_S = 20.0
"""The first peer trains already while the others start."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for. seconds: None leaves the time to the demonstration."""

    peers: int
    seconds: float | None
    seed: int
    report: Path | None

    def plan(self) -> SwarmPlan:
        """A run of its own, with a name that no other run has, in a folder of that name."""
        name = f"demo-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        max_steps = round(((self.seconds or TRAIN_S) + STEPS_HEADROOM_S) * STEPS_PER_S)
        return SwarmPlan(run=name, folder=RUNS / name, parts=self.peers, max_steps=max_steps, seed=self.seed)


class Demonstration:
    """One demonstration, from the first peer to the verdict."""

    def __init__(self, order: Order, table: SwarmTable, view: DemoView) -> None:
        self._order = order
        self._plan = order.plan()
        self._table = table
        self._view = view
        self._events: list[tuple[str, Event]] = []
        self._swarm = LocalSwarm(self._plan, lambda label, event: self._events.append((label, event)))
        self._keys = Keys()
        self.picture = SwarmPicture("demo")
        """What the page shows."""
        self._orders: queue.Queue[tuple[str, str]] = queue.Queue(MAX_PEERS)
        """From the page, in the threads of its server."""
        self._training = False
        self._asked_to_stop = False
        self._ended_early = False
        self._saved = False
        """From here on there is nothing left to stop politely: Ctrl+C ends everything at once."""
        self._judged: list[LocalPeer] = []
        self._overdue: set[str] = set()
        self._reported_dead: set[str] = set()
        self._began_s = time.monotonic()
        self._ends_s = float("inf")

    @property
    def folder(self) -> Path:
        """Where the run folders of its peers are."""
        return self._plan.folder

    def take_order(self, what: str, whom: str) -> bool:
        """What somebody at the page wants: `kill` a peer by its label, or `add` one. False where that cannot be."""
        if not self._training or (what == "kill" and whom not in self._swarm.peers):
            return False
        with contextlib.suppress(queue.Full):
            self._orders.put_nowait((what, whom))
            return True
        return False

    async def run(self) -> SwarmOutcome:
        """Runs the whole course. On the way out, however it comes about, all processes are ended.

        Raises SwarmFailedError where the swarm never came to train, and CancelledError when told to end at once.
        """
        this = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, lambda: self._interrupt(this))
        try:
            async with self._swarm:
                with self._keys if self._view.offers_keys else contextlib.nullcontext():
                    await self._start()
                    seconds = await self._train()
                    await self._stop()
                compared = await compare(self._plan, self._judged, tick=self._tick)
                self._table.disagreement = compared.disagreement
                await self._tick("trained together, and once more alone")
        finally:
            self._view.close()
        outcome = self._outcome(compared, seconds)
        self._tell_outcome(outcome, compared.complaint)
        return outcome

    def _interrupt(self, demonstration: asyncio.Task[SwarmOutcome] | None) -> None:
        if not (self._saved or self._asked_to_stop):
            self._asked_to_stop = True
        elif demonstration is not None:
            demonstration.cancel()

    # The course.

    async def _start(self) -> None:
        start_timeout_s = START_S + START_S_PER_PEER * self._order.peers
        await self._swarm.start(self._order.peers)
        for label in self._swarm.peers:
            self._note_added(label)
        first = next(iter(self._swarm.peers.values()))
        self._view.tell(f"Peer {first.label} is started with: {_shown(first.command)}")
        await self._until(
            lambda: bool(first.addresses) or self._has_lost_one(), self._starting, timeout_s=start_timeout_s
        )
        if first.addresses:
            self._view.tell(f"To join it from another terminal: {self._join_command(first)}")
            await self._until(self._all_train, self._starting, timeout_s=start_timeout_s)
        if self._asked_to_stop:
            # Nobody has failed: it was asked for.
            raise asyncio.CancelledError
        for peer in self._swarm.peers.values():
            if not peer.is_training:
                state = "ended before it trained" if peer.child.exit_code is not None else "did not begin to train"
                raise SwarmFailedError(
                    f"Peer {peer.label} {state}.",
                    cause=peer.child.last_words or "The computer may be too busy.",
                    remedy=f"See what it does by itself: {_shown(peer.command)}",
                )

    async def _train(self) -> float:
        """Until the time is over, all peers have ended, or a person says so; returns the seconds."""
        started_s = time.monotonic()
        self._ends_s = started_s + (self._order.seconds or time_to_train(started_s - self._began_s))
        self._training = True

        def status() -> str:
            return f"training together, {max(0.0, self._ends_s - time.monotonic()):.0f} s left"

        await self._until(self._time_is_over, status)
        self._training = False
        self._ended_early = self._asked_to_stop
        return time.monotonic() - started_s

    def _time_is_over(self) -> bool:
        living = self._swarm.living
        if not all(peer.is_training for peer in living):
            # A peer that was just added is not shut out while it still joins.
            self._ends_s = max(self._ends_s, time.monotonic() + LEAST_TRAIN_S)
        return time.monotonic() >= self._ends_s or not living

    async def _stop(self) -> None:
        if self._asked_to_stop:
            self._view.tell("Stopping: the peers merge once more and save. Ctrl+C ends everything at once.")
        # A peer that was added so late that it does not train yet has nothing to show.
        peers = self._swarm.peers.values()
        self._judged = [p for p in peers if not p.was_killed and (p.is_training or p.child.exit_code is not None)]
        self._swarm.ask_to_stop()
        ends_s = time.monotonic() + STOP_S
        while self._swarm.living and time.monotonic() < ends_s:
            await self._tick("stopping: one last merge, and every peer saves its model")
        self._overdue = {peer.label for peer in self._swarm.living}
        await self._swarm.close()
        self._hear()
        self._saved = True

    def _outcome(self, compared: Comparison, seconds: float) -> SwarmOutcome:
        peers = []
        for peer in self._judged:
            measured = compared.by_label.get(peer.label, Measured())
            peers.append(
                PeerOutcome(
                    label=peer.label,
                    share=f"{peer.share + 1}/{self._plan.parts}",
                    steps=measured.steps,
                    together=measured.together,
                    alone=measured.alone,
                    bytes_sent=self._table.peers[peer.label].bytes_sent,
                    failure=self._failure_of(peer),
                )
            )
        return SwarmOutcome(
            peers=peers,
            killed=sum(peer.was_killed for peer in self._swarm.peers.values()),
            rounds=self._table.rounds,
            seconds=seconds,
            merged=compared.merged,
            disagreement=compared.disagreement,
            asked_to_stop=self._ended_early,
        )

    def _failure_of(self, peer: LocalPeer) -> str:
        if peer.label in self._overdue:
            return f"did not end within {STOP_S:.0f} s"
        return _end_of(peer) if peer.child.exit_code else "" if peer.saved else "could not save its model"

    def _tell_outcome(self, outcome: SwarmOutcome, complaint: str) -> None:
        if self._order.report is not None:
            write_report(self._order.report, report_of(outcome))
        for line in (*complaint.splitlines(), "", *lines_of(outcome)):
            self._view.tell(line)
        self._view.tell(f"All that was saved is in {self._plan.folder}")
        reachable_peer = next((peer for peer in self._judged if peer.addresses), self._swarm.peers["a"])
        self._view.tell(f"While it ran, another terminal could have joined with: {self._join_command(reachable_peer)}")
        if not problems_of(outcome):
            self._view.tell(success_of(outcome))

    # What goes on meanwhile.

    async def _until(
        self, condition: Callable[[], bool], status: Callable[[], str], *, timeout_s: float = float("inf")
    ) -> None:
        """Waits until the condition holds, the time is over, or a stop is asked for."""
        ends_s = time.monotonic() + timeout_s
        while time.monotonic() < ends_s and not condition() and not self._asked_to_stop:
            await self._tick(status())
        self._hear()

    async def _tick(self, status: str) -> None:
        """Obeys keys and the page, shows what goes on, and waits a moment."""
        for what, whom in (*self._keyed(), *self._ordered()):
            await self._obey(what, whom)
        self._hear()
        for peer in self._swarm.peers.values():
            if peer.child.exit_code and not peer.was_killed and peer.label not in self._reported_dead:
                self._reported_dead.add(peer.label)
                self._view.tell(f"peer {peer.label} {_end_of(peer)}")
        self._view.tick(status, keys=self._keys.works and self._training)
        await asyncio.sleep(TICK_S)

    def _hear(self) -> None:
        events, self._events[:] = self._events.copy(), []
        for label, event in events:
            self._table.handle(label, event)
            self.picture.handle(event, label=label)
            self._view.handle(label, event)

    def _keyed(self) -> list[tuple[str, str]]:
        names = {"q": "stop", "a": "add", "k": "kill"}
        return [(names[key], "") for key in self._keys.pressed() if key in names]

    def _ordered(self) -> list[tuple[str, str]]:
        orders = []
        with contextlib.suppress(queue.Empty):
            while True:
                orders.append(self._orders.get_nowait())
        return orders

    async def _obey(self, what: str, whom: str) -> None:
        """whom: empty for any of them."""
        if what == "stop":
            self._asked_to_stop = True
        elif what == "add" and self._training and len(self._swarm.living) < MAX_PEERS:
            self._note_added((await self._swarm.add()).label)
        elif what == "kill" and self._training and (killed := self._swarm.kill_one(whom)) is not None:
            self._table.killed(killed.label)
            self.picture.killed(killed.label)
            self._view.tell(f"peer {killed.label} was killed (SIGKILL to process {killed.child.pid})")

    def _note_added(self, label: str) -> None:
        self._table.add(label)
        self.picture.add(label)

    def _all_train(self) -> bool:
        return all(peer.is_training for peer in self._swarm.peers.values()) or self._has_lost_one()

    def _has_lost_one(self) -> bool:
        return len(self._swarm.living) < len(self._swarm.peers)

    def _starting(self) -> str:
        train = sum(peer.is_training for peer in self._swarm.peers.values())
        return f"starting {counted(self._order.peers, 'peer')}, {train} of them train"

    def _join_command(self, peer: LocalPeer) -> str:
        command = [*own_program(), "train", "digits", "--run", self._plan.run, "--max-steps", str(self._plan.max_steps)]
        return join_command(peer.addresses[0], command)


def time_to_train(start_took_s: float) -> float:
    """Seconds of training that keep the whole demonstration within its time, given how long the peers took to start.

    The comparison makes the same steps again, so half of what is left is for training. Other work on the computer
    that made the start slow makes the end slow, too: stopping, starting once more, and the comparison itself, whose
    few processes get less of a busy computer than the many of the swarm.
    """
    return max(LEAST_TRAIN_S, min(TRAIN_S, (WHOLE_S - SLOW_START * start_took_s) / 2))


def _end_of(peer: LocalPeer) -> str:
    code = peer.child.exit_code or 0
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    words = peer.child.last_words.splitlines()
    error = next((line for line in words if line.startswith("Error")), words[-1] if words else "")
    return f"ended with exit code {code}" + (f": {error}" if error else "")


def _shown(command: list[str]) -> str:
    return shlex.join([*own_program(), *command])
