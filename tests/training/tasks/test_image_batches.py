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


def test_an_unreadable_image_is_passed_over_and_batches_keep_their_size(files: ImageFiles, stack: ExitStack) -> None:
    files.path(7).write_bytes(b"no image")
    batches, whole = open_stream(files, stack, threads=1), open_stream(files, stack, threads=5)
    assert not batches.damaged
    for _ in range(3 * batches.steps_per_epoch):
        one, other = batches.next(), whole.next()
        assert len(one) == 5
        assert same(one, other), "whichever thread was faster"
        assert torch.isfinite(one.inputs).all()
    assert batches.damaged == (str(files.path(7)),), "once, however often it was met"


def test_others_of_the_batch_take_the_place_of_a_damaged_image(files: ImageFiles, stack: ExitStack) -> None:
    sound = open_stream(files, stack).next()
    first = open_stream(files, stack)
    (order,) = [first._order.take(first._cursor)[0].samples.tolist()]  # which images the first batch is of
    files.path(order[1]).write_bytes(b"no image")
    mended = open_stream(files, stack).next()
    assert torch.equal(mended.inputs[1], sound.inputs[0])
    assert mended.targets[1] == sound.targets[0]
    assert torch.equal(mended.inputs[2:], sound.inputs[2:])


def test_a_data_set_with_many_unreadable_images_is_refused_by_name(files: ImageFiles, stack: ExitStack) -> None:
    for index in range(len(files)):
        files.path(index).write_bytes(b"no image")
    batches = open_stream(files, stack)
    with pytest.raises(DataCorruptError, match=r"the 11th damaged file, and more than 10") as caught:
        list(islice(iter(batches.next, None), 3 * batches.steps_per_epoch))
    assert str(files.path(0).parent.parent) in caught.value.what


def test_a_few_images_none_of_which_can_be_read_are_no_reason_to_look_forever(
    files: ImageFiles, stack: ExitStack
) -> None:
    for index in range(5):
        files.path(index).write_bytes(b"no image")
    decoder = Decoder(files, size=SIZE, device=CPU)
    order = SampleOrder(np.arange(5), seed=1, batch=5)
    batches = stack.enter_context(closing(ImageBatches(decoder, order=order)))
    with pytest.raises(DataCorruptError, match="None of the 5 images that this peer sees"):
        batches.next()


def test_evaluation_goes_through_the_images_in_order(files: ImageFiles, stack: ExitStack) -> None:
    decoder = Decoder(files, size=SIZE, device=CPU, threads=3)
    held_out = stack.enter_context(closing(ImageEvaluationSet(decoder, samples=len(files), batch=5)))
    indices = np.array([0, 3, 4, 5, 9, 11])
    batches = list(held_out.batches(indices))
    assert [len(batch) for batch in batches] == [5, 1]
    assert torch.cat([batch.targets for batch in batches]).tolist() == files.labels[indices].tolist()
    again = torch.cat([batch.inputs for batch in held_out.batches(indices)])
    assert torch.equal(again, torch.cat([batch.inputs for batch in batches]))


def test_an_unreadable_image_is_left_out_of_an_evaluation(files: ImageFiles, stack: ExitStack) -> None:
    files.path(2).write_bytes(b"no image")
    decoder = Decoder(files, size=SIZE, device=CPU)
    held_out = stack.enter_context(closing(ImageEvaluationSet(decoder, samples=len(files), batch=5)))
    found = held_out.evaluate(torch.nn.Flatten())
    assert found.samples == len(files) - 1
    assert held_out.damaged == (str(files.path(2)),)


def test_an_evaluation_of_unreadable_images_alone_is_none(files: ImageFiles, stack: ExitStack) -> None:
    for index in range(3):
        files.path(index).write_bytes(b"no image")
    decoder = Decoder(files, size=SIZE, device=CPU)
    held_out = stack.enter_context(closing(ImageEvaluationSet(decoder, samples=3, batch=5)))
    with pytest.raises(DataCorruptError, match="None of the 3 held-out samples"):
        held_out.evaluate(torch.nn.Flatten())


def test_closing_early_leaves_no_thread(files: ImageFiles, stack: ExitStack) -> None:
    open_stream(files, stack).next()
