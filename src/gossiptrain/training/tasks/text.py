"""Text, character by character: Tiny Shakespeare (Karpathy 2015), or any file that is brought along.

Owns the variants of the model and the recipe. A character is one byte, so every text has the same 256 and all peers
have the same model, whatever each of them reads; in Shakespeare 65 of them occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gossiptrain.errors import UsageError
from gossiptrain.training.tasks.batches import Batch
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet
from gossiptrain.training.tasks.recipe import Recipe
from gossiptrain.training.tasks.sampling import SampleOrder, Share
from gossiptrain.training.tasks.task import Task, seeded
from gossiptrain.training.tasks.text_batches import TextBatches, dealt, held_out, stretches
from gossiptrain.training.tasks.text_file import load_text
from gossiptrain.training.tasks.transformer import Transformer, TransformerShape
from gossiptrain.wrong_values import one_of

TextModelName: TypeAlias = Literal["small", "tiny", "nano"]
SHAPES: Mapping[TextModelName, TransformerShape] = MappingProxyType(
    {
        "small": TransformerShape(layers=4, width=128, heads=4, context=128),
        "tiny": TransformerShape(layers=2, width=64, heads=2, context=64),
        "nano": TransformerShape(layers=4, width=128, heads=4, context=64),
    }
)
"""837,888, 119,424 and 829,696 parameters; nano has the sizes with which nanoGPT (Karpathy 2022) is tried on a CPU."""
EVALUATION_BATCH = 32
EVALUATION_CHARACTERS = 51_200
"""Characters that are foretold in an evaluation, not quite half of the validation text: a second on two cores."""


class TextTask(Task):
    """A small transformer that tells the next character."""

    name = "text"
    recipe = Recipe(
        batch=32,
        epochs=10,
        learning_rate=4e-3,
        every_steps=25,
        strategy="step-mix",
        optimizer="adamw",
        second_beta=0.99,
        weight_decay=0.1,
        clip_norm=1.0,
        warmup=0.1,
        decay="cosine",
        final=0.1,
    )
    inputs = "[N, T] int64: the bytes of a text, T up to the context; [N, T, 256] logits of the byte behind each"
    vocabulary = "bytes"

    def __init__(self, *, model: TextModelName = "small") -> None:
        """Raises UsageError for a variant that does not exist."""
        if model not in SHAPES:
            raise UsageError(f"There is no model {model!r} for text.", remedy=one_of(str(model), tuple(SHAPES)))
        self.model = model
        self.shape = SHAPES[model]

    @property
    def variant(self) -> dict[str, Any]:
        """The size of the model."""
        return {"model": self.model}

    @property
    def description(self) -> str:
        """What peers must agree on: layers, width and heads, and the context. The text may be each peer's own."""
        shape = self.shape
        return f"text/transformer {shape.layers}x{shape.width}x{shape.heads} on {shape.context} bytes"

    def build_model(self, seed: int) -> nn.Module:
        """The transformer of this variant."""
        with seeded(seed):
            return Transformer(self.shape)

    def open_training(self, *, data_dir: Path | None, share: Share, batch: int, device: torch.device) -> TextBatches:
        """Random windows of the first nine tenths of the text, or of this peer's share of them."""
        own = dealt(load_text(data_dir).training, share)
        samples = np.arange(stretches(len(own), self.shape.context))
        order = SampleOrder(samples, seed=share.identity_seed, batch=batch)
        return TextBatches(torch.from_numpy(own).to(device), context=self.shape.context, order=order)

    def open_evaluation(self, *, data_dir: Path | None, device: torch.device) -> TensorEvaluationSet:
        """Windows from everywhere in the last tenth of the text."""
        text = torch.from_numpy(load_text(data_dir).validation).to(device)
        context = self.shape.context
        return held_out(text, context=context, characters=EVALUATION_CHARACTERS, batch=EVALUATION_BATCH)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Nats a character, mean over the batch."""
        logits: Tensor = model(batch.inputs)
        return functional.cross_entropy(
            logits.flatten(0, -2), batch.targets.flatten(), label_smoothing=self.recipe.label_smoothing
        )
