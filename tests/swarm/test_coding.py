"""The bytes of a round: what one member tells, another understands, and all keep bitwise the same average."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.config import CodecName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import codec_named
from gossiptrain.core.partition import Slice, slices_by_speed
from gossiptrain.swarm.coding import Buffers, CodecCoding, Coding, PlainCoding, Scratch

NAMES: tuple[CodecName, ...] = get_args(CodecName)
ELEMENTS = 1000
CHUNK = 300
"""So that the last chunk of each slice is shorter, and no multiple of a block of int8."""
RELATIVE_LOSS: dict[CodecName, float] = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 6e-3, "int8": 2e-2}
"""Of a mean of coded contributions, coded once more; norm of the error relative to the norm of what is coded."""
every_codec = pytest.mark.parametrize("name", NAMES)
with_and_without_differences = pytest.mark.parametrize("differences", [False, True])


def normal(elements: int = ELEMENTS, *, seed: int, scale: float = 1.0) -> Vector:
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(elements, np.float32), np.float32)


def chunks_of(members: int) -> list[list[Slice]]:
    """The chunks of each member's slice."""
    return [piece.chunks(CHUNK) for piece in slices_by_speed(ELEMENTS, [1] * members)]


def made(name: CodecName, buffers: Buffers, own_chunks: list[Slice], *, differences: bool, seed: int) -> CodecCoding:
    codec = codec_named(name, seed=seed, longest_elements=CHUNK)
    return CodecCoding(buffers, codec, own_chunks, differences=differences)


def group_of(name: CodecName, values: list[Vector], *, base: Vector, differences: bool) -> list[CodecCoding]:
    """One coding per member; the last average of all of them is `base`."""
    return [
        made(name, Buffers(own.copy(), base.copy()), own_chunks, differences=differences, seed=seed)
        for seed, (own, own_chunks) in enumerate(zip(values, chunks_of(len(values)), strict=True))
    ]


def sent(data: memoryview, target: memoryview) -> None:
    """Over the wire: only bytes arrive, in memory of the receiver's."""
    assert len(target) == len(data)
    target[:] = bytes(data)


def average(codings: list[Coding]) -> None:
    """A round without streams: the slices are reduced by their owners and given back to all others."""
    for owner, own_chunks in zip(codings, chunks_of(len(codings)), strict=True):
        for chunk in own_chunks:
            reduce(chunk, owner, codings)
        for chunk in own_chunks:  # members take the means at their own pace
            for member in codings:
                if member is not owner:
                    scratch = member.scratch(CHUNK)
                    sent(owner.mean(chunk), member.mean_target(chunk, scratch))
                    member.take_mean(chunk, scratch)


def reduce(chunk: Slice, owner: Coding, codings: list[Coding]) -> None:
    mean = np.zeros(len(chunk), np.float32)
    for member in codings:
        if member is owner:
            mean += owner.own_part(chunk)
        else:
            mean += received(member, owner, chunk)
    owner.mean_place(chunk)[:] = mean / np.float32(len(codings))
    owner.keep_mean(chunk)


def received(member: Coding, owner: Coding, chunk: Slice) -> Vector:
    """What the owner understands of what the member contributes."""
    scratch: Scratch = owner.scratch(CHUNK)
    data = member.contribution(chunk, member.scratch(CHUNK))
    assert len(data) == owner.size_bytes(chunk)
    sent(data, scratch.wire[: len(data)].data)
    return owner.contributed(chunk, scratch)


def mean_of(values: list[Vector]) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean(values, axis=0, dtype=np.float64))


def distance(found: Vector, expected: Vector | npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - expected))


# Plain float32.


def plain() -> tuple[PlainCoding, Buffers]:
    buffers = Buffers(normal(seed=0), normal(seed=1))
    return PlainCoding(buffers), buffers


def test_plain_chunks_go_straight_out_of_and_into_the_buffers() -> None:
    coding, buffers = plain()
    chunk = Slice(100, 300)
    scratch = coding.scratch(CHUNK)
    for memory in (coding.contribution(chunk, scratch), coding.own_part(chunk)):
        assert np.shares_memory(np.asarray(memory), buffers.snapshot[100:300])
        assert not np.shares_memory(np.asarray(memory), buffers.average)
    for memory in (
        coding.mean_place(chunk),
        coding.kept(chunk),
        coding.mean(chunk),
        coding.mean_target(chunk, scratch),
        coding.take_mean(chunk, scratch),
    ):
        array = np.asarray(memory)
        assert np.shares_memory(array, buffers.average[100:300])
        assert array.nbytes == 800
        assert not np.shares_memory(array, buffers.average[:100])
        assert not np.shares_memory(array, buffers.average[300:])


def test_plain_scratch_is_one_piece_of_memory_seen_as_bytes_and_as_values() -> None:
    coding, buffers = plain()
    scratch = coding.scratch(CHUNK)
    assert np.shares_memory(scratch.wire, scratch.values)
    assert not np.shares_memory(scratch.wire, buffers.average)
    assert np.shares_memory(coding.contributed(Slice(0, 10), scratch), scratch.wire)


def test_plain_and_coded_float32_are_the_same_bytes() -> None:
    values = [normal(seed=seed) for seed in range(3)]
    coded = group_of("fp32", values, base=np.zeros(ELEMENTS, np.float32), differences=False)
    for coding, own in zip(coded, values, strict=True):
        plain_coding = PlainCoding(Buffers(own, np.empty(ELEMENTS, np.float32)))
        for chunk in chunks_of(3)[0]:
            assert plain_coding.size_bytes(chunk) == coding.size_bytes(chunk) == 4 * len(chunk)
            assert bytes(plain_coding.contribution(chunk, plain_coding.scratch(CHUNK))) == bytes(
                coding.contribution(chunk, coding.scratch(CHUNK))
            )


