"""The trainer: its course from the first step to the summary, and what happens when something goes wrong on the way."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.errors import CheckpointMismatchError, DataMissingError, NonFiniteLossError, TrainingError, UsageError
from gossiptrain.training.bus import EventBus
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.parts import Parts, TrainerInputs
from gossiptrain.training.runs.checkpoint_folders import list_checkpoints
from gossiptrain.training.runs.checkpoint_state import Checkpoint
from gossiptrain.training.runs.checkpoints import load_checkpoint
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks.evaluation import Evaluation, EvaluationSet
from gossiptrain.training.trainer import Trainer

EventT = TypeVar("EventT", bound=events.EventBase)


class Run:
    """One run of a trainer on the digits, alone unless told otherwise, and all that it told."""

    def __init__(
        self, folder: RunFolder, interrupts: Interrupts, *, resume: Checkpoint | None = None, **settings: Any
    ) -> None:
        self.folder = folder
        self.told: list[events.Event] = []
        bus = EventBus()
        bus.subscribe(self.told.append)
        train = TrainSettings(**{"task": "digits", "alone": True, "device": "cpu", "threads": 1, **settings})
        self.bus = bus
        inputs = TrainerInputs(train, GossipSettings(), NetworkSettings(), folder, bus, interrupts, resume=resume)
        self.parts = Parts(inputs)
        self.trainer = Trainer(inputs, self.parts)

    def find(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.told if isinstance(event, kind)]

    def on(self, kind: type[EventT], act: Callable[[EventT], None]) -> None:
        """Does something whenever such an event is told."""
        self.bus.subscribe(lambda event: act(event) if isinstance(event, kind) else None)

    def state(self) -> dict[str, Tensor]:
        return self.trainer.model.state_dict()


@contextmanager
def run_in(path: Path, *, resume: Path | None = None, **settings: Any) -> Iterator[Run]:
    checkpoint = load_checkpoint(resume) if resume is not None else None
    with Interrupts() as interrupts, RunFolder.create(path, "digits", resume=resume == path) as folder:
        yield Run(folder, interrupts, resume=checkpoint, **settings)


@contextmanager
def no_file_above(limit_bytes: int) -> Iterator[Callable[[], None]]:
    """No file of this process may grow beyond the limit, as on a full disk; yields what frees the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield free
    finally:
        free()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# The course of a run.


def test_a_run_tells_its_beginning_its_course_and_its_end(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=300, eval_every=100) as run:
        finished = run.trainer.run()
        assert isinstance(run.told[0], events.Started)
        assert run.told[-1] == finished
        assert [event.step for event in run.find(events.Evaluated)] == [100, 200, 300, 300]
        assert [event.step for event in run.find(events.CheckpointSaved)] == [300]
    assert (finished.step, finished.reason, finished.rounds) == (300, "steps", 0)
    assert finished.accuracy is not None
    assert finished.accuracy > 0.9
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["step"], summary["reason"], summary["merged"]) == (300, "steps", False)


def test_what_starts_is_described(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=1, share="2/4") as run:
        run.trainer.run()
    (started,) = run.find(events.Started)
    assert (started.peer_id, started.run, started.first, started.addresses) == ("alone", "digits", True, ())
    assert started.task == "digits/mlp 64-128-64-10"
    assert (started.parameters, started.steps, started.device) == (17_226, 1, "cpu fp32")
    assert 246 <= started.samples <= 248, "a quarter of 987"


