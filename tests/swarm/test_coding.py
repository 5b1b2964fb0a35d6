"""The bytes of a round: what one member tells, another understands, and all keep bitwise the same average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.config import CodecName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import codec_named
from gossiptrain.core.modular import BLOCK, Modular, blocks_of
from gossiptrain.core.partition import Slice, slices_by_speed
from gossiptrain.swarm.coding import Buffers, CodecCoding, Coding, PlainCoding, Scratch, UnreadableError
from gossiptrain.swarm.near_coding import NEAR_BITS, FallbackCoding, NearCoding, SpreadEstimate

NAMES: tuple[CodecName, ...] = get_args(CodecName)
ELEMENTS = 1000
CHUNK = 300
"""So that the last chunk of each slice is shorter, and no multiple of a block of int8 and int4."""
RELATIVE_LOSS: dict[CodecName, float] = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 6e-3, "int8": 2e-2, "int4": 0.2}
"""Of a mean of coded contributions, coded once more; norm of the error relative to the norm of what is coded. Of int8
and int4 where the others may be anywhere."""
every_codec = pytest.mark.parametrize("name", NAMES)
every_near_codec = pytest.mark.parametrize("name", NEAR_BITS)


def normal(elements: int = ELEMENTS, *, seed: int, scale: float = 1.0) -> Vector:
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(elements, np.float32), np.float32)


def chunks_of(members: int) -> list[list[Slice]]:
    """The chunks of each member's slice."""
    return [piece.chunks(CHUNK) for piece in slices_by_speed(ELEMENTS, [1] * members)]


def made(name: CodecName, buffers: Buffers, own_chunks: list[Slice], *, seed: int, spread: SpreadEstimate) -> Coding:
    match name:
        case "int8" | "int4":
            return NearCoding(buffers, Modular(CHUNK, bits=NEAR_BITS[name]), own_chunks, spread=spread, seed=seed)
        case _:
            return CodecCoding(buffers, codec_named(name), own_chunks)


def group_of(name: CodecName, values: list[Vector], spreads: list[SpreadEstimate] | None = None) -> list[Coding]:
    """One coding per member; for members that are known to be far apart, where nothing else is said."""
    spreads = spreads or [known(100.0) for _ in values]
    return [
        made(name, Buffers(own.copy(), np.zeros(ELEMENTS, np.float32)), chunks, seed=seed, spread=spread)
        for seed, (own, chunks, spread) in enumerate(zip(values, chunks_of(len(values)), spreads, strict=True))
    ]


def known(apart: float) -> SpreadEstimate:
    spread = SpreadEstimate(ELEMENTS)
    spread.note(Slice(0, ELEMENTS), np.full(blocks_of(ELEMENTS), apart, np.float32))
    return spread


def after_a_fallback(values: list[Vector]) -> tuple[Vector, list[SpreadEstimate]]:
    """What members hold that have met in the codec that stands in, and what they have learnt."""
    spreads = [SpreadEstimate(ELEMENTS) for _ in values]
    codings = [
        FallbackCoding(Buffers(own.copy(), np.zeros(ELEMENTS, np.float32)), chunks, spread=spread)
        for own, chunks, spread in zip(values, chunks_of(len(values)), spreads, strict=True)
    ]
    average(codings)
    return codings[0]._buffers.average, spreads


def sent(data: memoryview, target: memoryview) -> None:
    """Over the wire: only bytes arrive, in memory of the receiver's."""
    assert len(target) == len(data)
    target[:] = bytes(data)


def average(codings: Sequence[Coding]) -> None:
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


def reduce(chunk: Slice, owner: Coding, codings: Sequence[Coding]) -> None:
    parts = [owner.own_part(chunk) if member is owner else received(member, owner, chunk) for member in codings]
    owner.mean_place(chunk)[:] = np.mean(parts, axis=0, dtype=np.float32)
    owner.squared_distances(chunk, parts, np.empty(len(chunk), np.float32))
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
    coded = group_of("fp32", values)
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
@pytest.mark.parametrize("members", [2, 3, 5])
def test_owner_and_receivers_keep_bitwise_the_same_average_near_the_mean(name: CodecName, members: int) -> None:
    values = [normal(seed=99) + normal(seed=seed, scale=0.01) for seed in range(members)]
    codings = group_of(name, values)
    average(codings)
    averages = [coding._buffers.average for coding in codings]
    assert len({own.tobytes() for own in averages}) == 1
    mean = mean_of(values)
    assert distance(averages[0], mean) <= RELATIVE_LOSS[name] * float(np.linalg.norm(mean))