def test_a_plain_round_ends_with_the_mean_at_all_members() -> None:
    values = [normal(seed=seed) for seed in range(3)]
    buffers = [Buffers(own, np.full(ELEMENTS, np.nan, np.float32)) for own in values]
    average([PlainCoding(own) for own in buffers])
    assert len({own.average.tobytes() for own in buffers}) == 1
    assert np.allclose(buffers[0].average, mean_of(values), atol=1e-6)


# Other codecs.


@every_codec
@with_and_without_differences
@pytest.mark.parametrize("members", [2, 3, 5])
def test_owner_and_receivers_keep_bitwise_the_same_average_near_the_mean(
    name: CodecName, differences: bool, members: int
) -> None:
    base = normal(seed=99)
    values = [base + normal(seed=seed, scale=0.01) for seed in range(members)]
    codings = group_of(name, values, base=base, differences=differences)
    average([*codings])
    averages = [coding._buffers.average for coding in codings]
    assert len({own.tobytes() for own in averages}) == 1
    mean = mean_of(values)
    coded = mean - base if differences else mean
    # Sums to the base are rounded to float32, whatever the codec.
    allowed = RELATIVE_LOSS[name] * float(np.linalg.norm(coded)) + 1e-6 * float(np.linalg.norm(mean))
    assert distance(averages[0], mean) <= allowed


@every_codec
@with_and_without_differences
def test_the_snapshot_stays_as_it_is(name: CodecName, differences: bool) -> None:
    values = [normal(seed=seed) for seed in range(3)]
    codings = group_of(name, values, base=normal(seed=99), differences=differences)
    average([*codings])
    for coding, own in zip(codings, values, strict=True):
        assert coding._buffers.snapshot.tobytes() == own.tobytes()


@every_codec
@pytest.mark.parametrize("chunk", [Slice(0, 0), Slice(0, 1), Slice(7, 263), Slice(999, 1000), Slice(500, 800)])
def test_what_a_member_tells_has_the_length_that_is_known_beforehand(name: CodecName, chunk: Slice) -> None:
    (coding,) = group_of(name, [normal(seed=0)], base=normal(seed=1), differences=True)
    scratch = coding.scratch(CHUNK)
    size = codec_named(name, seed=0, longest_elements=CHUNK).size_bytes(len(chunk))
    assert coding.size_bytes(chunk) == size
    assert len(coding.contribution(chunk, scratch)) == len(coding.mean_target(chunk, scratch)) == size


@every_codec
@with_and_without_differences
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(deadline=None, max_examples=20)
def test_an_owner_understands_what_a_member_means(name: CodecName, differences: bool, seed: int, scale: float) -> None:
    base = normal(seed=seed + 1, scale=scale)
    values = normal(seed=seed, scale=scale)
    member, owner = group_of(name, [values, values], base=base, differences=differences)
    chunk = chunks_of(2)[1][0]
    meant = owner.own_part(chunk).copy()
    heard = received(member, owner, chunk)
    assert distance(heard, meant) <= RELATIVE_LOSS[name] * float(np.linalg.norm(meant))


@every_codec
def test_where_nobody_has_moved_differences_leave_the_average_as_it_was(name: CodecName) -> None:
    base = normal(seed=0)
    codings = group_of(name, [base] * 3, base=base, differences=True)
    average([*codings])
    assert {coding._buffers.average.tobytes() for coding in codings} == {base.tobytes()}


def test_differences_bring_int8_nearer_than_values_by_as_much_as_they_are_smaller() -> None:
    base = normal(seed=99)
    values = [base + normal(seed=seed, scale=0.01) for seed in range(3)]
    mean = mean_of(values)
    lost = {}
    for differences in (False, True):
        codings = group_of("int8", values, base=base, differences=differences)
        average([*codings])
        lost[differences] = distance(codings[0]._buffers.average, mean)
    assert lost[True] < 0.02 * lost[False]


def test_round_by_round_differences_draw_all_to_one_average_without_drifting_apart() -> None:
    base = np.zeros(ELEMENTS, np.float32)
    values = [normal(seed=seed) for seed in range(3)]
    for step in range(10):
        mean = mean_of(values)
        codings = group_of("int8", values, base=base, differences=True)
        average([*codings])
        found = {coding._buffers.average.tobytes() for coding in codings}
        assert len(found) == 1
        moved = float(np.linalg.norm(mean - base))
        base = codings[0]._buffers.average
        assert distance(base, mean) <= RELATIVE_LOSS["int8"] * moved + 1e-6 * float(np.linalg.norm(mean))
        values = [base + normal(seed=100 * step + member, scale=0.001) for member in range(3)]


@every_codec
@with_and_without_differences
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_still_not_so_where_it_arrives(
    name: CodecName, differences: bool, bad: float
) -> None:
    chunk = chunks_of(2)[1][0]
    values = normal(seed=0)
    values[chunk.start + 5] = bad
    member, owner = group_of(name, [values, normal(seed=1)], base=normal(seed=2), differences=differences)
    assert not np.isfinite(received(member, owner, chunk)[5])


@every_codec
def test_the_means_of_all_chunks_can_be_told_again_and_in_any_order(name: CodecName) -> None:
    codings = group_of(name, [normal(seed=seed) for seed in range(2)], base=normal(seed=9), differences=True)
    owner, own_chunks = codings[0], chunks_of(2)[0]
    assert len(own_chunks) > 1
    told = []
    for chunk in own_chunks:
        reduce(chunk, owner, [*codings])
        told.append(bytes(owner.mean(chunk)))
    assert [bytes(owner.mean(chunk)) for chunk in reversed(own_chunks)] == told[::-1]
