"""Divisions of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.errors import UsageError
from gossiptrain.simulate.split import Indices, alike, contiguous, dirichlet
from gossiptrain.training.tasks.sampling import Share

LABELS = np.random.RandomState(0).randint(0, 10, size=2000).astype(np.int64)


def entropy(labels: Indices) -> float:
    """Of the classes, in nats: 2.3 for ten equal ones, 0 for one."""
    shares = np.bincount(labels, minlength=10) / len(labels)
    return float(-sum(share * np.log(share) for share in shares if share))


@given(
    parts=st.integers(2, 64),
    concentration=st.floats(0.01, 100),
    seed=st.integers(0, 2**62),
    samples=st.integers(64, 500),
)
def test_unequal_parts_are_disjoint_complete_and_never_empty(
    parts: int, concentration: float, seed: int, samples: int
) -> None:
    found = dirichlet(LABELS[:samples], parts, concentration=concentration, seed=seed)
    assert len(found) == parts
    assert all(len(part) and (np.diff(part) > 0).all() for part in found)
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(samples))


def test_unequal_parts_depend_on_the_seed_alone() -> None:
    first, again, other = (dirichlet(LABELS, 8, concentration=0.3, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(own, same) for own, same in zip(first, again, strict=True))
    assert not all(np.array_equal(own, same) for own, same in zip(first, other, strict=True))


def test_the_smaller_the_concentration_the_fewer_classes_a_part_has() -> None:
    entropies = [
        np.mean([entropy(LABELS[part]) for part in dirichlet(LABELS, 16, concentration=concentration, seed=0)])
        for concentration in (0.05, 0.5, 5.0, 500.0)
    ]
    assert entropies == sorted(entropies)
    assert entropies[0] < 1.0
    assert entropies[-1] > 2.25


def test_equal_parts_are_the_shares_of_the_command_line() -> None:
    for number, part in enumerate(alike(LABELS, 4), start=1):
        assert np.array_equal(part, Share(0, number, 4).indices(LABELS))


def test_contiguous_parts_follow_each_other() -> None:
    found = contiguous(10, 3)
    assert [part.tolist() for part in found] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_more_parts_than_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="3 training samples cannot be divided among 4 peers"):
        alike(LABELS[:3], 4)
    with pytest.raises(UsageError, match="among 4 peers"):
        dirichlet(LABELS[:3], 4, concentration=1.0, seed=0)
    with pytest.raises(UsageError, match="among 4 peers"):
        contiguous(3, 4)
