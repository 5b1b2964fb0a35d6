"""A model's membership in a swarm, as its author holds it: the context manager that `gossip()` returns.

Owns the hook on the optimizer and what a loop may ask and say. What passes between trainer and node is `session`, the
last rounds are `ending`. Does not know how peers find each other or move bytes: that is the node's, in a process of its
own, so training never waits for the network.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import UsageError
from gossiptrain.node import control
from gossiptrain.swarm.ending import Farewell, Grace
from gossiptrain.swarm.recipe_messages import Recipe
from gossiptrain.training import ending
from gossiptrain.training.model.smooth import USUAL_ROUNDS, Smooth
from gossiptrain.training.session import Session

NO_STEPS = (
    "No step of the optimizer was made inside of the `with gossip(...)` block, so nothing was trained or averaged in "
    "it. The loop belongs inside of the block, and its steps to the optimizer that gossip() was given."
)
NEVER_ENTERED = (
    "gossip() was called and its swarm was never entered, so nothing was trained with anybody. Write "
    "`with gossip(model, optimizer, ...) as swarm:` around the loop."
)


class Gossip:
    """A model's membership in a swarm. Made by `gossip()`; use it as a context manager."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        session: Session,
        *,
        on_ready: Callable[[Gossip], None],
    ) -> None:
        """optimizer: each of its steps ends an inner step. session: not started yet."""
        self.model = model
        self.settings: GossipSettings = session.launch.gossip
        self.network: NetworkSettings = session.launch.network
        self.bus = session.bus
        self._optimizer = optimizer
        self._session = session
        self._on_ready = on_ready
        self._resumed: Mapping[str, Any] = {}
        self._hook: Any = None
        self._was_tried = False
        """Whether it was entered, or that was tried."""

    def __del__(self) -> None:
        # One that could not even be made has nothing to say, and when the program ends nobody listens.
        if not getattr(self, "_was_tried", True) and not sys.is_finalizing():
            self.bus.emit(events.Notice(level="warning", message=NEVER_ENTERED))

    def __repr__(self) -> str:
        if not self.is_inside:
            return f"<Gossip of the run {self.fingerprint.run!r}, outside of its `with` block>"
        apart = "" if self.disagreement is None else f", disagreement {self.disagreement:.2%}"
        return f"<Gossip of the run {self.fingerprint.run!r}: {self.peers} peers, {self.rounds} rounds{apart}>"

    def __enter__(self) -> Self:
        """Starts the node and joins the swarm; a late joiner's model then holds a living peer's parameters."""
        self._was_tried = True
        if self._hook is not None:
            raise UsageError("This swarm was entered before.", remedy="Call gossip() again for another `with` block.")
        self._session.start(self._resumed, on_ready=lambda: self._on_ready(self))
        self._hook = self._optimizer.register_step_post_hook(self._session.after_step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Makes the last rounds with all that end as well, unless the block raised, and leaves the swarm."""
        try:
            self._hook.remove()
            if kind is None and self._session.is_inside:
                if not self._session.progress.samples:
                    self.bus.emit(events.Notice(level="warning", message=NO_STEPS))
                self.end()
        finally:
            self._session.close()

    # What can be asked.

    @property
    def step(self) -> int:
        """Inner steps made, counted on from the donor's where this peer joined late."""
        return self._session.progress.step

    @property
    def fingerprint(self) -> RunFingerprint:
        """What all peers of the run have in common, its name and that of the task among it."""
        return self._session.launch.fingerprint

    @property
    def is_inside(self) -> bool:
        """Whether the swarm has been entered, and neither `end` nor the end of the block has left it."""
        return self._hook is not None and self._session.is_inside

    @property
    def peers(self) -> int:
        """Living peers, this one included."""
        return self._session.peers

    @property
    def is_alone(self) -> bool:
        """Whether no other living peer is known."""
        return self.peers < 2

    @property
    def peer_id(self) -> str:
        """This peer's libp2p identity; empty before the block is entered."""
        return self._session.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others can reach this peer: what they need as `initial_peers`."""
        return self._session.addresses

    @property
    def rounds(self) -> int:
        """Committed rounds of this peer."""
        return self._session.results.committed

    @property
    def bytes_sent(self) -> int:
        """In those rounds."""
        return self._session.results.bytes_sent

    @property
    def disagreement(self) -> float | None:
        """Of the last round's group before it averaged, relative to the size of the average."""
        return self._session.results.disagreement

    @property
    def adapter_error(self) -> float | None:
        """What averaging the two matrices of each LoRA adapter apart cost in the last round, as a share of what they
        do; see `training.model.adapters`. None where there are none."""
        return self._session.results.adapter_error

    @property
    def contributing(self) -> bool:
        """Whether others are shown this peer's parameters."""
        return self._session.contributing

    def state_dict(self) -> dict[str, Any]:
        """What has to be saved beside model and optimizer. Only inside the `with` block, also after `end`."""
        if not self._session.is_open:
            raise UsageError("state_dict() was called outside the `with` block: nothing is kept there.")
        rounds = self._session.rounds
        return {"step": self.step, "outer": rounds.replica.state(), "round_counts": rounds.counts()}

    def tell_recipe(self, recipe: Recipe) -> None:
        """Has newcomers told how this peer trains, so that people need not. Called before the block is entered."""
        self._session.launch = self._session.launch.model_copy(update={"recipe": recipe})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned. Before the block is entered, which raises CheckpointMismatchError
        where it is another strategy's or model's."""
        if self._hook is not None:
            raise UsageError("load_state_dict() was called after the `with` block was entered.")
        self._session.progress.step = int(state["step"])
        self._resumed = state

    # What can be said.

    def show_loss(self, loss: float) -> None:
        """Shows others the training loss of the last step, for their pages and `gossip watch`. It costs nothing."""
        self._session.reports.show_loss(loss)

    def smooth(self, *, rounds: int = USUAL_ROUNDS) -> Smooth:
        """The mean of the model over its last rounds, about so many of them, from now on: `smooth.model()` is a copy
        that holds it, for evaluation and for what is kept in the end. Where learning rates stay high, it is better than
        the model of any moment. It costs two copies of the model in the host's memory, and nobody else sees it."""
        if rounds < 1:
            raise UsageError(f"smooth() takes the mean over at least one round, not over {rounds}.")
        return self._session.results.smooth(self.model, rounds=rounds)

    def merge(self, *, timeout_s: float | None = None) -> bool:
        """In the middle of training: waits for one round with everyone that is there, and says whether one took place;
        for one with each fragment, where the model travels in fragments.

        timeout_s: longest wait for a group; by default twice `matchmaking_time`. A round that has its group takes as
        long as the links need. A peer that is alone waits for nobody.
        """
        self._refuse_outside("merge")
        deadline_s = time.monotonic() + (2 * self.settings.matchmaking_time if timeout_s is None else timeout_s)
        session = self._session
        session.inbox.hear_all()
        self._hear_until_round_is_over(deadline_s)
        if session.rounds.in_flight or session.is_alone or not session.contributing:
            return False
        merged: set[int] = set()
        while len(merged) < session.rounds.replica.fragments.count:
            session.rounds.begin()
            committed_before = session.results.committed
            self._hear_until_round_is_over(deadline_s, everyone=True)
            if session.results.committed == committed_before:
                return False
            merged.add(session.rounds.fragment)
        return True

    def end(self, farewell: Farewell | None = None, *, until: Callable[[], bool] = lambda: False) -> ending.Ended:
        """After the last step: waits for others that end at about the same time, merges with them, and leaves.

        All that end within the grace of each other end with one model, bit by bit. Called at the end of the block where
        it was not called before. Where a follow-up was asked for and all agree to one, this peer stays, and `end` has
        to be called once more. until: asked several times a second; where it is true, others are not waited for.
        """
        self._refuse_outside("end")
        ended = ending.end(self._session, farewell or self.usual_farewell(), until=until)
        if not ended.follow_up:
            self._session.say_goodbye()
        return ended

    def usual_farewell(self) -> Farewell:
        """How a block ends where nothing else is asked for."""
        return Farewell(grace=Grace.usual(self.settings.ending_time), patience_s=2 * self.settings.matchmaking_time)

    def wait_for_peers(self, count: int, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Waits until so many peers are ready to train, this one included, and says whether they are.

        Newcomers are served meanwhile; one that does not hold the swarm's parameters yet does not count, since who
        begins without it may have ended before it is ready. until: asked five times a second; ends the waiting.
        """
        self._refuse_outside("wait_for_peers")
        while self._session.trainers < count and not until():
            self._session.inbox.hear_one(timeout_s=0.2)
        return self._session.trainers >= count

    def expect_end(self, in_s: float) -> None:
        """Lets others know in how many seconds this peer expects to have made all its steps."""
        self._refuse_outside("expect_end")
        self._session.expect_end(in_s)

    def listen(self) -> None:
        """Call now and then where the loop makes no steps for long, for example between the batches of an evaluation.

        Joiners are given the parameters meanwhile, and others do not wait for this peer. The model is not changed:
        what a round has brought is applied at the next step.
        """
        self._session.inbox.hear_only(control.StateWanted)
        self._session.reports.tell_now_and_then(ready_in_s=None)

    def stop_contributing(self) -> None:
        """Shows this peer's parameters to nobody any more, because they are not good."""
        self._session.contributing = False

    def _hear_until_round_is_over(self, deadline_s: float, *, everyone: bool = False) -> None:
        session = self._session
        while session.rounds.in_flight and (session.has_group or time.monotonic() < deadline_s):
            session.tell_snapshot(everyone=everyone)
            session.inbox.hear_one(timeout_s=0.1)

    def _refuse_outside(self, name: str) -> None:
        if not self._session.is_inside:
            raise UsageError(
                f"{name}() was called outside the `with` block: there is no swarm then.",
                remedy="Call it inside of the block.",
            )