@every_codec
def test_the_snapshot_stays_as_it_is(name: CodecName) -> None:
    values = [normal(seed=seed) for seed in range(3)]
    codings = group_of(name, values)
    average(codings)
    for coding, own in zip(codings, values, strict=True):
        assert coding._buffers.snapshot.tobytes() == own.tobytes()


@every_codec
@pytest.mark.parametrize("chunk", [Slice(0, 1), Slice(7, 263), Slice(999, 1000), Slice(500, 800)])
def test_what_a_member_tells_has_the_length_that_is_known_beforehand(name: CodecName, chunk: Slice) -> None:
    (coding,) = group_of(name, [normal(seed=0)])
    scratch = coding.scratch(CHUNK)
    size = coding.size_bytes(chunk)
    assert len(coding.contribution(chunk, scratch)) == len(coding.mean_target(chunk, scratch)) == size


@every_codec
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(deadline=None, max_examples=20)
def test_an_owner_understands_what_a_member_means(name: CodecName, seed: int, scale: float) -> None:
    values = normal(seed=seed, scale=scale)
    member, owner = group_of(name, [values, values])
    chunk = chunks_of(2)[1][0]
    heard = received(member, owner, chunk)
    meant = values[chunk.start : chunk.stop]
    assert distance(heard, meant) <= RELATIVE_LOSS[name] * float(np.linalg.norm(meant))


@every_codec
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_still_not_so_where_it_arrives(name: CodecName, bad: float) -> None:
    chunk = chunks_of(2)[1][0]
    values = normal(seed=0)
    values[chunk.start + 5] = bad
    member, owner = group_of(name, [values, normal(seed=1)])
    assert not np.isfinite(received(member, owner, chunk)[5])


@every_codec
def test_the_means_of_all_chunks_can_be_told_again_and_in_any_order(name: CodecName) -> None:
    codings = group_of(name, [normal(seed=seed) for seed in range(2)])
    owner, own_chunks = codings[0], chunks_of(2)[0]
    assert len(own_chunks) > 1
    told = []
    for chunk in own_chunks:
        reduce(chunk, owner, codings)
        told.append(bytes(owner.mean(chunk)))
    assert [bytes(owner.mean(chunk)) for chunk in reversed(own_chunks)] == told[::-1]


# int8 and int4: what a round tells for the next one.


