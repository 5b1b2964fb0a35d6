"""Lightning's Trainer in a swarm: one callback, and everything else as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gossiptrain.config import GossipSettings
from gossiptrain.integrations.lightning import GossipCallback
from gossiptrain.training.membership import Gossip
from tests.integrations.classifier import INPUTS, TARGETS, parameters_of, seeded
from tests.members import LOCAL, Member

SETTINGS = GossipSettings(every_steps=10, ending_time=20.0)

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning uses what torch calls obsolete
]


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 2)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.linear(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4, shuffle=True)


def trainer_in(folder: Path, *callbacks: Callback, steps: int = 40, **options: Any) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        log_every_n_steps=10,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **{"logger": False, "enable_checkpointing": False, **options},
    )


def callback(**arguments: Any) -> GossipCallback:
    return GossipCallback(**{"run": "hosted", "network": LOCAL, "settings": SETTINGS, **arguments})


class At(Callback):
    """Does something when a step has been made."""

    def __init__(self, step: int, act: Callable[[Trainer], object]) -> None:
        self.step, self.act = step, act

    def on_train_batch_end(self, trainer: Trainer, *given: Any, **named: Any) -> None:
        if trainer.global_step == self.step:
            self.act(trainer)


def test_a_trainer_and_a_loop_of_ones_own_end_with_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[float] = []
    monkeypatch.setattr(Gossip, "show_loss", lambda swarm, loss: shown.append(loss))
    with Member(0.0, model=seeded(Classifier, 1), run="hosted", settings=SETTINGS) as other:
        hosted = callback(initial_peers=other.address)
        model = seeded(Classifier, 0)
        met = At(1, lambda trainer: hosted.swarm and hosted.swarm.wait_for_peers(2))
        trainer = trainer_in(tmp_path, hosted, met, At(30, lambda trainer: other.stop()), accumulate_grad_batches=2)
        trainer.fit(model, loader())
        other.join()
        assert torch.equal(parameters_of(model), other.values)
        assert hosted.swarm is not None
        assert hosted.swarm.rounds > 0
        assert trainer.callback_metrics["gossip/peers"] == 2.0
        assert len(shown) > 1
        assert all(0 < loss < 10 for loss in shown)


def test_its_state_is_part_of_lightnings_checkpoints(tmp_path: Path) -> None:
    kept = tmp_path / "kept.ckpt"
    trainer = trainer_in(tmp_path, callback(), At(10, lambda trainer: trainer.save_checkpoint(kept)), steps=20)
    trainer.fit(seeded(Classifier, 0), loader())
    resumed = callback()
    trainer_in(tmp_path, resumed, steps=15).fit(seeded(Classifier, 5), loader(), ckpt_path=str(kept))
    assert resumed.swarm is not None
    assert resumed.swarm.step == 15, "the steps before the checkpoint count"


def test_who_fails_in_the_middle_leaves_at_once(tmp_path: Path) -> None:
    def fail(trainer: Trainer) -> None:
        raise KeyError("a mistake in somebody's callback")

    hosted = callback()
    with pytest.raises(KeyError):
        trainer_in(tmp_path, hosted, At(2, fail)).fit(seeded(Classifier, 0), loader())
    assert hosted.swarm is not None
    assert not hosted.swarm.is_inside
