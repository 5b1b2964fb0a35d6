"""What every codec promises about its bytes, its errors and the averages that are made of them."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import Bytes, Codec, PlainCodecName, codec_named, prepare

NAMES: tuple[PlainCodecName, ...] = get_args(PlainCodecName)
LONGEST = 1000
every_codec = pytest.mark.parametrize("name", NAMES)
halves = pytest.mark.parametrize("name", ["fp16", "bf16"])
# Whole float32 patterns, so that NaN, infinities and subnormal numbers come, too.
patterns = st.lists(st.integers(0, 2**32 - 1), max_size=LONGEST).map(lambda bits: np.array(bits, np.uint32))


def make(name: PlainCodecName) -> Codec:
    return codec_named(name)


def encoded(codec: Codec, values: Vector, *, filled_with: int = 0) -> Bytes:
    out = np.full(codec.size_bytes(len(values)), filled_with, np.uint8)
    codec.encode(values, out)
    return out


def decoded(codec: Codec, raw: Bytes, elements: int) -> Vector:
    out = np.empty(elements, np.float32)
    codec.decode(raw, out)
    return out


def travelled(codec: Codec, values: Vector) -> Vector:
    return decoded(codec, encoded(codec, values), len(values))


def normal(elements: int, *, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(elements, np.float32)


@every_codec
def test_a_codec_has_its_name(name: PlainCodecName) -> None:
    assert make(name).name == name


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fp32", [0, 4, 1024, 1028]),
        ("fp16", [0, 2, 512, 514]),
        ("bf16", [0, 2, 512, 514]),
    ],
)
def test_the_length_on_the_wire_is_known_beforehand(name: PlainCodecName, sizes: list[int]) -> None:
    assert [make(name).size_bytes(elements) for elements in (0, 1, 256, 257)] == sizes


@every_codec
@given(bits=patterns)
@settings(deadline=None, max_examples=60)
def test_encoding_writes_every_byte_and_leaves_its_input_alone(name: PlainCodecName, bits: Bytes) -> None:
    values = bits.view(np.float32)
    before = values.tobytes()
    first = encoded(make(name), values, filled_with=0x55)
    second = encoded(make(name), values, filled_with=0xAA)
    assert first.tobytes() == second.tobytes()
    assert values.tobytes() == before


@every_codec
@given(elements=st.integers(0, LONGEST), data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_bytes_decode_to_the_same_values_wherever_they_lie(
    name: PlainCodecName, elements: int, data: st.DataObject
) -> None:
    size = make(name).size_bytes(elements)
    raw = np.frombuffer(b"x" + data.draw(st.binary(min_size=size, max_size=size)), np.uint8)[1:]
    odd = decoded(make(name), raw, elements)
    even = decoded(make(name), raw.copy(), elements)
    assert odd.tobytes() == even.tobytes()


@every_codec
def test_bytes_of_any_one_kind_decode_without_a_warning(name: PlainCodecName) -> None:
    for byte in range(256):
        codec = make(name)
        decoded(codec, np.full(codec.size_bytes(300), byte, np.uint8), 300)


@every_codec
def test_a_chunk_may_begin_at_an_odd_address(name: PlainCodecName) -> None:
    codec, values = make(name), normal(LONGEST)
    out = np.zeros(1 + codec.size_bytes(LONGEST), np.uint8)
    codec.encode(values, out[1:])
    assert np.allclose(decoded(codec, out[1:], LONGEST), values, rtol=1e-2)


@every_codec
@given(bits=patterns)
@settings(deadline=None, max_examples=60)
def test_finite_values_stay_finite_and_others_do_not_become_finite(name: PlainCodecName, bits: Bytes) -> None:
    values = bits.view(np.float32)
    finite = np.isfinite(values)
    found = travelled(make(name), values)
    assert not np.isfinite(found[~finite]).any()
    assert np.isfinite(found[finite]).all()


@every_codec
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_value_that_is_not_finite_is_found_by_the_receiver(name: PlainCodecName, bad: float) -> None:
    values = normal(LONGEST)
    values[700] = bad
    assert not np.isfinite(travelled(make(name), values)[700])


@every_codec
def test_zeros_come_back_as_zeros(name: PlainCodecName) -> None:
    values = np.concatenate([np.zeros(256, np.float32), normal(256), np.zeros(10, np.float32)])
    found = travelled(make(name), values)
    assert not found[:256].any()
    assert not found[-10:].any()


def test_fp32_comes_back_bit_for_bit() -> None:
    values = np.random.default_rng(0).integers(0, 2**32, LONGEST, np.uint32).view(np.float32)
    assert travelled(make("fp32"), values).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("name", "smallest", "largest", "bound"), [("fp16", -14, 15, 2**-11), ("bf16", -126, 127, 2**-8)]
)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_the_relative_error_of_half_the_bytes_is_bounded(
    name: PlainCodecName, smallest: int, largest: int, bound: float, data: st.DataObject
) -> None:
    numbers = st.floats(2.0**smallest, 2.0**largest, width=32)
    values = np.array(data.draw(st.lists(numbers, min_size=1, max_size=LONGEST)), np.float32)
    values[::2] *= -1
    error = np.abs(travelled(make(name), values).astype(np.float64) - values)
    assert (error <= bound * np.abs(values.astype(np.float64))).all()


@halves
@given(bits=patterns)
@settings(deadline=None, max_examples=60)
def test_coding_again_what_was_coded_changes_nothing(name: PlainCodecName, bits: Bytes) -> None:
    once = travelled(make(name), bits.view(np.float32))
    assert travelled(make(name), once).tobytes() == once.tobytes()


def patterns_of_interest(exponents: range) -> Vector:
    """Of every exponent and both signs: all that is next to a bit or to half of one, and some at random."""
    one_bit = 1 << np.arange(23)
    near = [one_bit + offset for offset in (-1, 0, 1)] + [(one_bit | one_bit << 1) + offset for offset in (-1, 0, 1)]
    mantissas = np.concatenate([[0], *near, np.random.default_rng(0).integers(0, 2**23, 200)]) & 0x7FFFFF
    magnitudes = ((np.array(exponents) << 23)[:, np.newaxis] | mantissas).ravel()
    return np.concatenate([magnitudes, magnitudes | 1 << 31]).astype(np.uint32).view(np.float32)


def test_fp16_rounds_just_as_numpy_does_at_every_exponent() -> None:
    for exponent in range(127 + 16):
        values = patterns_of_interest(range(exponent, exponent + 1))
        values = values[np.abs(values) <= 65504]
        found = encoded(make("fp16"), values)
        assert found.tobytes() == values.astype("<f2").tobytes(), exponent


def test_fp16_decodes_each_of_its_numbers_as_numpy_does() -> None:
    codec = make("fp16")
    numbers = np.arange(65536, dtype=np.uint16)
    finite = numbers[np.isfinite(numbers.view(np.float16))]
    for some in (numbers, finite):
        expected = some.view(np.float16).astype(np.float32)
        found = decoded(codec, some.astype("<u2").view(np.uint8), len(some))
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_bf16_rounds_to_nearest_even_at_every_exponent() -> None:
    for exponent in range(255):
        values = patterns_of_interest(range(exponent, exponent + 1))
        bits = values.view(np.uint32).astype(np.int64)
        rounded = np.rint(bits / 2**16).astype(np.int64)
        expected = np.where(rounded & 0x7FFF == 0x7F80, rounded - 1, rounded)
        found = encoded(make("bf16"), values).view("<u2")
        assert np.array_equal(found, expected), exponent


@pytest.mark.parametrize(("name", "largest"), [("fp16", 65504.0), ("bf16", float.fromhex("0x1.fep127"))])
def test_values_beyond_the_largest_become_the_largest(name: PlainCodecName, largest: float) -> None:
    beyond = np.array([largest, 1.01 * min(largest, 3.36e38), 3.4028235e38, -3.4028235e38, 1.0], np.float32)
    if name == "bf16":
        beyond[1] = largest
    assert travelled(make(name), beyond).tolist() == [largest, largest, largest, -largest, 1.0]


@every_codec
def test_nothing_is_allocated_for_a_chunk(name: PlainCodecName) -> None:
    elements = 65536
    codec, values, out = make(name), normal(elements), np.empty(elements, np.float32)
    raw = np.empty(codec.size_bytes(elements), np.uint8)
    prepare()  # which is where memory is taken, once
    tracemalloc.start()
    try:
        codec.encode(values, raw)
        codec.decode(raw, out)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < elements


@every_codec
@pytest.mark.parametrize("bytes_more", [-4, 4])
def test_bytes_of_another_length_are_refused(name: PlainCodecName, bytes_more: int) -> None:
    codec, values = make(name), normal(LONGEST)
    raw = np.zeros(codec.size_bytes(LONGEST) + bytes_more, np.uint8)
    with pytest.raises(ValueError, match=r"broadcast|length"):
        codec.encode(values, raw)
    with pytest.raises(ValueError, match=r"broadcast|length"):
        codec.decode(raw, values)


def test_a_node_has_no_compiler_in_it_before_a_codec_needs_one() -> None:
    check = """
import sys
import gossiptrain.node.__main__
from gossiptrain.core.codecs import prepare
before = "numba" in sys.modules
prepare()
sys.exit(before or "numba" not in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
