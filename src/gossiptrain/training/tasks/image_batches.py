"""Batches of images that are read from files while the device works.

Owns the threads that decode ahead, and what becomes of images that cannot be read. Order and augmentation of each
image are functions of seeds, so they do not depend on which thread is faster. Does not know the tree of files, nor the
recipe.
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

from gossiptrain.errors import DataCorruptError
from gossiptrain.training.tasks.augment import Normalise
from gossiptrain.training.tasks.batches import Batch, TrainingBatches
from gossiptrain.training.tasks.class_folders import ImageFiles
from gossiptrain.training.tasks.damaged import DamagedFiles
from gossiptrain.training.tasks.evaluation import EvaluationSet
from gossiptrain.training.tasks.images import ChooseCrop, centre_crop, load_pixels, random_crop
from gossiptrain.training.tasks.sampling import Cursor, Draw, SampleOrder, seed_from

MAX_THREADS = 16
AHEAD_BATCHES = 2
"""Batches in the making while one is learnt from."""
NORMALISE = Normalise(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))


class PendingBatch:
    """A batch whose images are being decoded into one block of memory."""

    def __init__(
        self, images: Tensor, targets: Tensor, *, futures: Sequence[tuple[str, Future[None]]], damaged: DamagedFiles
    ) -> None:
        """futures: by image its path, and what decodes it."""
        self._images = images
        self._targets = targets
        self._futures = futures
        self._damaged = damaged

    def wait(self, device: torch.device, *, refill: bool) -> Batch | None:
        """The finished batch on the device, without images that cannot be read.

        refill: whether others of the batch take their place, so that it has its size. None where all are damaged.
        Raises DataCorruptError where too many files are.
        """
        sound = [place for place in range(len(self._futures)) if self._is_sound(place)]
        if not sound:
            return None
        if len(sound) < len(self._futures):
            taken = sound
            if refill:
                bad = set(range(len(self._futures))) - set(sound)
                others = iter(sound * len(self._futures))
                taken = [next(others) if place in bad else place for place in range(len(self._futures))]
            self._images, self._targets = self._images[taken], self._targets[taken]
        images = self._images.to(device, non_blocking=True)
        return Batch(NORMALISE(images), self._targets.to(device, non_blocking=True))

    def _is_sound(self, place: int) -> bool:
        path, future = self._futures[place]
        try:
            future.result()
        except DataCorruptError as error:
            self._damaged.pass_over(path, error)
            return False
        return True


class Decoder:
    """Threads that turn image files into batches."""

    def __init__(self, files: ImageFiles, *, size: int, device: torch.device, threads: int | None = None) -> None:
        """size: side of the images in pixels. threads: None for one a processor core, up to 16."""
        self._files = files
        self._size = size
        self.device = device
        self.damaged = DamagedFiles(len(files))
        self._threads = ThreadPoolExecutor(threads or _default_threads(), thread_name_prefix="decode")

    def start(self, indices: NDArray[np.int64], crops: Sequence[ChooseCrop]) -> PendingBatch:
        """Starts to decode the named images, each with its own crop."""
        shape = (len(indices), self._size, self._size, 3)
        # Pinned memory is copied to an accelerator while that one computes.
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        rows = images.numpy()
        futures = []
        for row, index, crop in zip(rows, indices, crops, strict=True):
            path = self._files.path(index)
            futures.append((os.fspath(path), self._threads.submit(_decode_into, row, path=path, choose=crop)))
        targets = torch.from_numpy(self._files.labels[indices])
        return PendingBatch(images, targets, futures=futures, damaged=self.damaged)

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

    @property
    def damaged(self) -> tuple[str, ...]:
        """Images that could not be read; others of their batch were learnt from in their place."""
        return self._decoder.damaged.paths

    def next(self) -> Batch:
        """The next batch, on the device. Raises DataCorruptError where too many images cannot be read."""
        for _ in range(self.steps_per_epoch + 1):
            batch = self._next_pending().wait(self._decoder.device, refill=True)
            if batch is not None:
                return batch
        raise DataCorruptError(
            f"None of the {self.samples} images that this peer sees can be read; the first is {self.damaged[0]}.",
            remedy="Fetch the data set again.",
        )

    def _next_pending(self) -> PendingBatch:
        while len(self._pending) <= AHEAD_BATCHES:
            draw, self._ahead = self._order.take(self._ahead)
            self._pending.append((self._start(draw), self._ahead))
        pending, self._cursor = self._pending.popleft()
        return pending

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

    @property
    def damaged(self) -> tuple[str, ...]:
        """Images that could not be read, and were left out."""
        return self._decoder.damaged.paths

    def batches(self, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """The named images, in this order, without those that cannot be read.

        Raises DataCorruptError where too many images cannot be read.
        """
        for pending in self._pending(indices):
            batch = pending.wait(self._decoder.device, refill=False)
            if batch is not None:
                yield batch

    def _pending(self, indices: NDArray[np.int64]) -> Iterator[PendingBatch]:
        ahead: deque[PendingBatch] = deque()
        for start in range(0, len(indices), self._batch):
            chosen = indices[start : start + self._batch]
            ahead.append(self._decoder.start(chosen, [centre_crop] * len(chosen)))
            if len(ahead) > AHEAD_BATCHES:
                yield ahead.popleft()
        yield from ahead

    def close(self) -> None:
        """Ends the threads."""
        self._decoder.close()
