"""A model's membership in a swarm: what the training thread and the node say to each other, at inner-step boundaries.

Owns the hook on the optimizer, the messages of the node and what they are to the training thread, in its own time. When
a round is due and what it does to the model is `rounds`. Does not know how peers find each other or move bytes: that is
the node's, in a process of its own, so training never waits for the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.guards import is_finite
from gossiptrain.errors import UsageError
from gossiptrain.net.framing import Message
from gossiptrain.node import control
from gossiptrain.node.handle import NodeHandle
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training import news
from gossiptrain.training.bus import EventBus
from gossiptrain.training.inbox import Inbox
from gossiptrain.training.plan import Names, planned
from gossiptrain.training.replica import Replica
from gossiptrain.training.rounds import Progress, Rounds

PROGRESS_S = 0.5
"""Period in which the node, and through it other peers, are told where this trainer stands."""
ENDS_ASKED_S = 0.2
"""Period in which a peer that has made its steps asks when others will have made theirs."""
LAST_WORD_S = 1.0
"""When the last other peer has left or died, how long a round with it that is still under way is waited for."""


class Gossip:
    """A model's membership in a swarm. Made by `gossip()`; use it as a context manager.

    Attributes:
        peers: living peers, this one included.
        rounds: committed rounds of this peer.
        bytes_sent: in those rounds.
        disagreement: of the last round's group before it averaged, relative to the size of the average.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        names: Names,
        settings: GossipSettings,
        network: NetworkSettings,
        take_state: bool,
        samples_per_step: int,
        bus: EventBus,
    ) -> None:
        if samples_per_step < 1:
            raise UsageError(f"samples_per_step is at least 1, not {samples_per_step}.")
        self._plan = planned(model, names, settings=settings, network=network, take_state=take_state)
        self.model = model
        self.settings = self._plan.settings
        self.network = network
        self.names = names
        self.bus = bus
        self.peers = 1
        self.rounds = 0
        self.bytes_sent = 0
        self.disagreement: float | None = None
        self.peer_id = ""
        self.addresses: tuple[str, ...] = ()
        self.samples_per_step = samples_per_step
        self.outer_state: Mapping[str, Tensor] = {}
        """What the strategy keeps, from a checkpoint; taken over when the block is entered."""
        self.contributing = True
        self.on_ready: Callable[[Gossip], None] = _announce_started
        """Called once the node is reachable, before the swarm is met."""
        self._ends_in_s: float | None = None
        self._optimizer = optimizer
        self._progress = Progress()
        self._inbox = Inbox(self._hear)
        self._finishing = False
        self._last_progress_s = 0.0
        self._said_alone = False
        self._ends: Sequence[float] | None = None
        """What the node has answered last, to a question that is open."""
        self._node: NodeHandle
        self._hook: Any = None
        self._merged = False
        self._inside = False
        self._rounds: Rounds

    def __enter__(self) -> Self:
        """Starts the node and joins the swarm; a late joiner's model then holds a living peer's parameters."""
        if self._hook is not None:
            raise UsageError("This swarm was entered before.", remedy="Call gossip() again for another `with` block.")
        self._node = NodeHandle(self._plan.launch, self._inbox.put)
        try:
            memory = Buffers(self._node.memory.snapshot, self._node.memory.average)
            replica = Replica(self._plan.flat, self._plan.strategy, memory)
            if self.outer_state:
                replica.restore(self.outer_state)
            self._rounds = Rounds(self.settings, self._plan.strategy, replica=replica, progress=self._progress)
            self._node.wait_until_joined()
            self._inbox.hear_all()
        except BaseException:
            self._node.close(grace_s=1.0)
            raise
        self._hook = self._optimizer.register_step_post_hook(self._after_step)
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Merges once more with whoever is there, unless the block raised, and leaves the swarm."""
        try:
            self._hook.remove()
            if kind is None and not self._merged:
                self.merge()
        finally:
            self._inside = False
            self._node.close()

    @property
    def step(self) -> int:
        """Inner steps made, counted on from the donor's where this peer joined late."""
        return self._progress.step

    @step.setter
    def step(self, step: int) -> None:
        self._progress.step = step

    def keep_outer_state(self) -> dict[str, Tensor]:
        """What has to be saved beside model and optimizer; empty where the strategy keeps nothing."""
        return self._rounds.replica.state()

    @property
    def is_alone(self) -> bool:
        """Whether no other living peer is known."""
        return self.peers < 2

    def merge(self, *, timeout_s: float | None = None) -> bool:
        """Waits for one last round and takes its whole average; says whether one took place.

        timeout_s: longest wait; by default twice `matchmaking_time`. A peer that is alone waits for nobody. Raises
        UsageError outside the `with` block.
        """
        if not self._inside:
            raise UsageError("merge() was called outside the `with` block: there is no swarm to merge with.")
        self._merged = True
        longest_s = 2 * self.settings.matchmaking_time if timeout_s is None else timeout_s
        self._finishing = True
        try:
            return self._merge_until(time.monotonic() + longest_s)
        finally:
            self._finishing = False
            self._tell_progress(ready_in_s=None)

    def _merge_until(self, deadline_s: float) -> bool:
        # A round under way is as good as one more where nothing has been learnt since its snapshot; others for whom it
        # is the last one then end with the same model as this peer.
        everyone = self.peers <= self.settings.gossip_group_size
        counts = everyone and self._rounds.in_flight and not self._rounds.learnt_since_snapshot
        rounds_before = self.rounds if counts else None
        self._inbox.hear_all()
        while time.monotonic() < deadline_s and self.contributing:
            if self.is_alone:
                deadline_s = min(deadline_s, time.monotonic() + LAST_WORD_S)
            if not self._rounds.in_flight:
                if rounds_before is not None and self.rounds > rounds_before:
                    return True
                if self.is_alone:
                    return False
                rounds_before = self.rounds
                self._tell_progress(ready_in_s=0.0)
                self._rounds.begin()
            self._tell_snapshot()
            self._inbox.hear_one(timeout_s=min(0.2, max(0.0, deadline_s - time.monotonic())))
        return rounds_before is not None and self.rounds > rounds_before

    def wait_for_peers(self, count: int, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Waits until so many peers live, this one included, and says whether they do.

        Newcomers are served meanwhile. until: asked five times a second; ends the waiting. Raises UsageError outside
        the `with` block.
        """
        if not self._inside:
            raise UsageError("wait_for_peers() was called outside the `with` block: nobody can be heard there.")
        while self.peers < count and not until():
            self._inbox.hear_one(timeout_s=0.2)
        return self.peers >= count

    def wait_for_others_to_end(self, longest_s: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Waits while others are about to make their last steps, so that all can merge once more together.

        Who does not say when it ends, or will not within `longest_s`, is not waited for. Newcomers are served
        meanwhile. until: asked several times a second; ends the waiting. Raises UsageError outside the `with` block.
        """
        if not self._inside:
            raise UsageError("wait_for_others_to_end() was called outside the `with` block: nobody can be heard there.")
        self._ends_in_s = 0.0
        self._tell_progress(ready_in_s=None)
        self._inbox.hear_all()
        deadline_s = time.monotonic() + longest_s
        while self.contributing and not until():
            others_end_in_s = self._ask_when_others_end(deadline_s)
            left_s = deadline_s - time.monotonic()
            if self.is_alone or left_s <= 0 or not any(in_s <= left_s for in_s in others_end_in_s):
                return
            self._inbox.hear_one(timeout_s=ENDS_ASKED_S)

    def _ask_when_others_end(self, deadline_s: float) -> Sequence[float]:
        """Empty where the node does not answer."""
        self._ends = None
        self._node.send(control.EndsWanted())
        while self._ends is None and not self.is_alone and time.monotonic() < deadline_s:
            self._inbox.hear_one(timeout_s=0.1)
        return self._ends or ()

    def expect_end(self, in_s: float) -> None:
        """Lets others know in how many seconds this peer expects to have made all its steps."""
        self._ends_in_s = in_s
        self._tell_progress(ready_in_s=self._ready_in_s(time.monotonic()))

    def listen(self) -> None:
        """Call now and then where the loop makes no steps for long, for example between the batches of an evaluation.

        Joiners are given the parameters meanwhile, and others do not wait for this peer. The model is not changed:
        what a round has brought is applied at the next step.
        """
        self._inbox.hear_only(control.StateWanted)
        now_s = time.monotonic()
        if now_s - self._last_progress_s >= PROGRESS_S:
            self._last_progress_s = now_s
            self._tell_progress(ready_in_s=None)

    def stop_contributing(self) -> None:
        """Shows this peer's parameters to nobody any more, because they are not good."""
        self.contributing = False

    # At inner-step boundaries.

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        now_s = time.monotonic()
        self._progress.step += 1
        self._progress.samples += self.samples_per_step
        self._rounds.pace.step_done(now_s)
        self._inbox.hear_all()
        if now_s - self._last_progress_s >= PROGRESS_S:
            self._last_progress_s = now_s
            self._tell_progress(ready_in_s=self._ready_in_s(now_s))
        self._begin_round_if_due(now_s)
        self._tell_snapshot()
        while self._plan.strategy.waits and self._rounds.in_flight:
            self._inbox.hear_one(timeout_s=PROGRESS_S)

    def _begin_round_if_due(self, now_s: float) -> None:
        if self._rounds.in_flight or not self.contributing or (self._said_alone and self.peers < 2):
            return
        if self._rounds.pace.is_due(now_s):
            if self.is_alone:
                self._say_alone()
            else:
                self._rounds.begin()

    def _tell_snapshot(self) -> None:
        if not self._rounds.snapshot_to_tell():
            return
        if is_finite(self._node.memory.snapshot):
            self._node.send(control.SnapshotTaken(samples=self._rounds.samples, final=self._finishing))
            return
        self._rounds.fail()
        self.stop_contributing()
        self.bus.emit(
            events.Notice(level="warning", message="The parameters are not finite; they are shown to nobody.")
        )

    def _ready_in_s(self, now_s: float) -> float | None:
        return self._rounds.pace.due_in_s(now_s) if self.contributing else None

    def _tell_progress(self, *, ready_in_s: float | None) -> None:
        self._node.send(
            control.Progress(
                step=self.step, ready_in_s=ready_in_s, finishing=self._finishing, ends_in_s=self._ends_in_s
            )
        )

    def _say_alone(self) -> None:
        self._rounds.pace.round_failed(time.monotonic())
        if not self._said_alone:
            self._said_alone = True
            self.bus.emit(events.RoundFailed(reason="waiting for company", alone=True))

    # What the node says.

    def _hear(self, message: Message) -> None:
        match message:
            case control.RoundEnded():
                self._end_round(message)
            case control.StateWanted():
                self._rounds.replica.write_state(self._node.memory.state)
                self._node.send(control.StateTaken(step=self.step, samples=self._progress.samples))
            case control.PeerChanged():
                self._note_peer(message)
            case control.Ends():
                self._ends = message.in_s
            case control.NodeReady():
                self._note_ready(message)
            case control.Joined():
                self._note_joined(message)
            case control.NodeDown():
                self._rounds.lose_node()
                self.peers = 1
                self.bus.emit(events.NodeChanged(state="down", reason=message.reason))
            case control.NodeRestarted():
                self.bus.emit(events.NodeChanged(state="restarted", pid=message.pid))

    def _end_round(self, ended: control.RoundEnded) -> None:
        if ended.committed:
            self._rounds.commit(ended.samples, whole=self._finishing)
            self._said_alone = False
            self.rounds += 1
            self.bytes_sent += ended.bytes_sent
            self.disagreement = ended.disagreement
        else:
            self._rounds.fail()
        self.bus.emit(news.of_round(ended, final=self._finishing, alone=self.is_alone))

    def _note_peer(self, changed: control.PeerChanged) -> None:
        self.peers = changed.peers
        if changed.change == "finishing":
            self._rounds.pace.hurry()
        if event := news.of_peer(changed):
            self.bus.emit(event)

    def _note_ready(self, ready: control.NodeReady) -> None:
        self.addresses = ready.addresses
        if not self.peer_id:
            self.peer_id = ready.peer_id
            self.on_ready(self)

    def _note_joined(self, joined: control.Joined) -> None:
        self.peers = joined.peers
        if joined.donor is None or joined.step < self.step:
            # A peer that resumes from its own checkpoint keeps what it has, unless the swarm is ahead of it.
            return
        self._rounds.replica.read_state(self._node.memory.state)
        self._node.memory.forget_state()
        self._progress.step = joined.step
        self._rounds.begin_anew()
        self.bus.emit(news.of_joining(joined.donor, joined))


def _announce_started(swarm: Gossip) -> None:
    first = next(swarm.model.parameters())
    swarm.bus.emit(
        events.Started(
            peer_id=swarm.peer_id,
            run=swarm.names.run,
            task=swarm.names.task,
            addresses=swarm.addresses,
            device=str(first.device),
            parameters=sum(parameter.numel() for parameter in swarm.model.parameters()),
            samples=0,
            first=not swarm.network.initial_peers,
        )
    )
