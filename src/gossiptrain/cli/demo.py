"""`gossip demo`: a swarm of real peers on this computer, and whether it learns more together than alone.

Owns the command and its course: start, train, stop, compare, judge. The peers are `gossip train` processes, started
by `local_swarm`; what they have to show is in `verdict`.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from gossiptrain.cli import options
from gossiptrain.cli.baselines import AloneRun, Baselines
from gossiptrain.cli.demo_view import DemoView, demo_view
from gossiptrain.cli.evaluate import write_report
from gossiptrain.cli.join_text import join_command
from gossiptrain.cli.keys import Keys
from gossiptrain.cli.local_swarm import LocalPeer, LocalSwarm, SwarmPlan
from gossiptrain.cli.verdict import Outcome, PeerOutcome, lines_of, problems_of, report_of, success_of
from gossiptrain.errors import SwarmFailedError, UsageError
from gossiptrain.monitor.swarm_table import SwarmTable
from gossiptrain.monitor.view import Format
from gossiptrain.monitor.words import counted
from gossiptrain.training.events import Event
from gossiptrain.training.run_folder import RUNS

TICK_S = 0.1
TRAIN_S, LEAST_TRAIN_S = 16.0, 5.0
WHOLE_S = 53.0
"""How long the whole demonstration should take where no time is given; it is promised to end within a minute."""
START_S, START_S_PER_PEER = 60.0, 15.0
STOP_S = 15.0
"""A peer that was asked to stop promises to end within 10 seconds; a busy computer gets a little more."""
STEPS_PER_S = 4000
"""More inner steps in a second than a peer can be expected to make: the learning rate's course is laid out so that
the swarm is stopped by time before it is over."""
STEPS_HEADROOM_S = 20.0
"""The first peer trains already while the others start."""


def demo(
    peers: Annotated[int, typer.Option(min=2, max=16, help="How many peers to start.")] = 4,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=86_400.0,
            help="How long all of them train together (16, and less where the computer is so busy that the whole "
            "would take over a minute)",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the first peer's parameters.")] = 0,
    report: options.ReportFile = None,
    log_format: Annotated[str, typer.Option(metavar="auto|live|plain|json", help="How progress is shown.")] = "auto",
) -> None:
    """Shows a swarm on this computer: real peers, each with its own part of the digits, train one model together.

    In a terminal, [k] kills a random peer, [a] adds one, [q] stops and saves. At the end every peer is compared with
    itself trained alone. Ends with 0 only if all did better together.

    Example:  gossip demo --report demo.json
    """
    if log_format not in get_args(Format):
        raise UsageError(f"There is no log format {log_format!r}.", remedy="Use auto, live, plain or json.")
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"The report {report} cannot be written: there is no folder {report.absolute().parent}.")
    order = Order(peers=peers, seconds=seconds, seed=seed, report=report)
    table = SwarmTable(key_help="")
    view = demo_view(cast(Format, log_format), sys.stdout, table)
    try:
        outcome = asyncio.run(Demonstration(order, table, view).run())
    except asyncio.CancelledError:
        # Told to end at once; all processes are gone already.
        raise KeyboardInterrupt from None
    if problems := problems_of(outcome):
        raise SwarmFailedError(
            "The swarm did not do what it should: " + "; ".join(problems) + ".",
            cause="Peers that get too little of a busy computer, or too little time, may not get far enough.",
            remedy="Try again, with more time: gossip demo --seconds 30.",
        )


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
        self._training = False
        self._asked_to_stop = False
        self._ended_early = False
        self._saved = False
        """From here on there is nothing left to stop politely: Ctrl+C ends everything at once."""
        self._judged: list[LocalPeer] = []
        self._began_s = time.monotonic()
        self._ends_s = float("inf")

    async def run(self) -> Outcome:
        """Runs the whole course. On the way out, however it comes about, all processes are ended.

        Raises SwarmFailedError where the swarm never came to train, and CancelledError when told to end at once.
        """
        this = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, lambda: self._interrupt(this))
        try:
            async with self._swarm:
                with self._keys:
                    await self._start()
                    seconds = await self._train()
                    await self._stop()
                outcome = await self._compare(seconds)
        finally:
            self._view.close()
        self._tell_outcome(outcome)
        return outcome

    def _interrupt(self, demonstration: asyncio.Task[Outcome] | None) -> None:
        if not (self._saved or self._asked_to_stop):
            self._asked_to_stop = True
        elif demonstration is not None:
            demonstration.cancel()

    # The course.

    async def _start(self) -> None:
        patience_s = START_S + START_S_PER_PEER * self._order.peers
        await self._swarm.start(self._order.peers)
        for label in self._swarm.peers:
            self._table.add(label)
        first = next(iter(self._swarm.peers.values()))
        self._view.tell(f"Peer {first.label} is started with: {_shown(first.command)}")
        await self._until(lambda: bool(first.addresses) or self._has_lost_one(), self._starting, timeout_s=patience_s)
        if first.addresses:
            self._view.tell(f"To join it from another terminal: {self._join_command(first)}")
            await self._until(self._all_train, self._starting, timeout_s=patience_s)
        if self._asked_to_stop:
            raise SwarmFailedError("The demonstration was stopped before all peers trained.")
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
            # A peer that was added is not left standing at the door.
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
        await self._swarm.close()
        self._hear()
        self._saved = True

    async def _compare(self, seconds: float) -> Outcome:
        # Imported late: torch takes a while.
        from gossiptrain.cli.final_models import measure

        final = measure({peer.label: peer.folder for peer in self._judged}, task="digits")
        self._table.disagreement = final.disagreement
        runs = {
            label: self._alone_run(self._swarm.peers[label], max(1, model.own_steps))
            for label, model in final.models.items()
        }
        async with Baselines(list(runs.values())) as baselines:
            while not baselines.are_over:
                await self._tick(
                    f"for comparison, each peer's training once more, alone: {100 * baselines.share_done:.0f} %"
                )
            if baselines.last_words:
                self._view.tell(baselines.last_words)
        peers = []
        for peer in self._judged:
            model, run = final.models.get(peer.label), runs.get(peer.label)
            peers.append(
                PeerOutcome(
                    label=peer.label,
                    share=f"{peer.share + 1}/{self._plan.parts}",
                    steps=model.own_steps if model else 0,
                    together=model.accuracy if model else None,
                    alone=run.accuracy if run else None,
                    bytes_sent=self._table.peers[peer.label].bytes_sent,
                    failure=_failure(peer),
                )
            )
        return Outcome(
            peers=peers,
            killed=sum(peer.was_killed for peer in self._swarm.peers.values()),
            rounds=self._table.rounds,
            seconds=seconds,
            merged=final.merged,
            disagreement=final.disagreement,
            asked_to_stop=self._ended_early,
        )

    def _alone_run(self, peer: LocalPeer, steps: int) -> AloneRun:
        return AloneRun(self._plan.alone_command(peer.share, out=f"alone-{peer.label}", steps=steps), steps)

    def _tell_outcome(self, outcome: Outcome) -> None:
        if self._order.report is not None:
            write_report(self._order.report, report_of(outcome))
        for line in ("", *lines_of(outcome)):
            self._view.tell(line)
        self._view.tell(f"All that was saved is in {self._plan.folder}")
        first = next(iter(self._swarm.peers.values()))
        self._view.tell(f"While it ran, another terminal could have joined with: {self._join_command(first)}")
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
        """Obeys keys, shows what goes on, and waits a moment."""
        await self._obey_keys()
        self._hear()
        self._view.tick(status, keys=self._keys.works and self._training)
        await asyncio.sleep(TICK_S)

    def _hear(self) -> None:
        events, self._events[:] = self._events.copy(), []
        for label, event in events:
            self._table.handle(label, event)
            self._view.handle(label, event)

    async def _obey_keys(self) -> None:
        for key in self._keys.pressed():
            if key == "q":
                self._asked_to_stop = True
            elif key == "a" and self._training:
                self._table.add((await self._swarm.add()).label)
            elif key == "k" and self._training and (killed := self._swarm.kill_one()) is not None:
                self._table.killed(killed.label)
                self._view.tell(f"peer {killed.label} was killed (SIGKILL to process {killed.child.pid})")

    def _all_train(self) -> bool:
        return all(peer.is_training for peer in self._swarm.peers.values()) or self._has_lost_one()

    def _has_lost_one(self) -> bool:
        return len(self._swarm.living) < len(self._swarm.peers)

    def _starting(self) -> str:
        train = sum(peer.is_training for peer in self._swarm.peers.values())
        return f"starting {counted(self._order.peers, 'peer')}, {train} of them train"

    def _join_command(self, peer: LocalPeer) -> str:
        return join_command(peer.addresses[0], ["gossip", "train", "digits", "--run", self._plan.run])


def time_to_train(start_took_s: float) -> float:
    """Seconds of training that keep the whole demonstration within its time, given how long the peers took to start.

    The comparison makes the same steps again, and those that the first peer made while the others started.
    """
    return max(LEAST_TRAIN_S, min(TRAIN_S, (WHOLE_S - 1.6 * start_took_s) / 2))


def _failure(peer: LocalPeer) -> str:
    code = peer.child.exit_code
    if code == -signal.SIGKILL:
        return f"did not end within {STOP_S:.0f} s"
    if code != 0:
        words = peer.child.last_words
        return f"ended with exit code {code}" + (f": {words.splitlines()[-1]}" if words else "")
    return "" if peer.saved else "could not save its model"


def _shown(command: list[str]) -> str:
    return shlex.join(["gossip", *command])
