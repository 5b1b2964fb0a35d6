"""Values that may not touch an average."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.guards import is_finite


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=200))
def test_exactly_the_vectors_without_nan_and_infinity_pass(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    assert is_finite(vector) == bool(np.isfinite(vector).all())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_among_many_is_found(bad: float) -> None:
    vector = np.ones(100_001, np.float32)
    vector[77_777] = bad
    assert not is_finite(vector)


def test_the_largest_values_are_finite() -> None:
    assert is_finite(np.full(10_000, np.finfo(np.float32).max, np.float32))
