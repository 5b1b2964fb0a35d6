"""The loops of others, as their users write them, and what the swarm adds to each.

Owns one function for each host. It trains a model by a job; with arguments for `gossip()` it does so in a swarm, and
waits at its beginning for all that are to come. Does not know what is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaForCausalLM

from benchmarks.hosted.learning import LETTERS, Job, Windows
from gossiptrain import Gossip, gossip

Swarm = dict[str, Any] | None
Wait = Callable[[Gossip], None]
Host = Callable[[LlamaForCausalLM, Job, Swarm, Wait], None]


def with_transformers(model: LlamaForCausalLM, job: Job, swarm: Swarm, wait: Wait) -> None:
    """The Trainer of transformers."""
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, **_arguments(job))
        Trainer(
            model=model, args=arguments, train_dataset=Windows(job.windows), callbacks=_callbacks(swarm, wait)
        ).train()


def with_trl(model: LlamaForCausalLM, job: Job, swarm: Swarm, wait: Wait) -> None:
    """TRL's trainer for supervised fine-tuning."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"input_ids": job.windows.tolist()})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(folder, max_length=job.windows.shape[1], **_arguments(job))
        SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=data,
            processing_class=_letters(),
            callbacks=_callbacks(swarm, wait),
        ).train()


def with_lightning(model: LlamaForCausalLM, job: Job, swarm: Swarm, wait: Wait) -> None:
    """Lightning's Trainer."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    from gossiptrain.integrations.lightning import GossipCallback

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: dict[str, torch.Tensor], number: int) -> torch.Tensor:
            loss: torch.Tensor = self.model(**batch).loss
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = AdamW(self.parameters(), lr=job.learning_rate, weight_decay=0.0)
            schedule = {"scheduler": _linear(optimizer, job.steps), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    class Waiting(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            wait(_entered(callback.swarm))

    callback = GossipCallback(samples_per_step=job.batch, **(swarm or {}))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
    Trainer(
        max_steps=job.steps,
        accelerator="cpu",
        gradient_clip_val=1.0,
        enable_model_summary=False,
        callbacks=[] if swarm is None else [callback, Waiting()],
        **quiet,
    ).fit(Module(), _loader(job))


def with_accelerate(model: LlamaForCausalLM, job: Job, swarm: Swarm, wait: Wait) -> None:
    """A loop of one's own with accelerate."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    optimizer = AdamW(model.parameters(), lr=job.learning_rate, weight_decay=0.0)
    prepared, optimizer, loader = accelerator.prepare(model, optimizer, _loader(job))
    schedule = _linear(optimizer.optimizer, job.steps)

    def train() -> None:
        done = 0
        while done < job.steps:
            for batch in loader:
                accelerator.backward(prepared(**batch).loss)
                accelerator.clip_grad_norm_(prepared.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                done += 1
                if done == job.steps:
                    break

    if swarm is None:
        train()
        return
    with gossip(prepared, optimizer, samples_per_step=job.batch, **swarm) as entered:
        wait(entered)
        train()


HOSTS: dict[str, Host] = {
    "transformers": with_transformers,
    "trl": with_trl,
    "lightning": with_lightning,
    "accelerate": with_accelerate,
}
NEEDS = {"transformers": "transformers", "trl": "trl", "lightning": "lightning", "accelerate": "accelerate"}
"""The package that each host is."""


def _arguments(job: Job) -> dict[str, Any]:
    return {
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "seed": job.seed,
        "logging_steps": max(1, job.steps // 4),
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
    }


def _callbacks(swarm: Swarm, wait: Wait) -> list[Any]:
    from transformers import TrainerCallback

    from gossiptrain.integrations.transformers import GossipCallback

    class Waiting(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            wait(_entered(callback.swarm))

    if swarm is None:
        return []
    callback = GossipCallback(**swarm)
    return [callback, Waiting()]


def _entered(swarm: Gossip | None) -> Gossip:
    if swarm is None:
        raise RuntimeError("the host has not entered the swarm")
    return swarm


def _loader(job: Job) -> Any:
    order = torch.Generator().manual_seed(job.seed)
    data = Windows(job.windows)
    return torch.utils.data.DataLoader(data, batch_size=job.batch, shuffle=True, drop_last=True, generator=order)


def _linear(optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))


def _letters() -> Any:
    """A tokenizer of letters, which TRL asks for although the samples are numbers already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    letters = {chr(32 + number): number for number in range(LETTERS + 1)}
    special = dict.fromkeys(("pad_token", "eos_token", "unk_token"), "~")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(letters, "~")), **special)
