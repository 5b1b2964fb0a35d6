"""A byte for each value, or half of one, modulo 256 or 16: what arrives, how exactly, and how it is noticed that it
cannot."""

from __future__ import annotations

import tracemalloc
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.core import modular
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import Bytes
from gossiptrain.core.modular import BLOCK, UNKNOWN, Bits, Modular, blocks_of

LONGEST = 1000
patterns = st.lists(st.integers(0, 2**32 - 1), max_size=LONGEST).map(lambda bits: np.array(bits, np.uint32))


widths = st.sampled_from(get_args(Bits))
both_widths = pytest.mark.parametrize("bits", get_args(Bits))


def make(bits: Bits, longest_elements: int = LONGEST) -> Modular:
    return Modular(longest_elements, bits=bits)


def everywhere(max_deviation: float, elements: int = LONGEST) -> Vector:
    return np.full(blocks_of(elements), max_deviation, np.float32)


def encoded(
    bits: Bits, values: Vector, max_deviation: Vector, *, dither_offset: int = 0, filled_with: int = 0
) -> Bytes:
    out = np.full(make(bits).size_bytes(len(values)), filled_with, np.uint8)
    make(bits).encode(values, max_deviation, out, dither_offset=dither_offset)
    return out


def decoded(bits: Bits, raw: Bytes, reference: Vector) -> tuple[Vector, bool]:
    out = np.empty(len(reference), np.float32)
    right = make(bits).decode(raw, reference, out)
    return out, right


def normal(elements: int = LONGEST, *, seed: int = 0, scale: float = 1.0) -> Vector:
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(elements, np.float32), np.float32)


def largest_of_blocks(values: Vector) -> Vector:
    """Of each value's block."""
    blocks = [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]
    return np.concatenate([np.full(len(block), np.abs(block).max(), np.float32) for block in blocks])


def by_definition(bits: Bits, values: Vector, max_deviation: Vector, *, dither_offset: int) -> bytes:
    """The bytes of finite values, operation by operation as in the description of the format."""
    dithers, reach = make(bits)._dithers[dither_offset:], make(bits).reach
    steps, numbers, checksum = [], np.empty(len(values), np.int64), 0
    for block, start in enumerate(range(0, len(values), BLOCK)):
        own = values[start : start + BLOCK]
        largest = np.abs(own).max()
        by_itself = max(largest / reach, np.float32(2.0**-126))
        near = max(max_deviation[block] / reach, largest * np.float32(2.0**-20), np.float32(2.0**-126))
        size = min(near, by_itself)
        steps.append(size if near < by_itself else -size)
        whole = np.rint(own * (np.float32(1) / size) + dithers[start : start + len(own)]).astype(np.int64)
        wraps = (whole + 2 ** (bits - 1)) >> bits
        numbers[start : start + BLOCK] = whole - 2**bits * wraps
        checksum = checksum * 0x9E3779B1 + int((wraps * modular._WEIGHTS[: len(own)].astype(np.int64)).sum())
    head = (checksum % 2**32).to_bytes(4, "little") + dither_offset.to_bytes(4, "little")
    return head + np.array(steps, "<f4").tobytes() + (packed(numbers) if bits == 4 else numbers.astype("i1").tobytes())


def packed(numbers: npt.NDArray[np.int64]) -> bytes:
    """Two in each byte, the second half of them in the upper bits."""
    pairs = np.resize(np.append(numbers, 0) if len(numbers) % 2 else numbers, (2, -(-len(numbers) // 2)))
    return bytes(((pairs[0] % 16) | (pairs[1] % 16) << 4).tolist())


def test_the_length_on_the_wire_is_known_beforehand() -> None:
    assert [make(8).size_bytes(elements) for elements in (0, 1, 256, 257)] == [8, 13, 268, 273]
    assert [make(4).size_bytes(elements) for elements in (0, 1, 256, 257)] == [8, 13, 140, 145]


finite = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-40, 2.0**-126, 3.4028235e38, -3.4028235e38]),
)


