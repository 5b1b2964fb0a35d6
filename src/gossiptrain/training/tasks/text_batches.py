"""A text as samples: windows of characters, each with the characters that follow.

Owns which characters a peer sees, where the windows of a batch begin, and those that are held out. Does not know where
texts come from, nor who learns from them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossiptrain.errors import DataCorruptError
from gossiptrain.training.tasks.batches import Batch, TrainingBatches
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet
from gossiptrain.training.tasks.sampling import SampleOrder, Share, seed_from

BLOCK = 1024
"""Characters that stay together when a text is dealt to several peers: many windows, and a small part of a text."""


class TextBatches(TrainingBatches):
    """Random windows of a text that lies on the device.

    The samples are the stretches of one context each; a window begins at a random place in its stretch. So one epoch
    reads about as many characters as the text has, and the next one cuts it differently.
    """

    def __init__(self, text: Tensor, *, context: int, order: SampleOrder) -> None:
        """text [N] uint8 on the device. The order is that of `stretches(N, context)` samples."""
        super().__init__(order)
        self._text = text
        self._context = context

    def next(self) -> Batch:
        """The next batch: inputs and targets [batch, context] int64, the targets one character further."""
        draw, self._cursor = self._order.take(self._cursor)
        seed = seed_from("window", self._order.seed, draw.at.epoch, draw.at.position)
        offsets = torch.randint(self._context, draw.samples.shape, generator=torch.Generator().manual_seed(seed))
        return windows(self._text, draw.samples * self._context + offsets, context=self._context)


def stretches(characters: int, context: int) -> int:
    """How many stretches of a text a window may begin in, at any place of them; none where the text is too short."""
    return max(0, characters // context - 1)


def windows(text: Tensor, starts: Tensor, *, context: int) -> Batch:
    """Windows of `text` that begin at `starts`: inputs and targets [starts, context] int64, where the text lies."""
    places = starts.unsqueeze(1) + torch.arange(context + 1)
    characters = text[places.to(text.device, non_blocking=True)].long()
    return Batch(characters[:, :-1], characters[:, 1:])


def dealt(text: NDArray[np.uint8], share: Share) -> NDArray[np.uint8]:
    """What of a text a peer sees: all of it, or blocks from everywhere in it, dealt like samples of one class.

    Any two shares are of the same kind, as shares of images are. Blocks that were not neighbours become so; that is
    one break in a thousand characters.
    """
    blocks = -(-len(text) // BLOCK)
    own = share.indices(np.zeros(blocks, dtype=np.int64))
    return text[np.isin(np.arange(len(text)) // BLOCK, own)]


def held_out(text: Tensor, *, context: int, characters: int, batch: int) -> TensorEvaluationSet:
    """Windows that do not overlap, spread evenly over the text [N] uint8, with so many `characters` together at most.

    Raises DataCorruptError where the text is shorter than one window.
    """
    available = (len(text) - 1) // context
    if available < 1:
        raise DataCorruptError(
            f"The text is too short: its last tenth holds {len(text)} bytes, and the model looks at {context}.",
            remedy=f"Bring a text of at least {10 * (context + 1):,} bytes.",
        )
    chosen = min(available, max(1, characters // context))
    starts = torch.arange(chosen) * available // chosen * context
    found = windows(text, starts, context=context)
    return TensorEvaluationSet(found.inputs, found.targets, batch=batch)
