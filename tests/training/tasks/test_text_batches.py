"""Windows of a text: what follows belongs to what was read, shares are disjoint, the stream goes on exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossiptrain.errors import DataCorruptError
from gossiptrain.training.tasks.batches import Batch
from gossiptrain.training.tasks.sampling import SampleOrder, Share
from gossiptrain.training.tasks.text_batches import BLOCK, TextBatches, dealt, held_out, stretches

CONTEXT = 5
COUNTING = torch.arange(200, dtype=torch.uint8)
"""A text in which every character tells its own place."""


def stream(*, seed: int = 1, batch: int = 4) -> TextBatches:
    order = SampleOrder(np.arange(stretches(len(COUNTING), CONTEXT)), seed=seed, batch=batch)
    return TextBatches(COUNTING, context=CONTEXT, order=order)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def numbered(blocks: int, *, rest: int = 0) -> NDArray[np.uint8]:
    """A text in which every character is the number of its block."""
    return (np.arange(blocks * BLOCK + rest) // BLOCK).astype(np.uint8)


def test_targets_are_the_characters_that_follow() -> None:
    batch = stream().next()
    assert (batch.inputs.shape, batch.targets.shape) == ((4, CONTEXT), (4, CONTEXT))
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert torch.equal(batch.targets, batch.inputs + 1)
    assert torch.equal(batch.inputs, batch.inputs[:, :1] + torch.arange(CONTEXT))


def test_an_epoch_reads_once_from_every_stretch_and_the_next_one_elsewhere() -> None:
    batches = stream(batch=39)
    assert (batches.samples, batches.steps_per_epoch) == (39, 1)
    first, second = (batches.next().inputs[:, 0].sort().values for _ in range(2))
    assert torch.equal(first // CONTEXT, torch.arange(39))
    assert torch.equal(second // CONTEXT, torch.arange(39))
    assert not torch.equal(first, second)


def test_windows_begin_everywhere_and_never_reach_beyond_the_text() -> None:
    batches = stream(batch=39)
    starts = {int(start) for _ in range(60) for start in batches.next().inputs[:, 0]}
    assert starts == set(range(39 * CONTEXT))


def test_two_peers_read_different_windows() -> None:
    assert not same(stream(seed=1).next(), stream(seed=2).next())


@settings(deadline=None, max_examples=20)
@given(done=st.integers(0, 20), rest=st.integers(1, 12))
def test_a_restored_stream_gives_exactly_the_next_batches(done: int, rest: int) -> None:
    batches = stream()
    for _ in range(done):
        batches.next()
    restored = stream()
    restored.restore(json.loads(json.dumps(batches.state())))
    assert all(same(batches.next(), restored.next()) for _ in range(rest))


@given(characters=st.integers(0, 60), context=st.integers(1, 9))
def test_the_last_window_of_the_last_stretch_still_has_a_character_behind_it(characters: int, context: int) -> None:
    count = stretches(characters, context)
    last_character = (count - 1) * context + (context - 1) + context
    assert count == 0 or last_character < characters


def test_the_whole_text_is_left_as_it_is() -> None:
    text = numbered(3, rest=7)
    assert np.array_equal(dealt(text, Share(0)), text)


@settings(deadline=None, max_examples=20)
@given(blocks=st.integers(0, 30), rest=st.integers(0, BLOCK - 1), parts=st.integers(1, 8))
def test_shares_are_whole_blocks_each_in_one_share_alone(blocks: int, rest: int, parts: int) -> None:
    text = numbered(blocks, rest=rest)
    shares = [dealt(text, Share(0, part, parts)) for part in range(1, parts + 1)]
    assert np.array_equal(np.sort(np.concatenate(shares)), text)
    assert sum(len(np.unique(share)) for share in shares) == len(np.unique(text))
    assert max(map(len, shares)) - min(map(len, shares)) <= 2 * BLOCK


def test_a_share_comes_from_everywhere_in_the_text() -> None:
    for part in (1, 2):
        own = np.unique(dealt(numbered(200), Share(0, part, 2)))
        assert 30 < np.count_nonzero(own < 100) < 70


def test_held_out_windows_do_not_overlap_and_are_spread_over_the_text() -> None:
    found = held_out(COUNTING, context=CONTEXT, characters=50, batch=10)
    (batch,) = found.batches(np.arange(found.samples))
    assert len(batch) == 10
    assert torch.equal(batch.targets, batch.inputs + 1)
    starts = batch.inputs[:, 0]
    assert starts[0] == 0
    assert set(starts.diff().tolist()) == {3 * CONTEXT, 4 * CONTEXT}


def test_of_a_short_text_everything_is_held_out() -> None:
    assert held_out(COUNTING[:22], context=CONTEXT, characters=1000, batch=4).samples == 4
    assert held_out(COUNTING[: CONTEXT + 1], context=CONTEXT, characters=1000, batch=4).samples == 1


def test_a_text_shorter_than_a_window_is_refused_with_the_least_length() -> None:
    with pytest.raises(DataCorruptError, match=r"too short[\s\S]*at least 60 bytes"):
        held_out(COUNTING[:CONTEXT], context=CONTEXT, characters=1000, batch=4)
