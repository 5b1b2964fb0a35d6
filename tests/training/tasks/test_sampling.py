"""Shares and orders: who sees which samples, and when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossiptrain.errors import UsageError
from gossiptrain.training.tasks.sampling import Cursor, SampleOrder, Share, deal, seed_from

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(lambda labels: np.array(labels, dtype=np.int64))


@settings(deadline=None, max_examples=60)
@given(labels=LABELS, parts=st.integers(1, 9))
def test_shares_are_disjoint_and_cover_everything(labels: NDArray[np.int64], parts: int) -> None:
    shares = [Share(part, part, parts).indices(labels) for part in range(1, parts + 1)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(labels)))


@settings(deadline=None, max_examples=60)
@given(labels=LABELS, parts=st.integers(1, 9))
def test_shares_differ_by_at_most_one_sample_in_size_and_in_every_class(labels: NDArray[np.int64], parts: int) -> None:
    shares = deal(labels, parts)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    for label in range(5):
        counts = [int((labels[share] == label).sum()) for share in shares]
        assert max(counts) - min(counts) <= 1


def test_a_share_is_the_same_for_every_peer_and_the_whole_set_without_parts() -> None:
    labels = np.arange(40) % 4
    assert np.array_equal(Share(1, 2, 4).indices(labels), Share(99, 2, 4).indices(labels))
    assert np.array_equal(Share(1).indices(labels), np.arange(40))


def test_the_split_never_changes() -> None:
    """Peers of different versions must agree on it: this is what the first version dealt."""
    dealt = [share.tolist() for share in deal(np.arange(12) % 3, 3)]
    assert dealt == [[1, 3, 9, 11], [2, 4, 6, 10], [0, 5, 7, 8]]


def test_shares_are_read_as_they_are_written_on_the_command_line() -> None:
    assert Share.parse("2/4", identity_seed=5) == Share(5, 2, 4)
    assert Share.parse(None, identity_seed=5) == Share(5)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "2", "/4", "2/", "a/b", "-1/4", "1/2/3", ""])
def test_a_share_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Share.parse(text, identity_seed=0)


def test_half_a_share_is_refused() -> None:
    with pytest.raises(UsageError):
        Share(0, part=1)


def take(order: SampleOrder, count: int, cursor: Cursor | None = None) -> list[list[int]]:
    cursor = cursor or Cursor()
    batches = []
    for _ in range(count):
        draw, cursor = order.take(cursor)
        batches.append(draw.samples.tolist())
    return batches


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 60), batch=st.integers(1, 60), seed=st.integers(0, 2**63 - 1))
def test_an_epoch_shows_no_sample_twice_and_only_a_ragged_rest_is_left_out(size: int, batch: int, seed: int) -> None:
    batch = min(batch, size)
    order = SampleOrder(np.arange(100, 100 + size), seed=seed, batch=batch)
    per_epoch = size // batch
    batches = take(order, 2 * per_epoch)
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        seen = [sample for samples in epoch for sample in samples]
        assert len(seen) == len(set(seen)) == per_epoch * batch
        assert set(seen) <= set(range(100, 100 + size))


def test_every_epoch_and_every_peer_has_an_order_of_its_own() -> None:
    def epochs(seed: int) -> list[list[int]]:
        return take(SampleOrder(np.arange(50), seed=seed, batch=50), 3)

    orders = epochs(1) + epochs(2)
    assert len({tuple(order) for order in orders}) == 6
    assert epochs(1) == epochs(1)


@settings(deadline=None, max_examples=40)
@given(done=st.integers(0, 30), rest=st.integers(1, 10))
def test_an_order_continues_from_any_cursor(done: int, rest: int) -> None:
    cursor = Cursor()
    order = SampleOrder(np.arange(23), seed=4, batch=5)
    for _ in range(done):
        _, cursor = order.take(cursor)
    fresh = SampleOrder(np.arange(23), seed=4, batch=5)
    assert take(fresh, rest, cursor) == take(order, done + rest)[done:]


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_that_does_not_fit_is_refused(batch: int) -> None:
    with pytest.raises(UsageError, match=f"batch is {batch}, and this peer sees 10 samples"):
        SampleOrder(np.arange(10), seed=0, batch=batch)


def test_seeds_differ_in_every_part_and_fit_a_generator() -> None:
    seeds = {seed_from("a", 1, 2), seed_from("a", 2, 1), seed_from("b", 1, 2), seed_from("a", 12), seed_from("a", 1)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