@given(start=st.integers(0, 700), length=st.integers(1, 900))
@settings(deadline=None, max_examples=60)
def test_a_chunk_knows_what_was_noted_of_the_elements_of_each_of_its_blocks(start: int, length: int) -> None:
    spread, chunk = SpreadEstimate(2000), Slice(start, start + length)
    noted = np.arange(1, 9, dtype=np.float32)
    spread.note(Slice(0, 2000), noted)
    mine = spread.max_deviation(chunk, room=4.0) / np.float32(4.0)
    blocks = [np.arange(first, min(first + BLOCK, chunk.stop)) // BLOCK for first in range(start, chunk.stop, BLOCK)]
    largest = [noted[block].max() for block in blocks]
    assert mine.tolist() == [max(of_block, max(largest) / np.float32(4.0)) for of_block in largest]
    spread.note(chunk, np.full(len(blocks), 100.0, np.float32))
    touched = np.isin(np.arange(8), np.concatenate(blocks))
    assert spread._apart.tolist() == np.where(touched, np.float32(100.0), noted).tolist()


def moved(values: Vector, *, seed: int, by: float = 0.01, members: int = 3) -> list[Vector]:
    """Members that have all learnt something of their own."""
    return [values + normal(seed=100 * seed + member, scale=by) for member in range(members)]


@pytest.mark.parametrize(("name", "share"), [("int8", 0.05), ("int4", 0.6)])
def test_once_members_have_met_the_error_is_a_share_of_what_they_differ_by(name: CodecName, share: float) -> None:
    common, spreads = after_a_fallback(moved(normal(seed=99), seed=0))
    lost = []
    for number in range(1, 5):
        values = moved(common, seed=number)
        codings = group_of(name, values, spreads)
        average(codings)
        common = codings[0]._buffers.average
        lost.append(distance(common, mean_of(values)) / float(np.linalg.norm(values[0] - mean_of(values))))
    assert max(lost[1:]) < share


def test_in_int8_who_knows_nothing_of_the_others_errs_by_a_share_of_the_values() -> None:
    values = moved(normal(seed=99), seed=0)
    codings = group_of("int8", values, [SpreadEstimate(ELEMENTS) for _ in values])
    average(codings)
    assert 0.3 < distance(codings[0]._buffers.average, mean_of(values)) / (0.01 * np.sqrt(ELEMENTS)) < 1.0


def test_in_int4_who_knows_nothing_of_the_others_asks_for_another_codec() -> None:
    (coding,) = group_of("int4", [normal(seed=0)], [SpreadEstimate(ELEMENTS)])
    with pytest.raises(UnreadableError):
        coding.contribution(Slice(0, 300), coding.scratch(CHUNK))


@pytest.mark.parametrize(("name", "share"), [("int8", 0.05), ("int4", 0.6)])
def test_members_of_other_groups_understand_each_other_without_an_average_in_common(
    name: CodecName, share: float
) -> None:
    common = normal(seed=99)
    spreads = [known(0.05) for _ in range(6)]
    values = [*moved(common, seed=1), *moved(common, seed=2)]
    for group in ([0, 1, 2], [3, 4, 5]):
        codings = group_of(name, [values[own] for own in group], [spreads[own] for own in group])
        average(codings)
        for own, coding in zip(group, codings, strict=True):
            values[own] = coding._buffers.average + normal(seed=1000 + own, scale=0.01)
    mixed = [0, 4, 2]
    codings = group_of(name, [values[own] for own in mixed], [spreads[own] for own in mixed])
    average(codings)
    mean = mean_of([values[own] for own in mixed])
    assert len({coding._buffers.average.tobytes() for coding in codings}) == 1
    assert distance(codings[0]._buffers.average, mean) < share * float(np.linalg.norm(values[0] - mean))


@every_near_codec
def test_who_learnt_much_more_than_was_thought_is_not_misunderstood(name: CodecName) -> None:
    spreads = [known(0.003) for _ in range(3)]
    common = normal(seed=99)
    values = moved(common, seed=2, by=0.1)
    with pytest.raises(UnreadableError):
        average(group_of(name, values, spreads))
    for spread in spreads:
        for _ in range(8):
            spread.widen()
    codings = group_of(name, values, spreads)
    average(codings)
    assert distance(codings[0]._buffers.average, mean_of(values)) < 0.1 * float(np.linalg.norm(common))


@every_near_codec
def test_a_mean_is_readable_by_every_member_however_suddenly_they_came_together(name: CodecName) -> None:
    spreads = [known(1.0) for _ in range(3)]
    common = normal(seed=99)
    for number, by in enumerate([0.1, 1e-4, 1e-7, 0.0]):
        values = moved(common, seed=number, by=by)
        average(group_of(name, values, spreads))


@given(seed=st.integers(0, 1000), members=st.integers(2, 5), by=st.sampled_from([1e-4, 0.01, 0.3]))
@settings(deadline=None, max_examples=30)
def test_after_another_codec_stood_in_members_may_learn_twice_as_much_in_int4(
    seed: int, members: int, by: float
) -> None:
    common, spreads = after_a_fallback(moved(normal(seed=99), seed=seed, by=by, members=members))
    average(group_of("int4", moved(common, seed=seed + 1, by=2 * by, members=members), spreads))


def test_what_stands_in_takes_half_the_bytes_and_errs_by_a_share_of_the_values() -> None:
    values = moved(normal(seed=99), seed=0, by=100.0)
    common, _ = after_a_fallback(values)
    assert distance(common, mean_of(values)) < 1e-3 * float(np.linalg.norm(mean_of(values)))


def test_a_block_that_lay_still_may_move_as_others_did() -> None:
    spread = SpreadEstimate(2000)
    spread.note(Slice(0, 2000), np.array([0.1, *[0.0] * 7], np.float32))
    assert spread.max_deviation(Slice(0, 2000), room=6.0).tolist()[2:] == pytest.approx([0.1] * 6)
    assert spread.max_deviation(Slice(0, 256), room=6.0)[0] == pytest.approx(0.6)


def test_what_is_known_of_a_block_holds_wherever_chunks_begin() -> None:
    spread = SpreadEstimate(2000)
    spread.note(Slice(0, 2000), np.array([1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0], np.float32))
    shifted = spread.max_deviation(Slice(100, 1124), room=6.0)
    assert shifted.tolist() == pytest.approx([9.0, 9.0, 54.0, 54.0])
    assert np.isinf(SpreadEstimate(2000).max_deviation(Slice(100, 1124), room=6.0)).all()
