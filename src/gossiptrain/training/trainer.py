"""The trainer of the command line: one task, one peer, from the first step to the summary.

Owns the training loop and its course: when to report, evaluate, save and stop. It meets the swarm through `gossip()`
like everyone else's loop. Does not know how things are shown to a person, nor how peers talk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings, Settings, StrategyName
from gossiptrain.errors import NonFiniteLossError
from gossiptrain.net.identity import Identity
from gossiptrain.training.bus import EventBus
from gossiptrain.training.compute import MixedPrecision, chosen_device
from gossiptrain.training.ending import Ended, Farewell, grace_of
from gossiptrain.training.gossip import gossip
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.interval import Interval
from gossiptrain.training.membership import Gossip
from gossiptrain.training.model.batch_norm import estimate_running_statistics, has_running_statistics
from gossiptrain.training.runs.checkpoint_state import Checkpoint
from gossiptrain.training.runs.checkpointer import Checkpointer, TrainingState
from gossiptrain.training.runs.checkpoints import CheckpointWriter
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.batches import TrainingBatches
from gossiptrain.training.tasks.evaluation import Evaluation
from gossiptrain.training.tasks.sampling import Share, seed_from

REPORT_S = 0.5
"""Period of step events."""
EVALUATE_STEPS = 500
SOON_S = 0.01
"""The least that is told of the time until the last step; 0 says that it is made."""
SMALL_MODEL = 200_000
"""Parameters below which handing the work of a step to several threads takes longer than the work."""
STATISTICS_BATCHES = 50
"""From which the running statistics of the merged model are estimated."""
LONGEST_FAREWELL_S = 60.0
FAREWELL_SHARE = 0.1
"""Part of the time of the whole training for which others are waited for that say they end within it; not more than
`LONGEST_FAREWELL_S`, and no less than `ending_time`."""
INTERRUPTED_GRACE_S = 2.0
"""How long others are waited for that end as well after Ctrl+C or SIGTERM."""
INTERRUPTED_MERGE_S = 3.0
"""How long the last group may take to form then; the whole farewell must take less than 10 seconds."""
INTERRUPTED_EVALUATION_S = 1.5

Reason = Literal["steps", "epochs", "seconds", "interrupted", "non-finite loss"]


@dataclass(frozen=True)
class TrainerInputs:
    """Everything one run of the trainer is given. interrupts: entered, before anything that takes time."""

    train: TrainSettings
    gossip: GossipSettings
    network: NetworkSettings
    folder: RunFolder
    bus: EventBus
    interrupts: Interrupts
    resume: Checkpoint | None = None


class Trainer:
    """Trains one peer."""

    def __init__(self, inputs: TrainerInputs) -> None:
        """Reads the data and builds the model. Raises UsageError, DataError, CheckpointError, IdentityInUseError."""
        settings = inputs.train
        self._given = inputs
        self._settings = settings
        self._bus = inputs.bus
        self._device = chosen_device(settings.device)
        self._task = task_named(settings.task, data_dir=settings.data_dir, **settings.variant)
        recipe = self._task.recipe
        self._batch = settings.batch or recipe.batch
        self._evaluation_set = self._task.open_evaluation(data_dir=settings.data_dir, device=self._device)
        self._batches = self._open_batches()
        self._epochs = settings.epochs or recipe.epochs
        self._total_steps = settings.max_steps or max(1, round(self._epochs * self._batches.steps_per_epoch))
        self.model = self._task.build_model(settings.seed).to(self._device)
        threads = settings.threads or (1 if self._parameters < SMALL_MODEL else None)
        if threads is not None:
            torch.set_num_threads(threads)
        self._learning_rate = settings.learning_rate or recipe.learning_rate_for(self._batch)
        self._optimizer = self._task.build_optimizer(self.model, learning_rate=self._learning_rate)
        self._schedule = self._task.build_schedule(self._optimizer, total_steps=self._total_steps)
        self._precision = MixedPrecision(self._device, settings.precision)
        checkpoints = CheckpointWriter(inputs.folder.checkpoints, report=self._notice)
        self._checkpointer = Checkpointer(
            self._task, self.model, self._optimizer, self._batches, self._precision, checkpoints, self._bus
        )
        self._interrupts = inputs.interrupts
        state = self._checkpointer.restore(inputs.resume) if inputs.resume is not None else TrainingState()
        self._step = state.step
        self._own_steps = state.own_steps
        self._own_steps_before = state.own_steps
        self._samples = 0
        self._loss = math.nan
        self._evaluation: Evaluation | None = None
        self._evaluation_took_s = 0.0
        self._swarm: Gossip | None = None
        self._resumed = state

    @property
    def resolved(self) -> dict[str, Settings]:
        """All settings by the name of their table, with what the task's recipe says where nothing else was said."""
        epochs = self._epochs if self._settings.max_steps is None else None
        train = {"batch": self._batch, "learning_rate": self._learning_rate, "epochs": epochs}
        return {
            "train": self._settings.model_copy(update=train),
            "gossip": self._gossip_settings,
            "network": self._given.network,
        }

    @property
    def _parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def _steps_made(self) -> int:
        """Of this process, without those before a resumption."""
        return self._own_steps - self._own_steps_before

    @property
    def usual_strategy(self) -> StrategyName:
        """The one of the task, where no other is chosen."""
        return self._task.recipe.strategy

    @property
    def run_name(self) -> str:
        """The name that the peers of the run share."""
        return self._settings.run or self._task.name

    def run(self) -> events.Finished:
        """Trains until the run is over, merges, evaluates, saves, and says how it ended.

        Raises NonFiniteLossError where the loss is not finite, after leaving the swarm, and what `gossip()` raises.
        """
        try:
            self._interrupts.raise_if_requested()
            if self._settings.alone:
                self._announce(None)
                return self._train()
            with self._build_swarm() as swarm:
                self._swarm = swarm
                self._step = swarm.step
                self._wait_for_company(swarm)
                return self._train()
        finally:
            self._batches.close()
            self._evaluation_set.close()

    def _open_batches(self) -> TrainingBatches:
        seed = self._settings.seed
        if not self._settings.alone:
            path = self._given.network.identity_path or self._given.folder.identity
            with Identity.load_or_create(path) as identity:
                seed = seed_from("identity", identity.peer_id)
        share = Share.parse(self._settings.share, identity_seed=seed)
        return self._task.open_training(
            data_dir=self._settings.data_dir, share=share, batch=self._batch, device=self._device
        )

    @property
    def _gossip_settings(self) -> GossipSettings:
        recipe = self._task.recipe
        return self._given.gossip.settled(every_steps=recipe.every_steps, strategy=recipe.strategy)

    def _build_swarm(self) -> Gossip:
        identity = self._given.network.identity_path or str(self._given.folder.identity)
        swarm = gossip(
            self.model,
            self._optimizer,
            run=self.run_name,
            task=self._task.description,
            settings=self._gossip_settings,
            network=self._given.network.model_copy(
                update={"identity_path": identity, "peers_path": str(self._given.folder.peers)}
            ),
            samples_per_step=self._batch,
            on_event=self._bus.emit,
            on_ready=self._announce,
        )
        before = self._resumed
        swarm.load_state_dict({"step": self._step, "outer": before.outer, "round_counts": before.round_counts})
        return swarm

    def _announce(self, swarm: Gossip | None) -> None:
        self._bus.emit(
            events.Started(
                peer_id=swarm.peer_id if swarm else "alone",
                run=self.run_name,
                task=self._task.description,
                addresses=swarm.addresses if swarm else (),
                device=f"{self._device} {self._precision.precision}",
                parameters=self._parameters,
                samples=self._batches.samples,
                first=swarm is None or not (swarm.network.initial_peers or swarm.network.known_peers),
                steps=self._total_steps,
            )
        )

    # The loop.

    def _wait_for_company(self, swarm: Gossip) -> None:
        wanted = self._settings.wait_for
        if swarm.peers < wanted:
            self._notice(f"waiting until {wanted} peers are there; now: {swarm.peers}")
            self._interrupts.polite = True
            swarm.wait_for_peers(wanted, until=lambda: self._interrupts.requested)

    def _train(self) -> events.Finished:
        started_s = time.monotonic()
        try:
            reason = self._loop(started_s)
        except NonFiniteLossError:
            self._finish("non-finite loss", started_s)
            raise
        return self._finish(reason, started_s)

    def _loop(self, started_s: float) -> Reason:
        settings = self._settings
        report = Interval(REPORT_S)
        save = Interval(settings.checkpoint_every)
        evaluate_every = settings.eval_every
        if evaluate_every is None:
            evaluate_every = max(EVALUATE_STEPS, self._batches.steps_per_epoch)
        self._interrupts.polite = True
        self.model.train()
        while self._step < self._total_steps:
            if self._interrupts.requested:
                return "interrupted"
            if settings.max_seconds is not None and time.monotonic() - started_s >= settings.max_seconds:
                return "seconds"
            loss = self._inner_step()
            if report.is_due() or self._device.type == "cpu" or self._step >= self._total_steps:
                self._loss = loss.item()
                if not math.isfinite(self._loss):
                    raise self._non_finite()
            reported = report.take()
            if reported:
                self._report_step(report.period_s)
            if reported or _is_power_of_two(self._steps_made):
                # Early on more often than it is reported: the first steps say little of the time that the rest takes.
                self._tell_end(started_s)
            if evaluate_every and self._step % evaluate_every == 0:
                self._evaluate("peer")
            if save.take():
                self._save()
        return "steps" if settings.max_steps is not None else "epochs"

    def _inner_step(self) -> torch.Tensor:
        self._schedule.move_to(self._step)
        batch = self._batches.next()
        with self._precision.forward():
            loss = self._task.loss(self.model, batch)
        if self._device.type == "cpu" and not math.isfinite(loss.item()):
            # Before the step, so that neither the parameters nor the swarm ever see it.
            self._loss = loss.item()
            raise self._non_finite()
        self._precision.step(loss, self._optimizer)
        self._own_steps += 1
        self._samples += len(batch)
        self._step = self._swarm.step if self._swarm is not None else self._step + 1
        return loss.detach()

    def _tell_end(self, started_s: float) -> None:
        """Lets others know when this peer expects to have made its last step."""
        if self._swarm is None:
            return
        passed_s = time.monotonic() - started_s
        left_s = passed_s / self._steps_made * (self._total_steps - self._step)
        if self._settings.max_seconds is not None:
            left_s = min(left_s, self._settings.max_seconds - passed_s)
        self._swarm.expect_end(max(left_s, SOON_S))

    def _non_finite(self) -> NonFiniteLossError:
        if self._swarm is not None:
            self._swarm.stop_contributing()
        return NonFiniteLossError(
            f"The loss became {self._loss} at step {self._step}; training has stopped.",
            cause="The learning rate is too high, or the data hold values that are not finite.",
            remedy="Start with a lower --lr. The last good checkpoint is kept, and nothing was sent to other peers.",
        )

    def _report_step(self, period_s: float) -> None:
        samples, self._samples = self._samples, 0
        self._bus.emit(
            events.StepDone(
                step=self._step,
                epoch=self._own_steps / self._batches.steps_per_epoch,
                loss=self._loss,
                learning_rate=float(self._optimizer.param_groups[0]["lr"]),
                samples_per_s=samples / period_s,
            )
        )

    def _evaluate(self, of: Literal["peer", "merged"]) -> None:
        started_s = time.monotonic()
        found = self._interrupts.run(lambda: self._evaluation_set.evaluate(self.model, after_batch=self._listen))
        if found is None:
            return
        self._evaluation_took_s = time.monotonic() - started_s
        self._evaluation = found
        self._bus.emit(
            events.Evaluated(step=self._step, loss=found.loss, accuracy=found.accuracy, samples=found.samples, of=of)
        )

    def _listen(self) -> None:
        if self._swarm is not None:
            self._interrupts.hold(self._swarm.listen)

    # The end, and what is kept.

    def _finish(self, reason: Reason, started_s: float) -> events.Finished:
        seconds = time.monotonic() - started_s
        interrupted = reason == "interrupted"
        good = reason != "non-finite loss"
        ended = Ended()
        if self._swarm is not None and good:
            ended = self._end(self._swarm, seconds, interrupted=interrupted)
        quick = self._evaluation is not None and self._evaluation_took_s < INTERRUPTED_EVALUATION_S
        if good and (quick or not interrupted):
            self._evaluate("merged" if ended.merged else "peer")
        if good:
            self._save()
        finished = events.Finished(
            step=self._step,
            seconds=seconds,
            rounds=self._swarm.rounds if self._swarm else 0,
            bytes_sent=self._swarm.bytes_sent if self._swarm else 0,
            loss=self._loss if math.isfinite(self._loss) else None,
            accuracy=self._evaluation.accuracy if self._evaluation else None,
            reason=reason,
            merged_with=len(ended.merged_with) if self._swarm is not None else None,
        )
        self._bus.emit(finished)
        summary = {**finished.model_dump(), "merged": ended.merged, "together": ended.together, "run": self.run_name}
        self._given.folder.write_summary(summary)
        return finished

    def _end(self, swarm: Gossip, seconds: float, *, interrupted: bool) -> Ended:
        """Makes the last rounds together with all others that end at about the same time."""
        if interrupted:
            farewell = Farewell(grace_of(INTERRUPTED_GRACE_S), INTERRUPTED_MERGE_S)
        else:
            usual, longest_s = swarm.usual_farewell(), min(LONGEST_FAREWELL_S, FAREWELL_SHARE * seconds)
            grace = grace_of(self._gossip_settings.ending_time, longest_s=longest_s)
            farewell = Farewell(grace, usual.patience_s, follow_up=has_running_statistics(self.model))
        ended = swarm.end(farewell, until=lambda: self._interrupts.requested and not interrupted)
        if ended.follow_up:
            if not self._interrupts.requested:
                self._fit_statistics()
            ended = swarm.end(Farewell(grace_of(0.0), farewell.patience_s), until=lambda: self._interrupts.requested)
        if not ended.together and not swarm.is_alone:
            self._notice("ended without the others: they could not all be brought together in time")
        return ended

    def _fit_statistics(self) -> None:
        """Fits the running statistics to the merged parameters, each peer on its own data, to be merged too."""
        position = self._batches.state()
        with self._precision.forward():
            estimate_running_statistics(self.model, self._inputs_of_some_batches())
        self._batches.restore(position)

    def _inputs_of_some_batches(self) -> Iterator[torch.Tensor]:
        for _ in range(min(STATISTICS_BATCHES, self._batches.steps_per_epoch)):
            yield self._batches.next().inputs
            self._listen()

    def _save(self) -> None:
        swarm, before = self._swarm, self._resumed
        if swarm is None:
            state = TrainingState(self._step, self._own_steps, before.rounds, before.outer, before.round_counts)
        else:
            kept = swarm.state_dict()
            rounds = before.rounds + swarm.rounds
            state = TrainingState(self._step, self._own_steps, rounds, kept["outer"], kept["round_counts"])
        self._checkpointer.save(state)

    def _notice(self, text: str) -> None:
        self._bus.emit(events.Notice(message=text))


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
