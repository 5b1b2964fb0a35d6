"""Which samples a peer sees, and in which order.

Owns shares of a data set, the endless order of samples and the seeds derived from it. Everything here is a function
of seeds and positions, so a stream of batches continues exactly where it stopped. Does not know what a sample is.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossiptrain.errors import UsageError

SPLIT_SEED = 20_080_617
"""Seeds every split that all peers must agree on. A RandomState's stream is frozen in numpy for all versions."""


def seed_from(*parts: int | str) -> int:
    """A seed of 63 bits that changes completely with any of `parts`."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def deal(labels: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """Deals the samples to `parts` disjoint parts that cover all; the same everywhere and at all times.

    The samples of each class are shuffled, then dealt in turn, so the parts differ by at most one sample in size and
    in every class. Returns indices in rising order.
    """
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return [np.sort(by_class[part::parts]) for part in range(parts)]


@dataclass(frozen=True)
class Share:
    """Which samples a peer sees: the whole set, or part `part` of `parts` (1 for the first, as in `--share 1/4`).

    identity_seed: derived from the peer's identity; gives each peer an order of its own.
    """

    identity_seed: int
    part: int | None = None
    parts: int | None = None

    def __post_init__(self) -> None:
        if (self.part is None) != (self.parts is None):
            raise UsageError("A share is a part of a number of parts, for example 2/4.")
        if self.part is not None and self.parts is not None and not 1 <= self.part <= self.parts:
            raise UsageError(f"There is no share {self.part}/{self.parts}.", remedy="The first of four is 1/4.")

    @classmethod
    def parse(cls, text: str | None, *, identity_seed: int) -> Self:
        """Reads "2/4" as on the command line; None is the whole set. Raises UsageError."""
        if text is None:
            return cls(identity_seed)
        part, slash, parts = text.partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal()):
            raise UsageError(f"A share is written like 2/4, not {text!r}.")
        return cls(identity_seed, int(part), int(parts))

    def indices(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples of this share, in rising order."""
        if self.part is None or self.parts is None:
            return np.arange(len(labels))
        return deal(labels, self.parts)[self.part - 1]


@dataclass(frozen=True)
class Cursor:
    """A place in the endless order: `position` samples of epoch `epoch` have been taken."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class Draw:
    """The samples of one batch, and where in the order they stood."""

    at: Cursor
    samples: Tensor
    """Indices into the data set, int64 [batch], on the CPU."""


class SampleOrder:
    """The order in which a peer meets its samples: epoch after epoch, each time in a new permutation.

    What is left at the end of an epoch and does not fill a batch is dropped.
    """

    def __init__(self, indices: NDArray[np.int64], *, seed: int, batch: int) -> None:
        """Raises UsageError where the batch is not between 1 and the number of samples."""
        if not 1 <= batch <= len(indices):
            raise UsageError(
                f"The batch is {batch}, and this peer sees {len(indices)} samples.",
                remedy="Choose a batch from 1 to the number of samples.",
            )
        self.seed = seed
        self.batch = batch
        self.samples = len(indices)
        self._indices = torch.from_numpy(indices)
        self._shuffled_epoch = -1
        self._shuffled = self._indices

    def take(self, cursor: Cursor) -> tuple[Draw, Cursor]:
        """The batch that begins at `cursor`, and the cursor behind it."""
        if cursor.position + self.batch > self.samples:
            cursor = Cursor(cursor.epoch + 1)
        end = cursor.position + self.batch
        return Draw(cursor, self._epoch(cursor.epoch)[cursor.position : end]), Cursor(cursor.epoch, end)

    def _epoch(self, epoch: int) -> Tensor:
        if epoch != self._shuffled_epoch:
            generator = torch.Generator().manual_seed(seed_from("order", self.seed, epoch))
            self._shuffled = self._indices[torch.randperm(self.samples, generator=generator)]
            self._shuffled_epoch = epoch
        return self._shuffled
