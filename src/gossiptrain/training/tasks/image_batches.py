"""Batches of images that are read from files while the device works.

Owns the threads that decode ahead. Order and augmentation of each image are functions of seeds, so they do not depend
on which thread is faster. Does not know the tree of files, nor the recipe.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossiptrain.training.tasks.augment import Normalise
from gossiptrain.training.tasks.batches import Batch, TrainingBatches
from gossiptrain.training.tasks.class_folders import ImageFiles
from gossiptrain.training.tasks.evaluation import EvaluationSet
from gossiptrain.training.tasks.images import ChooseCrop, centre_crop, load_pixels, random_crop
from gossiptrain.training.tasks.sampling import Cursor, Draw, SampleOrder, seed_from

MAX_THREADS = 16
AHEAD_BATCHES = 2
"""Batches in the making while one is learnt from."""
NORMALISE = Normalise(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))


class PendingBatch:
    """A batch whose images are being decoded into one block of memory."""

    def __init__(self, images: Tensor, targets: Tensor, *, futures: Sequence[Future[None]]) -> None:
        self._images = images
        self._targets = targets
        self._futures = futures

    def wait(self, device: torch.device) -> Batch:
        """The finished batch on the device. Raises DataCorruptError for an image that cannot be read."""
        for future in self._futures:
            future.result()
        images = self._images.to(device, non_blocking=True)
        return Batch(NORMALISE(images), self._targets.to(device, non_blocking=True))


class Decoder:
    """Threads that turn image files into batches."""

    def __init__(self, files: ImageFiles, *, size: int, device: torch.device, threads: int | None = None) -> None:
        """size: side of the images in pixels. threads: None for one a processor core, up to 16."""
        self._files = files
        self._size = size
        self.device = device
        self._threads = ThreadPoolExecutor(threads or _default_threads(), thread_name_prefix="decode")

    def start(self, indices: NDArray[np.int64], crops: Sequence[ChooseCrop]) -> PendingBatch:
        """Starts to decode the named images, each with its own crop."""
        shape = (len(indices), self._size, self._size, 3)
        # Pinned memory is copied to an accelerator while that one computes.
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        rows = images.numpy()
        futures = [
            self._threads.submit(_decode_into, row, path=self._files.path(index), choose=crop)
            for row, index, crop in zip(rows, indices, crops, strict=True)
        ]
        return PendingBatch(images, torch.from_numpy(self._files.labels[indices]), futures=futures)

    def close(self) -> None:
        """Drops what has not been started and waits for the rest."""
        self._threads.shutdown(cancel_futures=True)


def _default_threads() -> int:
    # The cores that this process may use, where the system tells: several peers may divide a computer among them.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_THREADS, cores)


def _decode_into(row: NDArray[np.uint8], *, path: Path, choose: ChooseCrop) -> None:
    row[:] = load_pixels(path, size=len(row), choose=choose)


class ImageBatches(TrainingBatches):
    """Training batches of randomly cropped and mirrored images."""

    def __init__(self, decoder: Decoder, *, order: SampleOrder) -> None:
        super().__init__(order)
        self._decoder = decoder
        self._pending: deque[tuple[PendingBatch, Cursor]] = deque()
        self._ahead = Cursor()

    def next(self) -> Batch:
        """The next batch, on the device. Raises DataCorruptError for an image that cannot be read."""
        while len(self._pending) <= AHEAD_BATCHES:
            draw, self._ahead = self._order.take(self._ahead)
            self._pending.append((self._start(draw), self._ahead))
        pending, self._cursor = self._pending.popleft()
        return pending.wait(self._decoder.device)

    def restore(self, state: Mapping[str, object]) -> None:
        """As in TrainingBatches; what was decoded ahead is dropped."""
        super().restore(state)
        self._pending.clear()
        self._ahead = self._cursor

    def close(self) -> None:
        """Ends the threads."""
        self._pending.clear()
        self._decoder.close()

    def _start(self, draw: Draw) -> PendingBatch:
        indices = draw.samples.numpy()
        seeds = (seed_from("augmentation", self._order.seed, draw.at.epoch, index) for index in indices)
        return self._decoder.start(indices, [partial(random_crop, random=Random(seed)) for seed in seeds])


class ImageEvaluationSet(EvaluationSet):
    """Held-out images, each looked at once, in its middle."""

    def __init__(self, decoder: Decoder, *, samples: int, batch: int) -> None:
        super().__init__(samples)
        self._decoder = decoder
        self._batch = batch

    def batches(self, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """The named images, in this order. Raises DataCorruptError for an image that cannot be read."""
        pending: deque[PendingBatch] = deque()
        for start in range(0, len(indices), self._batch):
            chosen = indices[start : start + self._batch]
            pending.append(self._decoder.start(chosen, [centre_crop] * len(chosen)))
            if len(pending) > AHEAD_BATCHES:
                yield pending.popleft().wait(self._decoder.device)
        while pending:
            yield pending.popleft().wait(self._decoder.device)

    def close(self) -> None:
        """Ends the threads."""
        self._decoder.close()
