"""The trainer of the command line: one task, one peer, from the first step to the summary.

Owns the training loop and its course: when to report, evaluate, save and stop. It meets the swarm through `gossip()`
like everyone else's loop. Does not know how things are shown to a person, how peers talk, nor how the last rounds go.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Literal

import torch

from gossiptrain import events
from gossiptrain.errors import NonFiniteLossError, TrainingError
from gossiptrain.training.compute import is_out_of_memory
from gossiptrain.training.damage_report import DamageReport
from gossiptrain.training.ending import Ended
from gossiptrain.training.evaluator import Evaluator
from gossiptrain.training.interval import Interval
from gossiptrain.training.last_rounds import LastRounds
from gossiptrain.training.membership import Gossip
from gossiptrain.training.pacing import EndForecast
from gossiptrain.training.parts import Parts, TrainerInputs
from gossiptrain.training.runs.checkpointer import Checkpointer, TrainingState
from gossiptrain.training.runs.checkpoints import CheckpointWriter

REPORT_S = 0.5
"""Period of step events."""
EVALUATE_STEPS = 500
FIRST_CHECKPOINT_S = 15.0
"""The first one comes after at most so long: whoever is killed early need not begin anew."""
SOON_S = 0.01
"""The least that is told of the time until the last step; 0 says that it is made."""
Reason = Literal["steps", "epochs", "seconds", "interrupted", "non-finite loss"]


class Trainer:
    """Trains one peer."""

    def __init__(self, inputs: TrainerInputs, parts: Parts) -> None:
        """parts: closed when `run` ends. Raises CheckpointError where what is resumed does not fit them."""
        self._given = inputs
        self._settings = inputs.train
        self._bus = inputs.bus
        self._interrupts = inputs.interrupts
        self._parts = parts
        self.model = parts.model
        self._batches = parts.batches
        self._evaluator = Evaluator(parts, self._interrupts, self._bus, listen=self._listen)
        checkpoints = CheckpointWriter(inputs.folder.checkpoints, report=self._notice)
        self._checkpointer = Checkpointer(
            parts.task, parts.model, parts.optimizer, parts.batches, parts.precision, checkpoints, self._bus
        )
        state = self._checkpointer.restore(inputs.resume) if inputs.resume is not None else TrainingState()
        self._resumed = state
        self._step = state.step
        self._own_steps = state.own_steps
        self._samples = 0
        self._loss = math.nan
        self._damage = DamageReport(parts, self._bus)
        self._swarm: Gossip | None = None

    @property
    def _steps_made(self) -> int:
        """Of this process, without those before a resumption."""
        return self._own_steps - self._resumed.own_steps

    def run(self) -> events.Finished:
        """Trains until the run is over, merges, evaluates, saves, and says how it ended.

        Raises NonFiniteLossError where the loss is not finite, after leaving the swarm, TrainingError where there is
        no more memory, and what `gossip()` raises.
        """
        try:
            self._interrupts.raise_if_requested()
            if self._settings.alone:
                self._announce(None)
                return self._train()
            with self._parts.swarm(self._resumed, on_ready=self._announce) as swarm:
                self._swarm = swarm
                self._step = swarm.step
                self._tell_if_too_late()
                self._wait_for_company(swarm)
                return self._train()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"There is not enough memory to go on after step {self._step}.",
                cause=str(error).split("\n", 1)[0],
                remedy="Use a smaller --batch, or a computer with more memory. The last checkpoint is kept.",
            ) from error
        finally:
            self._parts.close()

    def _announce(self, swarm: Gossip | None) -> None:
        self._bus.emit(self._parts.started(swarm))

    def _tell_if_too_late(self) -> None:
        """Whoever joins late takes over the swarm's step, too, and may find nothing left to do."""
        total = self._parts.total_steps
        if self._step > self._resumed.step and self._step >= total:
            self._notice(
                f"the swarm is at step {self._step:,}, and this peer was to end at step {total:,}: there is nothing "
                "left to do; to go on with the others, start it with more --epochs or --max-steps",
                level="warning",
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
        first_save = Interval(min(FIRST_CHECKPOINT_S, settings.checkpoint_every))
        saved = False
        evaluate_every = settings.eval_every
        if evaluate_every is None:
            evaluate_every = max(EVALUATE_STEPS, self._batches.steps_per_epoch)
        self._interrupts.polite = True
        self.model.train()
        forecast = EndForecast(now_s=started_s)
        while self._step < self._parts.total_steps:
            if self._interrupts.requested:
                return "interrupted"
            if settings.max_seconds is not None and time.monotonic() - started_s >= settings.max_seconds:
                return "seconds"
            loss = self._inner_step()
            if report.is_due() or self._parts.device.type == "cpu" or self._step >= self._parts.total_steps:
                self._loss = loss.item()
                if not math.isfinite(self._loss):
                    raise self._non_finite()
            reported = report.take()
            if reported:
                self._report_step(report.period_s)
                self._damage.tell()
            if reported or _is_power_of_two(self._steps_made):
                # Early on more often than it is reported: the first steps say little of the time that the rest takes.
                self._tell_end(forecast, started_s)
            if evaluate_every and self._step % evaluate_every == 0:
                self._evaluator.evaluate("peer", step=self._step)
            if save.take() or (not saved and first_save.take()):
                self._save()
                saved = True
        return "steps" if settings.max_steps is not None else "epochs"

    def _inner_step(self) -> torch.Tensor:
        self._parts.schedule.move_to(self._step)
        self._parts.statistics.prepare(self._step)
        batch = self._batches.next()
        with self._parts.precision.forward():
            loss = self._parts.task.loss(self.model, batch)
        if self._parts.device.type == "cpu" and not math.isfinite(loss.item()):
            # Before the step, so that neither the parameters nor the swarm ever see it.
            self._loss = loss.item()
            raise self._non_finite()
        self._parts.precision.step(loss, self._parts.optimizer)
        self._own_steps += 1
        self._samples += len(batch)
        self._step = self._swarm.step if self._swarm is not None else self._step + 1
        return loss.detach()

    def _tell_end(self, forecast: EndForecast, started_s: float) -> None:
        """Lets others know when this peer expects to have made its last step."""
        if self._swarm is None:
            return
        now_s = time.monotonic()
        left = self._parts.total_steps - self._step
        left_s = forecast.left_s(made=self._steps_made, left=left, now_s=now_s)
        if self._settings.max_seconds is not None:
            left_s = min(left_s, self._settings.max_seconds - (now_s - started_s))
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
        if self._swarm is not None:
            self._swarm.show_loss(self._loss)
        self._bus.emit(
            events.StepDone(
                step=self._step,
                epoch=self._own_steps / self._batches.steps_per_epoch,
                loss=self._loss,
                learning_rate=float(self._parts.optimizer.param_groups[0]["lr"]),
                samples_per_s=samples / period_s,
            )
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
            last_rounds = LastRounds(self._swarm, self._parts, self._interrupts, listen=self._listen)
            ended = last_rounds.make(seconds, interrupted=interrupted)
            if not ended.together and not self._swarm.is_alone:
                self._notice("ended without the others: they could not all be brought together in time")
        if good and (self._evaluator.is_quick or not interrupted):
            self._evaluator.evaluate("merged" if ended.merged else "peer", step=self._step)
        saved = self._save(final=True) if good else None
        self._damage.tell(at_end=True)
        finished = events.Finished(
            step=self._step,
            seconds=seconds,
            rounds=self._swarm.rounds if self._swarm else 0,
            bytes_sent=self._swarm.bytes_sent if self._swarm else 0,
            loss=self._loss if math.isfinite(self._loss) else None,
            accuracy=self._evaluator.found.accuracy if self._evaluator.found else None,
            reason=reason,
            merged_with=len(ended.merged_with) if self._swarm is not None else None,
            saved_in=None if saved is None else str(saved),
        )
        self._bus.emit(finished)
        how = {
            "saved": saved is not None,
            "merged": ended.merged,
            "together": ended.together,
            "run": self._parts.run_name,
            "task": self._parts.task.description,
            "peer_id": self._swarm.peer_id if self._swarm is not None else None,
            "best_accuracy": self._evaluator.best_accuracy,
            "damaged_files": len(self._parts.damaged),
        }
        self._given.folder.write_summary({**finished.model_dump(), **how})
        return finished

    def _save(self, *, final: bool = False) -> Path | None:
        swarm, before = self._swarm, self._resumed
        if swarm is None:
            state = TrainingState(self._step, self._own_steps, before.rounds, before.outer, before.round_counts)
        else:
            kept = swarm.state_dict()
            rounds = before.rounds + swarm.rounds
            state = TrainingState(self._step, self._own_steps, rounds, kept["outer"], kept["round_counts"])
        return self._checkpointer.save(state, final=final)

    def _notice(self, text: str, *, level: Literal["info", "warning"] = "info") -> None:
        self._bus.emit(events.Notice(level=level, message=text))


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