def test_without_a_number_of_steps_the_epochs_decide(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", epochs=2, batch=100) as run:
        finished = run.trainer.run()
    assert (finished.step, finished.reason) == (2 * (987 // 100), "epochs")


def test_a_run_can_be_limited_in_time(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_seconds=0.2) as run:
        finished = run.trainer.run()
    assert finished.reason == "seconds"
    assert finished.seconds >= 0.2


def test_evaluation_can_be_left_to_the_end(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=600, eval_every=0) as run:
        run.trainer.run()
    assert [event.step for event in run.find(events.Evaluated)] == [600]


def test_checkpoints_are_saved_in_so_many_seconds(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_seconds=0.5, checkpoint_every=0.1, eval_every=0) as run:
        run.trainer.run()
    assert len(run.find(events.CheckpointSaved)) >= 2


def test_step_events_tell_speed_loss_and_learning_rate(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_seconds=1.2, eval_every=0, batch=10) as run:
        run.trainer.run()
    told = run.find(events.StepDone)
    assert 1 <= len(told) <= 2, "one in half a second"
    first = told[0]
    assert first.epoch == pytest.approx(first.step / 98)
    assert 0 < first.samples_per_s <= 10 * first.step / 0.5
    assert 0 < first.loss < 5
    assert 0 < first.learning_rate <= 0.05 * 10 / 32


def test_the_settings_of_a_run_are_resolved_with_those_of_its_task(tmp_path: Path) -> None:
    with run_in(tmp_path / "one", batch=64) as run:
        train, gossip = run.parts.resolved["train"], run.parts.resolved["gossip"]
    assert isinstance(train, TrainSettings)
    assert isinstance(gossip, GossipSettings)
    assert (train.batch, train.learning_rate, train.epochs, train.max_steps) == (64, 0.1, 1000.0, None)
    assert gossip.every_steps == 100
    with run_in(tmp_path / "two", max_steps=5) as run:
        train = run.parts.resolved["train"]
    assert isinstance(train, TrainSettings)
    assert (train.epochs, train.max_steps) == (None, 5)


def test_a_batch_larger_than_the_share_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", "digits") as folder, pytest.raises(UsageError, match="sees 987 samples"):
        Run(folder, Interrupts(), batch=988)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_data_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", "cifar10") as folder, pytest.raises(DataMissingError, match="nowhere"):
        Run(folder, Interrupts(), task="cifar10", data_dir=tmp_path / "nowhere")


# To stop and to go on.


def stopped_half_way(path: Path, *, at_step: int, **settings: Any) -> Run:
    """A run that the system asks to stop right after the evaluation at `at_step`."""
    with run_in(path, eval_every=at_step, **settings) as run:
        run.on(events.Evaluated, lambda event: signal.raise_signal(signal.SIGTERM) if event.step == at_step else None)
        run.trainer.run()
    return run


def test_a_polite_request_ends_a_run_with_a_checkpoint(tmp_path: Path) -> None:
    run = stopped_half_way(tmp_path / "run", at_step=120, max_steps=100_000)
    (finished,) = run.find(events.Finished)
    assert (finished.step, finished.reason) == (120, "interrupted")
    assert load_checkpoint(tmp_path / "run").state.step == 120


def test_an_interrupt_that_was_lost_while_the_trainer_was_made_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=20) as run:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            run.trainer.run()
    assert run.told == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_continues_bit_by_bit(tmp_path: Path, precision: str) -> None:
    settings: dict[str, Any] = {"max_steps": 250, "precision": precision, "seed": 5}
    with run_in(tmp_path / "straight", eval_every=120, **settings) as straight:
        straight.trainer.run()
    stopped = stopped_half_way(tmp_path / "halves", at_step=120, **settings)
    assert not equal(stopped.state(), straight.state())
    with run_in(tmp_path / "halves", resume=tmp_path / "halves", eval_every=120, **settings) as resumed:
        finished = resumed.trainer.run()
    assert finished.step == 250
    assert equal(resumed.state(), straight.state())
    one, other = (load_checkpoint(tmp_path / name) for name in ("straight", "halves"))
    assert equal(one.model_state(), other.model_state())
    assert one.state.position == other.state.position
    assert one.state.epoch == other.state.epoch


def test_a_run_can_be_continued_in_another_folder_and_for_longer(tmp_path: Path) -> None:
    with run_in(tmp_path / "one", max_steps=50) as run:
        run.trainer.run()
    with run_in(tmp_path / "two", resume=tmp_path / "one", max_steps=80) as run:
        assert run.trainer.run().step == 80
    assert load_checkpoint(tmp_path / "one").state.step == 50
    assert load_checkpoint(tmp_path / "two").state.step == 80


def test_a_run_that_is_complete_has_nothing_left_to_do(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=50) as run:
        run.trainer.run()
    before = load_checkpoint(tmp_path / "run").model_state()
    with run_in(tmp_path / "run", resume=tmp_path / "run", max_steps=50) as run:
        assert run.trainer.run().step == 50
    assert equal(load_checkpoint(tmp_path / "run").model_state(), before)


def test_a_checkpoint_of_another_share_is_refused(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=5, share="1/4") as run:
        run.trainer.run()
    checkpoint = load_checkpoint(tmp_path / "run")
    with (
        RunFolder.create(tmp_path / "other", "digits") as folder,
        pytest.raises(CheckpointMismatchError, match="training samples"),
    ):
        Run(folder, Interrupts(), resume=checkpoint)


def test_a_request_to_stop_breaks_off_a_long_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(self: EvaluationSet, model: nn.Module, **options: object) -> Evaluation:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(100.0)
        raise AssertionError("nobody waits for this")

    monkeypatch.setattr(EvaluationSet, "evaluate", endless)
    with run_in(tmp_path / "run", max_steps=1000, eval_every=10) as run:
        finished = run.trainer.run()
    assert (finished.step, finished.reason, finished.accuracy) == (10, "interrupted", None)
    assert load_checkpoint(tmp_path / "run").state.step == 10


# When something goes wrong.


def is_finite(checkpoint: Checkpoint) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in checkpoint.model_state().values())


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with (
        run_in(tmp_path / "run", learning_rate=1000.0, max_steps=1000, checkpoint_every=1e-6, eval_every=0) as run,
        pytest.raises(NonFiniteLossError, match=r"The loss became (nan|inf) at step") as caught,
    ):
        run.trainer.run()
    assert caught.value.exit_code == 41
    assert "--lr" in caught.value.remedy
    (finished,) = run.find(events.Finished)
    assert (finished.reason, finished.loss) == ("non-finite loss", None)
    kept = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert kept
    assert all(is_finite(load_checkpoint(path)) for path in kept)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["loss"] is None


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**50), lambda: bytearray(2**50)], ids=["torch", "Python"])
def test_where_memory_runs_out_the_run_ends_with_plain_words_and_its_last_checkpoint_stays(
    tmp_path: Path, allocate: Callable[[], object]
) -> None:
    with run_in(tmp_path / "run", max_steps=1000, checkpoint_every=1e-6, eval_every=0) as run:
        run.trainer.model.register_forward_hook(lambda *_: allocate() if run.find(events.CheckpointSaved) else None)
        with pytest.raises(TrainingError, match=r"There is not enough memory to go on after step \d+") as caught:
            run.trainer.run()
    assert "--batch" in caught.value.remedy
    assert load_checkpoint(tmp_path / "run").state.step > 0


