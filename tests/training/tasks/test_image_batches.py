"""Batches decoded ahead by threads: the same whatever the threads do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from gossiptrain.errors import DataCorruptError
from gossiptrain.training.tasks.batches import Batch
from gossiptrain.training.tasks.class_folders import ImageFiles, read_class_folders
from gossiptrain.training.tasks.image_batches import Decoder, ImageBatches, ImageEvaluationSet
from gossiptrain.training.tasks.sampling import SampleOrder
from tests.training.tasks.image_trees import write_tree

CPU = torch.device("cpu")
SIZE = 32


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    return read_class_folders(write_tree(tmp_path)).images("train")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def open_stream(files: ImageFiles, stack: ExitStack, *, seed: int = 1, threads: int = 2) -> ImageBatches:
    order = SampleOrder(np.arange(len(files)), seed=seed, batch=5)
    decoder = Decoder(files, size=SIZE, device=CPU, threads=threads)
    return stack.enter_context(closing(ImageBatches(decoder, order=order)))


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def test_a_batch_has_the_shape_and_layout_for_convolutions(files: ImageFiles, stack: ExitStack) -> None:
    batch = open_stream(files, stack).next()
    assert batch.inputs.shape == (5, 3, SIZE, SIZE)
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert batch.targets.dtype == torch.int64


def test_the_number_of_threads_changes_nothing(files: ImageFiles, stack: ExitStack) -> None:
    one, many = open_stream(files, stack, threads=1), open_stream(files, stack, threads=7)
    assert all(same(one.next(), many.next()) for _ in range(6))


def test_peers_and_epochs_see_other_crops(files: ImageFiles, stack: ExitStack) -> None:
    mine, other = open_stream(files, stack, seed=1), open_stream(files, stack, seed=2)
    assert not same(mine.next(), other.next())
    shown = [{image.numpy().tobytes() for _ in range(2) for image in mine.next().inputs} for _ in range(3)]
    assert shown[0].isdisjoint(shown[1] | shown[2])


@pytest.mark.parametrize("done", [0, 1, 4])
def test_a_restored_stream_gives_exactly_the_next_batches(files: ImageFiles, stack: ExitStack, done: int) -> None:
    batches = open_stream(files, stack)
    for _ in range(done):
        batches.next()
    restored = open_stream(files, stack)
    restored.next()  # what it decoded ahead for another place must not come out
    restored.restore(batches.state())
    assert all(same(batches.next(), restored.next()) for _ in range(5))


def test_an_unreadable_image_is_named_when_its_batch_comes(files: ImageFiles, stack: ExitStack) -> None:
    files.path(7).write_bytes(b"no image")
    batches = open_stream(files, stack)
    with pytest.raises(DataCorruptError, match=files.path(7).name):
        list(islice(iter(batches.next, None), 3 * batches.steps_per_epoch))


def test_evaluation_goes_through_the_images_in_order(files: ImageFiles, stack: ExitStack) -> None:
    decoder = Decoder(files, size=SIZE, device=CPU, threads=3)
    held_out = stack.enter_context(closing(ImageEvaluationSet(decoder, samples=len(files), batch=5)))
    indices = np.array([0, 3, 4, 5, 9, 11])
    batches = list(held_out.batches(indices))
    assert [len(batch) for batch in batches] == [5, 1]
    assert torch.cat([batch.targets for batch in batches]).tolist() == files.labels[indices].tolist()
    again = torch.cat([batch.inputs for batch in held_out.batches(indices)])
    assert torch.equal(again, torch.cat([batch.inputs for batch in batches]))


def test_an_unreadable_image_ends_an_evaluation(files: ImageFiles, stack: ExitStack) -> None:
    files.path(2).write_bytes(b"no image")
    decoder = Decoder(files, size=SIZE, device=CPU)
    held_out = stack.enter_context(closing(ImageEvaluationSet(decoder, samples=len(files), batch=5)))
    with pytest.raises(DataCorruptError, match=files.path(2).name):
        held_out.evaluate(torch.nn.Flatten())


def test_closing_early_leaves_no_thread(files: ImageFiles, stack: ExitStack) -> None:
    open_stream(files, stack).next()
