"""What a limit to the upload promises: never more than the rate, hardly less, and nobody overtakes anybody."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import Clock
from gossiptrain.net.upload_limit import BURST_S, PIECE_BYTES, UNNOTICED_BYTES, UploadLimit
from gossiptrain.net.virtual.time import run_virtual

MBIT = 4.0
BYTES_PER_S = 500_000.0
Sent = list[tuple[float, int]]
"""When how many bytes left."""


def course(wanted: list[tuple[float, int]]) -> Sent:
    """What leaves when so many bytes are wanted at these times, each by a stream of its own; in order."""
    sent: Sent = []

    async def stream(limit: UploadLimit, at_s: float, size_bytes: int) -> None:
        await asyncio.sleep(at_s)
        await limit.take(size_bytes)
        sent.append((asyncio.get_running_loop().time(), size_bytes))

    async def main() -> None:
        limit = UploadLimit(Clock(), mbit_per_s=MBIT)
        await asyncio.gather(*(stream(limit, at_s, size_bytes) for at_s, size_bytes in wanted))

    run_virtual(main())
    return sent


wishes = st.lists(st.tuples(st.floats(0, 3), st.integers(1, PIECE_BYTES)), min_size=1, max_size=60)


@given(wishes)
def test_in_no_stretch_of_time_more_leaves_than_the_rate_and_one_burst(wanted: list[tuple[float, int]]) -> None:
    sent = course(wanted)
    unnoticed = sum(size for _, size in wanted if size < UNNOTICED_BYTES)  # which may leave at any time
    for first, last in itertools.combinations_with_replacement(range(len(sent)), 2):
        stretch_s = sent[last][0] - sent[first][0]
        left = sum(size for _, size in sent[first : last + 1])
        assert left <= BYTES_PER_S * (stretch_s + BURST_S) + PIECE_BYTES + unnoticed + 1


@given(wishes)
def test_all_of_it_leaves_and_no_later_than_the_rate_makes_necessary(wanted: list[tuple[float, int]]) -> None:
    sent = course(wanted)
    assert sorted(size for _, size in sent) == sorted(size for _, size in wanted)
    for index, (at_s, _) in enumerate(sent):
        before = sum(size for _, size in sent[: index + 1])
        assert at_s <= max(wished_s for wished_s, _ in wanted) + before / BYTES_PER_S + 1e-6


@given(st.lists(st.integers(UNNOTICED_BYTES, PIECE_BYTES), min_size=1, max_size=40))
def test_streams_have_their_turn_in_the_order_in_which_they_come(sizes: list[int]) -> None:
    assert [size for _, size in course([(0.0, size) for size in sizes])] == sizes


def test_over_a_long_time_the_rate_is_used() -> None:
    sent = course([(0.0, PIECE_BYTES)] * 300)
    assert sent[-1][0] == pytest.approx(300 * PIECE_BYTES / BYTES_PER_S, rel=0.02)


def test_short_words_are_not_held_up_but_count() -> None:
    sent = course([(0.0, PIECE_BYTES)] * 10 + [(0.01, 100)] * 200)
    assert all(at_s == pytest.approx(0.01) for at_s, size in sent if size == 100)
    assert sent[-1][0] >= (10 * PIECE_BYTES + 20_000 - PIECE_BYTES) / BYTES_PER_S - BURST_S - 1e-6


def test_who_gives_up_takes_nothing_from_the_others() -> None:
    async def main() -> float:
        limit = UploadLimit(Clock(), mbit_per_s=MBIT)
        first = asyncio.create_task(limit.take(PIECE_BYTES))
        given_up = [asyncio.create_task(limit.take(PIECE_BYTES)) for _ in range(100)]
        last = asyncio.create_task(limit.take(PIECE_BYTES))
        await first
        for task in given_up:
            task.cancel()
        await last
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) < 3 * PIECE_BYTES / BYTES_PER_S


def test_without_a_limit_nothing_waits() -> None:
    async def main() -> float:
        limit = UploadLimit(Clock())
        for _ in range(1000):
            await limit.take(1 << 30)
        assert limit.piece_bytes(1 << 20) == 1 << 20
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0.0
    assert UploadLimit(Clock()).bytes_per_s == math.inf
