"""What is learnt in every host: the text of a file, letter by letter, by a small language model.

Owns data, model and the held-out loss. Does not know hosts or swarms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

LETTERS = 96
"""ASCII that can be printed; all else is one more letter."""
WINDOW = 32


@dataclass(frozen=True)
class Job:
    """What one peer is to do. windows: token numbers, (samples, WINDOW)."""

    windows: Tensor
    steps: int
    batch: int
    learning_rate: float
    seed: int
    width: int
    base: Path | None = None
    """File with the parameters to begin with; None: begin anew."""


class Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The samples of one peer, in the form that all hosts take."""

    def __init__(self, windows: Tensor) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self._windows[index], "labels": self._windows[index]}


def windows_of(paths: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Those to train on and those held out: each tenth stretch of the texts."""
    text = "".join(path.read_text("utf-8") for path in paths)
    letters = [min(ord(letter) - 32, LETTERS) if letter >= " " else LETTERS for letter in text]
    whole = torch.tensor(letters)
    windows = whole[: len(whole) // WINDOW * WINDOW].view(-1, WINDOW)
    is_held_out = torch.arange(len(windows)) // 8 % 10 == 9
    return windows[~is_held_out], windows[is_held_out]


def new_model(seed: int, *, width: int) -> LlamaForCausalLM:
    """About 20,000 parameters of width 32, 70,000 of width 64, 200,000 of width 128."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=LETTERS + 1,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=WINDOW,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def model_for(job: Job) -> LlamaForCausalLM:
    """The model that a peer begins with."""
    model = new_model(job.seed, width=job.width)
    if job.base is not None:
        model.load_state_dict(load_file(job.base))
    return model


def keep(model: nn.Module, place: Path) -> None:
    """Writes the parameters to a file that `Job.base` can name."""
    save_file(model.state_dict(), place)


def held_out_loss(model: nn.Module, windows: Tensor) -> float:
    """In nats a letter."""
    model.eval()
    with torch.inference_mode():
        losses = [float(model(input_ids=part, labels=part)["loss"]) * len(part) for part in torch.split(windows, 256)]
    return sum(losses) / len(windows)


def digest_of(model: nn.Module) -> str:
    """Of all parameters, bit by bit."""
    content = b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())
    return hashlib.sha256(content).hexdigest()
