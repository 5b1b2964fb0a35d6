"""Trainers of Hugging Face transformers in a swarm: one callback, and everything else as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from gossiptrain.integrations.state_file import STATE_FILE
from gossiptrain.training.membership import Gossip
from tests.integrations.classifier import parameters_of
from tests.integrations.trainers import callback, trainer_in
from tests.processes import Family, Peer, free_port


class At(TrainerCallback):
    """Does something when a step has been made."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self.step:
            self.act()


LAUNCHED = "accelerate launch --multi_gpu --num_processes 2"
"""As it is typed, before the program. Where there are graphics cards --multi_gpu goes without saying; without one, and
with --cpu as well, accelerate starts a single process."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("processes", "typed"),
    [
        pytest.param(1, "", marks=pytest.mark.long),
        (2, ""),
        pytest.param(2, LAUNCHED, marks=pytest.mark.long, id="accelerate launch"),
    ],
)
def test_two_trainers_end_with_one_model_and_the_swarm_stands_in_their_logs(
    tmp_path: Path, family: Family, processes: int, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """processes: of the other peer. typed: how they are launched; by default each is started as `torchrun` does it."""
    shown: list[float] = []
    monkeypatch.setattr(Gossip, "show_loss", lambda swarm, loss: shown.append(loss))
    hosted, started = callback(), list[Peer]()

    def wait_for_the_other() -> None:
        assert hosted.swarm is not None
        address = hosted.swarm.addresses[0]
        if typed:
            started.append(launched(family, typed, tmp_path / "other", address))
        else:
            started.extend(other_peer(family, tmp_path / "other", address, processes))
        ended = [one.process.poll for one in started]
        assert hosted.swarm.wait_for_peers(2, until=lambda: any(poll() is not None for poll in ended)), started[0].err

    trainer = trainer_in(tmp_path / "own", hosted, At(1, wait_for_the_other), gradient_accumulation_steps=2)
    trainer.train()
    for process in started:
        assert process.wait() == 0, process.err
    for rank in range(processes):
        theirs = torch.load(tmp_path / "other" / f"parameters-{rank}.pt")
        assert torch.equal(parameters_of(trainer.model), theirs), f"process {rank}"
    assert hosted.swarm is not None
    assert hosted.swarm.step == 40, "steps of the optimizer, not batches"
    assert hosted.swarm.rounds > 0
    assert shown == [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert [log["gossip/peers"] for log in trainer.state.log_history if "loss" in log][-1] == 2.0


ROOT = Path(__file__).parents[2]


def other_peer(family: Family, folder: Path, address: str, processes: int) -> list[Peer]:
    """A trainer of so many processes, each with a copy of the model, as `torchrun` starts them."""
    arguments = ("-m", "tests.integrations.trainers", str(folder), address)
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    places = [{} if processes == 1 else {"RANK": str(n), "LOCAL_RANK": str(n), **shared} for n in range(processes)]
    return [family.start(*arguments, program=[sys.executable], cwd=ROOT, environment=place) for place in places]


def launched(family: Family, typed: str, folder: Path, address: str) -> Peer:
    """The same by a launcher, as a user types it."""
    command = f"{typed} --main_process_port {free_port()} -m tests.integrations.trainers {folder} {address}"
    scripts = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return family.start("-c", f"exec {command}", program=["bash"], cwd=ROOT, environment=scripts)


def test_what_the_outer_step_needs_is_in_each_checkpoint_and_is_taken_from_it_again(tmp_path: Path) -> None:
    trainer_in(tmp_path, callback(), steps=20, save_strategy="steps", save_steps=10).train()
    assert (tmp_path / "checkpoint-10" / STATE_FILE).exists()
    resumed = callback()
    begun_at: list[int] = []
    first_step = At(11, lambda: begun_at.append(resumed.swarm.step if resumed.swarm else -1))
    trainer = trainer_in(tmp_path, resumed, first_step, steps=20)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert begun_at == [11], "the steps before the checkpoint count"


def test_who_fails_in_the_middle_leaves_its_swarm_before_it_trains_anew(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyError("a mistake in somebody's callback")

    hosted = callback()
    failing = trainer_in(tmp_path, hosted, At(5, fail))
    with pytest.raises(KeyError):
        failing.train()
    before = hosted.swarm
    failing.remove_callback(At)
    failing.train()
    assert before is not None
    assert hosted.swarm is not before
    assert not before.is_inside