@given(
    bits=widths,
    some=st.lists(finite, min_size=1, max_size=LONGEST),
    max_deviation=st.sampled_from([0.0, 1e-42, 1e-3, 1.0, 1e38, float(UNKNOWN)]),
    dither_offset=st.integers(0, Modular.DITHERS - 1),
)
@settings(deadline=None, max_examples=150)
def test_the_bytes_are_those_of_the_definition_whatever_the_processor(
    bits: Bits, some: list[float], max_deviation: float, dither_offset: int
) -> None:
    values, apart = np.array(some, np.float32), everywhere(max_deviation, len(some))
    with np.errstate(all="ignore"):
        expected = by_definition(bits, values, apart, dither_offset=dither_offset)
    assert encoded(bits, values, apart, dither_offset=dither_offset).tobytes() == expected


@given(bits=widths, seed=st.integers(0, 1000), apart=st.floats(1e-4, 10.0), scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(deadline=None, max_examples=60)
def test_who_is_within_the_deviation_understands_within_half_a_step(
    bits: Bits, seed: int, apart: float, scale: float
) -> None:
    values = normal(seed=seed, scale=scale)
    away = np.random.default_rng(seed).uniform(-1, 1, LONGEST).astype(np.float32) * np.float32(apart * scale)
    found, right = decoded(
        bits, encoded(bits, values, everywhere(1.001 * apart * scale), dither_offset=seed), values + away
    )
    assert right
    # Rounding to float32, of values and their sums, comes on top.
    half = 0.5 * np.minimum(1.001 * apart * scale, largest_of_blocks(values)) / make(bits).reach
    assert (np.abs(found.astype(np.float64) - values) <= half + 2e-6 * largest_of_blocks(values)).all()


@given(bits=widths, seed=st.integers(0, 1000), max_deviation=st.sampled_from([1e-3, 0.1, 10.0, float(UNKNOWN)]))
@settings(deadline=None, max_examples=40)
def test_the_sender_knows_bitwise_what_is_read(bits: Bits, seed: int, max_deviation: float) -> None:
    values = normal(seed=seed)
    values[::7] *= np.float32(1e-9)  # rounds to zero, from either side
    raw = np.empty(make(bits).size_bytes(LONGEST), np.uint8)
    decoded_out = np.empty(LONGEST, np.float32)
    make(bits).encode(values, everywhere(max_deviation), raw, dither_offset=seed, decoded_out=decoded_out)
    found, right = decoded(bits, raw, values)
    assert right
    assert found.tobytes() == decoded_out.tobytes()


@given(bits=widths, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_all_who_understand_hold_bitwise_the_same_values(bits: Bits, seed: int) -> None:
    values = normal(seed=seed)
    raw = encoded(bits, values, everywhere(0.1), dither_offset=seed)
    away = np.random.default_rng(seed).uniform(-0.1, 0.1, (3, LONGEST)).astype(np.float32)
    heard = [decoded(bits, raw, values + own) for own in away]
    assert all(right for _, right in heard)
    assert len({found.tobytes() for found, _ in heard}) == 1


@both_widths
@pytest.mark.parametrize("where", [0, 255, 256, 999])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_who_is_beyond_the_deviation_at_a_single_value_knows_it(bits: Bits, where: int, side: float) -> None:
    values = normal()
    other = values.copy()
    other[where] += np.float32(2.5 * side * 0.1)
    assert not decoded(bits, encoded(bits, values, everywhere(0.1)), other)[1]


@both_widths
def test_two_values_beyond_the_deviation_on_opposite_sides_do_not_hide_each_other(bits: Bits) -> None:
    values = normal()
    other = values.copy()
    other[10] += np.float32(0.25)
    other[20] -= np.float32(0.25)
    assert not decoded(bits, encoded(bits, values, everywhere(0.1)), other)[1]


@given(
    bits=widths,
    places=st.lists(st.integers(0, LONGEST - 1), min_size=1, max_size=4, unique=True),
    wraps=st.lists(st.sampled_from([-300, -2, -1, 1, 2, 300]), min_size=4, max_size=4),
)
@settings(deadline=None, max_examples=200)
def test_wherever_and_however_far_some_values_are_beyond_the_deviation_it_is_known(
    bits: Bits, places: list[int], wraps: list[int]
) -> None:
    values = normal()
    raw = encoded(bits, values, everywhere(0.1))
    other = values.copy()
    for place, wrong in zip(places, wraps, strict=False):
        other[place] += np.float32(2**bits * wrong * 0.1 / make(bits).reach)
    assert decoded(bits, raw, values)[1]
    assert not decoded(bits, raw, other)[1]


@both_widths
def test_of_whom_nothing_is_known_each_block_is_absolute(bits: Bits) -> None:
    values = normal()
    raw = encoded(bits, values, everywhere(float(UNKNOWN)))
    first, right = decoded(bits, raw, normal(seed=1, scale=100.0))
    again, _ = decoded(bits, raw, np.zeros(LONGEST, np.float32))
    assert right
    assert first.tobytes() == again.tobytes()
    assert (np.abs(first - values) <= 0.501 * largest_of_blocks(values) / make(bits).reach).all()
    assert (make(bits).steps_of(raw, LONGEST) < 0).all()


@both_widths
def test_a_block_is_absolute_where_that_is_finer(bits: Bits) -> None:
    values = normal()
    values[BLOCK:] *= np.float32(1e-3)
    steps = make(bits).steps_of(encoded(bits, values, everywhere(0.1)), LONGEST)
    assert (steps > 0).tolist() == [True, False, False, False]


@both_widths
@pytest.mark.parametrize("max_deviation", [0.0, 0.1, float(UNKNOWN)])
def test_zeros_come_back_as_zeros(bits: Bits, max_deviation: float) -> None:
    values = np.concatenate([np.zeros(BLOCK, np.float32), normal(BLOCK), np.zeros(10, np.float32)])
    found, right = decoded(bits, encoded(bits, values, everywhere(max_deviation, len(values))), values)
    assert right
    assert np.abs(found[:BLOCK]).max() <= np.finfo(np.float32).tiny
    assert np.abs(found[-10:]).max() <= np.finfo(np.float32).tiny


@both_widths
def test_where_nobody_moves_values_arrive_as_exactly_as_float32_lets_them(bits: Bits) -> None:
    values = normal()
    found, right = decoded(bits, encoded(bits, values, everywhere(0.0)), values)
    assert right
    assert np.allclose(found, values, atol=1e-5)


@given(
    bits=widths,
    some=patterns,
    seed=st.integers(0, Modular.DITHERS - 1),
    max_deviation=st.sampled_from([0.0, 1.0, np.inf]),
)
@settings(deadline=None, max_examples=60)
def test_encoding_writes_every_byte_and_leaves_its_input_alone(
    bits: Bits, some: Bytes, seed: int, max_deviation: float
) -> None:
    values = some.view(np.float32)
    before = values.tobytes()
    first, second = (
        encoded(bits, values, everywhere(max_deviation, len(values)), dither_offset=seed, filled_with=filler)
        for filler in (0x55, 0xAA)
    )
    assert first.tobytes() == second.tobytes()
    assert values.tobytes() == before


@given(bits=widths, elements=st.integers(0, LONGEST), data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_bytes_decode_to_something_wherever_they_lie(bits: Bits, elements: int, data: st.DataObject) -> None:
    size = make(bits).size_bytes(elements)
    raw = np.frombuffer(b"x" + data.draw(st.binary(min_size=size, max_size=size)), np.uint8)[1:]
    odd, even = decoded(bits, raw, normal(elements)), decoded(bits, raw.copy(), normal(elements))
    assert odd[0].tobytes() == even[0].tobytes()
    assert odd[1] == even[1]


@both_widths
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("max_deviation", [0.1, float(UNKNOWN)])
def test_a_value_that_is_not_finite_is_still_not_so_where_it_arrives(
    bits: Bits, bad: float, max_deviation: float
) -> None:
    values = normal()
    values[300] = bad
    found, _ = decoded(bits, encoded(bits, values, everywhere(max_deviation)), normal(seed=1))
    assert not np.isfinite(found[300])
    assert np.isfinite(found[:BLOCK]).all()


@both_widths
@pytest.mark.parametrize("max_deviation", [0.5, float(UNKNOWN)])
def test_it_is_right_on_average(bits: Bits, max_deviation: float) -> None:
    values, rounds = normal(300), 2000
    total = np.zeros(300)
    for dither_offset in np.random.default_rng(3).integers(Modular.DITHERS, size=rounds):
        total += decoded(
            bits, encoded(bits, values, everywhere(max_deviation, 300), dither_offset=int(dither_offset)), values
        )[0]
    # Of a step, a single result deviates by half at most: five times that of the mean, and of all elements' mean.
    steps = np.abs(make(bits).steps_of(encoded(bits, values, everywhere(max_deviation, 300)), 300)).repeat(BLOCK)[:300]
    deviation = (total / rounds - values) / steps
    assert np.abs(deviation).max() < 5 * 0.5 / np.sqrt(rounds)
    assert abs(deviation.mean()) < 5 * 0.5 / np.sqrt(rounds * len(values))


@both_widths
def test_errors_are_those_of_the_dither_and_independent_of_others(bits: Bits) -> None:
    values, max_deviation = normal(), everywhere(0.1)
    raws = [encoded(bits, values, max_deviation, dither_offset=dither_offset) for dither_offset in (1, 2, 40_000)]
    assert raws[0].tobytes() == encoded(bits, values, max_deviation, dither_offset=1).tobytes()
    errors = [decoded(bits, raw, values)[0] - values for raw in raws]
    assert np.abs(np.corrcoef(errors) - np.eye(3)).max() < 0.15


@both_widths
def test_little_is_allocated_for_a_chunk(bits: Bits) -> None:
    elements = 65536
    coder, values, out = make(bits, elements), normal(elements), np.empty(elements, np.float32)
    raw, max_deviation = np.empty(coder.size_bytes(elements), np.uint8), everywhere(0.1, elements)
    tracemalloc.start()
    try:
        coder.encode(values, max_deviation, raw, dither_offset=5)
        coder.decode(raw, values, out)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1.1 * elements


@both_widths
@pytest.mark.parametrize("elements_more", [-1, 1])
def test_arrays_of_other_lengths_are_refused(bits: Bits, elements_more: int) -> None:
    values = normal()
    raw = np.zeros(make(bits).size_bytes(LONGEST) + elements_more, np.uint8)
    with pytest.raises(ValueError, match="length"):
        make(bits).encode(values, everywhere(0.1), raw, dither_offset=0)
    with pytest.raises(ValueError, match="length"):
        make(bits).decode(raw, values, values.copy())
    with pytest.raises(ValueError, match="length"):
        make(bits).encode(values, everywhere(0.1, LONGEST + BLOCK), raw, dither_offset=0)


@given(seed=st.integers(0, 1000), elements=st.integers(1, LONGEST), seen=st.sampled_from([0.0, 0.5, 100.0]))
@settings(deadline=None, max_examples=60)
def test_how_far_apart_two_are_is_known_in_all_and_for_each_block(seed: int, elements: int, seen: float) -> None:
    values, others = normal(elements, seed=seed), normal(elements, seed=seed + 1)
    largest = everywhere(seen, elements)
    squares = Modular.note_distance(values, others, largest)
    differences = values - others
    assert squares == pytest.approx(float(np.sum(np.square(differences, dtype=np.float64))), rel=1e-5)
    expected = [max(seen, np.abs(differences[start : start + BLOCK]).max()) for start in range(0, elements, BLOCK)]
    assert largest.tolist() == expected
