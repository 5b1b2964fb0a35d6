"""A trainer of transformers as a process of its own, which is how their library expects to be used: much of its state
is global."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from gossiptrain.config import GossipSettings
from gossiptrain.integrations.transformers import GossipCallback
from tests.integrations.classifier import INPUTS, TARGETS, parameters_of, seeded
from tests.members import LOCAL

SETTINGS = GossipSettings(every_steps=10, strategy="step-mix", ending_time=20.0)


class Classifier(nn.Module):
    """As transformers expects it: it returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 2)

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        scores = self.linear(inputs)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


class Examples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Those of a peer."""

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": INPUTS[index], "labels": TARGETS[index]}


def trainer_in(folder: Path, *callbacks: TrainerCallback, seed: int = 0, steps: int = 40, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
        **{"save_strategy": "no", **options},
    )
    model = seeded(Classifier, seed)
    return Trainer(model=model, args=arguments, train_dataset=Examples(), callbacks=list(callbacks))


def callback(**arguments: Any) -> GossipCallback:
    return GossipCallback(**{"run": "hosted", "network": LOCAL, "settings": SETTINGS, **arguments})


def main(folder: str, address: str) -> None:
    trainer = trainer_in(Path(folder), callback(initial_peers=address), seed=1, gradient_accumulation_steps=2)
    trainer.train()
    torch.save(parameters_of(trainer.model), Path(folder) / f"parameters-{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