def test_parameters_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    def spoil(event: events.CheckpointSaved) -> None:
        with torch.no_grad():
            next(run.trainer.model.parameters())[0, 0] = float("nan")

    with run_in(tmp_path / "run", max_steps=1000, checkpoint_every=1e-6, eval_every=0) as run:
        run.on(events.CheckpointSaved, spoil)
        with pytest.raises(NonFiniteLossError):
            run.trainer.run()
    assert len(run.find(events.CheckpointSaved)) == 1
    assert is_finite(load_checkpoint(tmp_path / "run"))


def test_a_disk_that_is_full_while_saving_does_not_stop_training(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_steps": 200, "checkpoint_every": 1e-6, "eval_every": 0}
    with run_in(tmp_path / "run", **settings) as run, no_file_above(20_000) as free:
        run.on(events.CheckpointFailed, lambda event: free() if event.step >= 100 else None)
        finished = run.trainer.run()
    assert (finished.step, finished.reason) == (200, "steps")
    failed, saved = run.find(events.CheckpointFailed), run.find(events.CheckpointSaved)
    assert [event.step for event in failed] == list(range(1, 101))
    assert "could not be saved" in failed[0].reason
    assert [event.step for event in saved][-1] == 200
    assert load_checkpoint(tmp_path / "run").state.step == 200
    assert not list((tmp_path / "run" / "checkpoints").glob(".*")), "nothing half is left"


def test_a_disk_that_stays_full_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    with run_in(tmp_path / "run", max_steps=10) as run:
        run.trainer.run()
    with run_in(tmp_path / "run", resume=tmp_path / "run", max_steps=20) as run, no_file_above(20_000):
        assert run.trainer.run().step == 20
    assert run.find(events.CheckpointFailed)
    assert load_checkpoint(tmp_path / "run").state.step == 10
