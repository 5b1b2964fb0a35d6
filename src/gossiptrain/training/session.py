"""A trainer's session with its node: from the first word to the last, in the training thread's own time.

Owns the states that a membership goes through, what is sent to the node and what its messages mean. When a round is due
and what it does to the model is `rounds`, what came of it `round_results`; what is said between rounds is
`progress_reports`, what is given and taken when somebody joins `takeover`, the last rounds are `ending`. Does not know
optimizers or loops.

    starting → joining → training → ending → left
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from typing import Any

from gossiptrain import events
from gossiptrain.core.guards import is_sound
from gossiptrain.net.framing import Message
from gossiptrain.node import control
from gossiptrain.node.forecast import PROGRESS_S
from gossiptrain.node.handle import NodeHandle
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.ending import Farewell
from gossiptrain.training import news
from gossiptrain.training.bus import EventBus
from gossiptrain.training.inbox import Inbox
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.moments import SecondMoments
from gossiptrain.training.model.replica import Replica
from gossiptrain.training.model.strategies import Strategy
from gossiptrain.training.progress_reports import ProgressReports
from gossiptrain.training.round_results import RoundResults
from gossiptrain.training.rounds import LocalProgress, Rounds
from gossiptrain.training.takeover import Takeover

OPEN_WARNING = (
    "THE SWARM IS OPEN: everybody who knows an address and has the same model can join, see the parameters and change "
    "them. Without --open (open=True) only those can whom you invite."
)


class State(enum.Enum):
    """Where a membership stands."""

    STARTING = "the node is being started"
    JOINING = "the node is reachable, and is to meet the swarm and be given its parameters"
    TRAINING = "rounds take place"
    ENDING = "the last step is made, and the last rounds take place"
    LEFT = "the swarm was left, and the node ends"


class Session:
    """Everything between one trainer and its node. Used by the training thread alone."""

    def __init__(
        self,
        binding: ModelBinding,
        strategy: Strategy,
        launch: control.Configure,
        bus: EventBus,
        *,
        moments: SecondMoments,
        samples_per_step: int,
    ) -> None:
        """launch: what the node is started with."""
        self.state = State.STARTING
        self.launch = launch
        self.bus = bus
        self.progress = LocalProgress()
        self.reports = ProgressReports(self.progress, lambda message: self._node.send(message))
        self.peer_id = ""
        self.addresses: tuple[str, ...] = ()
        self.peers = 1
        """Living peers, this one included."""
        self.trainers = 1
        """Those of them that hold the swarm's parameters."""
        self.results = RoundResults(binding, bus, fragments=launch.fragments.count)
        self.contributing = True
        self.has_group = False
        """Whether the round in flight has found its group, and averages."""
        self.inbox = Inbox(self._hear)
        self.rounds: Rounds
        self.is_open = False
        """Whether `rounds` may be used."""
        self._binding = binding
        self._strategy = strategy
        self._moments = moments
        self._samples_per_step = samples_per_step
        self._replica: Replica | None = None
        self._takeover: Takeover
        self._on_ready: Callable[[], None]
        self._node: NodeHandle
        self.node_is_up = False
        """Whether the node has met the swarm and has not gone down since."""
        self._said_alone = False
        self._asked = False
        """Whether the snapshot that is told next is one that the node has asked for."""

    @property
    def is_alone(self) -> bool:
        """Whether no other living peer is known, and the node is there to know it."""
        return self.node_is_up and self.peers < 2

    @property
    def is_inside(self) -> bool:
        """Whether there is a swarm to talk to."""
        return self.state in (State.TRAINING, State.ENDING)

    # The beginning and the end.

    def start(self, resumed: Mapping[str, Any], *, on_ready: Callable[[], None]) -> None:
        """Starts the node and joins the swarm; a late joiner's model then holds a living peer's parameters.

        resumed: what `Gossip.state_dict` returned in an earlier run, or nothing. on_ready: called once the node is
        reachable, before the swarm is met.
        """
        self._on_ready = on_ready
        now = {"step": self.progress.step, "takes_moments": self.launch.take_state and self._moments.are_missing}
        self._node = NodeHandle(self.launch.model_copy(update=now), self.inbox.put)
        try:
            memory = Buffers(self._node.memory.snapshot, self._node.memory.average)
            replica = self._replica = Replica(self._binding, self._strategy, memory, fragments=self.launch.fragments)
            self.rounds = Rounds(
                self.launch.gossip,
                self._strategy,
                replica=replica,
                progress=self.progress,
                run_key=self.launch.fingerprint.key,
            )
            self._takeover = Takeover(self.rounds, self._moments, self.progress, memory=self._node.memory)
            if resumed.get("outer"):
                replica.restore(resumed["outer"])
            if resumed.get("round_counts"):
                self.rounds.restore(resumed["round_counts"])
            self.is_open = True
            while self.state is not State.TRAINING:
                self.inbox.hear_one(timeout_s=0.2)
                self._node.raise_if_failed()
            for text in self._node.kept.warnings(alone=self.is_alone):
                self.bus.emit(events.Notice(level="warning", message=text))
        except BaseException:
            self.close(grace_s=1.0)
            raise

    def say_goodbye(self) -> None:
        """Leaves the swarm; what the strategy keeps can still be asked for."""
        self.state = State.LEFT
        self._node.leave()

    def close(self, *, grace_s: float = 3.0) -> None:
        """Leaves the swarm, where that was not done yet, and ends the node."""
        self.state = State.LEFT
        self.is_open = False
        try:
            # Everything here lets go of the memory before it is closed with the node.
            if self._replica is not None:
                self._replica.close()
        finally:
            self._node.close(grace_s=grace_s)

    # At inner-step boundaries.

    def after_step(self, *_told_by_the_optimizer: object) -> None:
        """One more inner step was made: hears the node, and begins a round where one is due."""
        self.progress.step += 1
        self.progress.samples += self._samples_per_step
        if self.state is not State.TRAINING:
            return  # Whoever goes on after its end does so alone.
        now_s = time.monotonic()
        self.rounds.pace.step_done(now_s)
        self.inbox.hear_all()
        self.reports.tell_now_and_then(ready_in_s=self._ready_in_s(now_s))
        self._begin_round_if_due(now_s)
        self.tell_snapshot()
        while self._strategy.waits and self.rounds.in_flight:
            self.inbox.hear_one(timeout_s=PROGRESS_S)

    def _begin_round_if_due(self, now_s: float) -> None:
        if self.rounds.in_flight or not self.contributing or (self._said_alone and self.peers < 2):
            return
        if self.rounds.pace.is_due(now_s):
            if self.peers < 2:
                self._say_alone()
            else:
                self.rounds.begin()

    def tell_snapshot(self, *, everyone: bool = False, last: Farewell | None = None) -> None:
        """Gives the node the snapshot of a round that has begun, once it is in the shared memory."""
        if not self.rounds.snapshot_to_tell():
            return
        rounds, asked = self.rounds, self._asked
        self._asked = False
        if is_sound(self._node.memory.snapshot[: rounds.replica.fragments.lengths[rounds.fragment]]):
            taken = control.SnapshotTaken(
                samples=rounds.samples,
                fragment=rounds.fragment,
                radii=rounds.radii,
                asked=asked,
                everyone=everyone,
                last=last,
            )
            self._node.send(taken)
            return
        if asked:
            self._node.send(control.SnapshotRefused())
        rounds.fail()
        self.contributing = False
        self.bus.emit(
            events.Notice(
                level="warning", message="The parameters are not finite, or absurdly large; they are shown to nobody."
            )
        )

    def hasten(self) -> None:
        """Has the node wait for no others any more in the last round."""
        self._node.send(control.Hasten())

    def expect_end(self, in_s: float) -> None:
        """Lets others know in how many seconds the last step will be made."""
        self.reports.ends_in_s = in_s
        self.reports.tell(ready_in_s=self._ready_in_s(time.monotonic()))

    def end_training(self) -> None:
        """The last step is made; a round that has no group yet is given up."""
        self.state = State.ENDING
        self.reports.ends_in_s = 0.0
        self.reports.tell(ready_in_s=None)

    def _ready_in_s(self, now_s: float) -> float | None:
        return self.rounds.pace.due_in_s(now_s) if self.contributing else None

    def _say_alone(self) -> None:
        self.rounds.pace.round_failed(time.monotonic())
        if not self._said_alone:
            self._said_alone = True
            self.bus.emit(events.RoundFailed(reason="waiting for company", alone=True))

    # What the node says.

    def _hear(self, message: Message) -> None:
        match message:
            case control.RoundEnded():
                self._end_round(message)
            case control.GroupFound():
                self._note_group()
            case control.FragmentWanted():
                self._change_fragment(message)
            case control.NextRound():
                self.rounds.next_number = message.number
            case control.StateWanted():
                self._node.send(self._takeover.give(message))
            case control.PeerChanged():
                self._note_peer(message)
            case control.SwarmSeen():
                self.bus.emit(events.SwarmSeen(peers=message.peers))
            case control.NodeReady():
                self._note_ready(message)
            case control.Joining():
                self.bus.emit(events.Notice(message=message.waits_for))
            case control.Reached():
                self.bus.emit(events.Notice(level="warning" if message.warning else "info", message=message.text))
            case control.StateArrived():
                self._node.send(self._takeover.take(message))
            case control.Joined():
                self._note_joined(message)
            case control.NodeDown():
                self._note_down(message)
            case control.NodeRestarted():
                self.bus.emit(events.NodeChanged(state="restarted", pid=message.pid))

    def _note_group(self) -> None:
        self.has_group = self.rounds.in_flight
        if self.has_group:
            self.rounds.pace.group_found(time.monotonic())

    def _end_round(self, ended: control.RoundEnded) -> None:
        self.results.last, self.has_group = None, False
        is_last = self.state is State.ENDING
        averaged = ended.averaged
        if averaged is not None and averaged.result.committed:
            self._said_alone = False
            self.results.note_average(averaged, self.rounds.replica.memory)
            if not self._take_average(averaged.number, averaged.samples):
                return
            self.results.note_taken(averaged)
        else:
            self.results.last = averaged
            self.rounds.fail()
        news.tell_round(self.bus, ended, final=is_last, alone=self.is_alone)

    def _take_average(self, number: int, samples: tuple[int, ...]) -> bool:
        """Whether any of it was taken."""
        judged = self.rounds.commit(number, samples, whole=self.state is State.ENDING)
        if judged.taken != "all":
            # Nobody is to begin with it.
            self._node.send(control.AverageRefused())
            news.tell_refusal(self.bus, number, judged)
        return judged.taken != "nothing"

    def _change_fragment(self, wanted: control.FragmentWanted) -> None:
        if self.rounds.in_flight:
            if wanted.samples is not None:
                self._take_average(wanted.round, wanted.samples)
            self.rounds.begin(wanted.fragment)
            self._asked = True

    def _note_peer(self, changed: control.PeerChanged) -> None:
        self.peers, self.trainers = changed.peers, changed.trainers
        if changed.change == "joined":
            self.rounds.expect_others()
        if changed.change == "finishing":
            self.rounds.pace.request_round_now(changed.round)
        news.tell_peer(self.bus, changed)

    def _note_ready(self, ready: control.NodeReady) -> None:
        before, self.addresses = self.addresses, ready.addresses
        if self.state is State.STARTING:
            self.state = State.JOINING
            self.peer_id = ready.peer_id
            self._on_ready()
            if self.launch.network.open:
                self.bus.emit(events.Notice(level="warning", message=OPEN_WARNING))
        elif set(ready.addresses) != set(before):
            self.bus.emit(events.NodeChanged(state="ready", addresses=ready.addresses))

    def _note_joined(self, joined: control.Joined) -> None:
        self.peers, self.trainers = joined.peers, joined.trainers
        self.node_is_up = True
        self._takeover.finish(joined, self.bus)
        if self.state is State.JOINING:
            self.state = State.TRAINING
        else:
            self.reports.tell(ready_in_s=None)

    def _note_down(self, down: control.NodeDown) -> None:
        self.node_is_up = self.has_group = False
        self.rounds.lose_node()
        self.peers = self.trainers = 1
        self.bus.emit(events.NodeChanged(state="down", reason=down.reason))
