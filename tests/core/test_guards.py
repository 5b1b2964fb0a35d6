"""Values that may not touch an average, and how far others may pull."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gossiptrain.core.averaging import Vector
from gossiptrain.core.guards import LARGEST, clip_around, is_finite, is_sound, way_between


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


@pytest.mark.parametrize(
    ("value", "sound"), [(1e12, True), (-1e12, True), (2e12, False), (3e38, False), (np.nan, False)]
)
def test_what_is_larger_than_any_model_is_not_sound(value: float, sound: bool) -> None:
    vector = np.ones(5000, np.float32)
    vector[77] = value
    assert is_sound(vector) == sound
    assert is_sound(np.full(5000, 0.9 * LARGEST, np.float32)), "many large values are no larger than one"


vectors = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(size=(2, 50)).astype(np.float32))
alike = vectors.filter(lambda pair: float(np.dot(*pair)) > 0)
"""That point the same way, more or less, as the values of two members do."""
radii = st.floats(1e-3, 1e3)


def clipped(own: Vector, part: Vector, radius: float) -> Vector:
    moved = part.copy()
    assert clip_around(own, moved, radius, scratch=np.empty_like(own))
    return moved


def far(one: Vector, other: Vector) -> float:
    return float(np.linalg.norm(one.astype(np.float64) - other))


@given(pair=vectors, radius=radii, scale=st.floats(0.01, 1e6))
def test_what_is_clipped_is_no_further_away_than_the_radius(pair: Vector, radius: float, scale: float) -> None:
    own, part = pair[0], np.float32(scale) * pair[1]
    # Where the radius is small beside the values themselves these have no finer digits.
    assert far(clipped(own, part, radius), own) <= radius * (1 + 1e-4) + 1e-5


@given(pair=alike)
def test_what_is_within_the_radius_stays_as_it_is_bit_by_bit(pair: Vector) -> None:
    own, part = pair
    assert clipped(own, part, 1.01 * far(own, part)).tobytes() == part.tobytes()


@given(pair=alike, radius=radii, shift=st.floats(-10, 10))
def test_how_far_is_clipped_does_not_depend_on_where_the_origin_is(pair: Vector, radius: float, shift: float) -> None:
    own, part = pair
    by = np.float32(shift)
    assume(float(np.dot(own + by, part + by)) >= 0)
    np.testing.assert_allclose(clipped(own + by, part + by, radius), clipped(own, part, radius) + by, atol=1e-4)


@given(pair=vectors, radius=radii)
def test_what_is_clipped_lies_on_the_way_to_where_it_was(pair: Vector, radius: float) -> None:
    own, part = pair
    moved = clipped(own, part, radius)
    assert far(own, moved) + far(moved, part) == pytest.approx(far(own, part), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30, 1e13])
def test_what_is_not_sound_is_not_clipped_but_named(bad: float) -> None:
    own, part = np.zeros(50, np.float32), np.ones(50, np.float32)
    part[7] = bad
    assert not clip_around(own, part, 1.0, scratch=np.empty_like(own))


@given(pair=vectors, radius=radii)
def test_what_points_away_from_the_own_values_counts_as_these_however_near_it_is(pair: Vector, radius: float) -> None:
    own, part = pair[0], pair[1]
    away = part if np.dot(own, part) < 0 else -part
    assert (clipped(own, away, radius) == own).all()


@given(pair=vectors, cut=st.integers(1, 49))
def test_distances_by_part_make_up_the_whole(pair: Vector, cut: int) -> None:
    own, part = pair
    found = way_between(own, part, (cut, 50 - cut))
    assert found.moved[0] == pytest.approx(far(own[:cut], part[:cut]), rel=1e-5)
    assert float(np.linalg.norm(found.moved)) == pytest.approx(far(own, part), rel=1e-5)


@given(own=vectors.map(lambda pair: pair[0]), share=st.floats(-2, 2))
def test_an_average_keeps_the_share_of_the_own_values_that_it_is_times_these(own: Vector, share: float) -> None:
    assert way_between(own, np.float32(share) * own, (20, 30)).kept == pytest.approx(share, abs=1e-5)


def test_where_there_are_no_own_values_all_of_them_are_kept() -> None:
    nothing = np.zeros(50, np.float32)
    assert way_between(nothing, np.ones(50, np.float32), (20, 30)).kept == 1
