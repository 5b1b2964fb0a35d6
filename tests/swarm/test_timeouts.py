"""How long to wait is learnt from the rounds so far, and a wait ends where nothing moves for so long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.config import TimingSettings
from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.swarm.timeouts import (
    LEAST_PIECE_BYTES,
    LEAST_SHARE,
    MOST_SHARE,
    MULTIPLE,
    PIECE_BYTES,
    REMEMBERED_ROUNDS,
    SHARE_OF_FIRST_EXCHANGE,
    SLOWEST_BYTES_PER_S,
    WHOLE_CHUNK_BYTES,
    AdaptiveTimeout,
    BehindError,
    Budget,
    ProgressDeadline,
    longest_round_s,
    pieces,
)

SETTING_S = 3.0
RAN_OUT = None
waits_s = st.floats(0.0, 1e6)
attempts = st.lists(st.one_of(st.none(), waits_s), max_size=3 * REMEMBERED_ROUNDS)
"""The longest wait of each attempt that went well, or that the timeout ran out."""


def timeout_after(*longest_waits_s: float | None, setting_s: float = SETTING_S) -> AdaptiveTimeout:
    adaptive_timeout = AdaptiveTimeout(setting_s)
    for wait_s in longest_waits_s:
        if wait_s is RAN_OUT:
            adaptive_timeout.ran_out()
        else:
            adaptive_timeout.went_well(wait_s)
    return adaptive_timeout


# The longest round.


def test_a_small_model_has_the_setting_and_a_large_one_as_long_as_slow_links_need() -> None:
    timing = TimingSettings()
    assert longest_round_s(timing, elements=100_000) == timing.round_timeout_s
    values = 25_000_000
    first_exchange_s = SHARE_OF_FIRST_EXCHANGE * longest_round_s(timing, elements=values)
    assert first_exchange_s * SLOWEST_BYTES_PER_S == pytest.approx(2 * 4 * values)


# The adaptive timeout.


def test_the_timeout_begins_with_the_setting() -> None:
    assert AdaptiveTimeout(SETTING_S).stall_s == SETTING_S


def test_chunks_are_waited_for_in_pieces_until_they_are_known_to_come_soon() -> None:
    assert timeout_after().piece_bytes(4) == PIECE_BYTES
    assert timeout_after(0.01 * SETTING_S).piece_bytes(4) == WHOLE_CHUNK_BYTES
    assert timeout_after(0.01 * SETTING_S, SETTING_S).piece_bytes(4) == PIECE_BYTES
    assert timeout_after(0.01 * SETTING_S, RAN_OUT).piece_bytes(4) == PIECE_BYTES


def test_in_a_larger_group_less_is_to_move_on_each_link() -> None:
    sizes = [timeout_after().piece_bytes(members) for members in (2, 4, 8, 16, 64)]
    assert sizes == [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES // 2, LEAST_PIECE_BYTES, LEAST_PIECE_BYTES]
    assert timeout_after(0.01 * SETTING_S).piece_bytes(64) == WHOLE_CHUNK_BYTES


@given(history=attempts, setting_s=st.floats(0.01, 1000.0))
def test_the_timeout_stays_within_its_bounds_whatever_happens(history: list[float | None], setting_s: float) -> None:
    adaptive_timeout = timeout_after(*history, setting_s=setting_s)
    assert LEAST_SHARE * setting_s <= adaptive_timeout.stall_s <= MOST_SHARE * setting_s


@given(history=attempts, wait_s=st.floats(LEAST_SHARE * SETTING_S / MULTIPLE, MOST_SHARE * SETTING_S / MULTIPLE))
def test_rounds_that_are_alike_make_it_a_multiple_of_their_wait(history: list[float | None], wait_s: float) -> None:
    """Whatever was before: after so many rounds it is forgotten."""
    assert timeout_after(*history, *[wait_s] * REMEMBERED_ROUNDS).stall_s == MULTIPLE * wait_s


@given(waits=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=REMEMBERED_ROUNDS), factor=st.floats(1.0, 10.0))
def test_slower_rounds_never_make_it_shorter(waits: list[float], factor: float) -> None:
    slower = [factor * wait_s for wait_s in waits]
    assert timeout_after(*slower).stall_s >= timeout_after(*waits).stall_s


@given(waits=st.lists(waits_s, min_size=1, max_size=REMEMBERED_ROUNDS), data=st.data())
def test_the_order_of_the_remembered_rounds_does_not_matter(waits: list[float], data: st.DataObject) -> None:
    assert timeout_after(*waits).stall_s == timeout_after(*data.draw(st.permutations(waits))).stall_s


def test_it_grows_with_slow_rounds_and_shrinks_with_fast_ones() -> None:
    adaptive_timeout = timeout_after(*[1.5] * REMEMBERED_ROUNDS)
    assert adaptive_timeout.stall_s == 6.0 > SETTING_S
    for _ in range(REMEMBERED_ROUNDS):
        adaptive_timeout.went_well(0.01)
    assert adaptive_timeout.stall_s == LEAST_SHARE * SETTING_S


def test_one_slow_round_among_many_changes_nothing_and_two_do() -> None:
    usual = [0.5] * (REMEMBERED_ROUNDS - 1)
    assert timeout_after(*usual, 5.0).stall_s == timeout_after(*usual, 0.5).stall_s
    assert timeout_after(*usual, 5.0, 5.0).stall_s == MULTIPLE * 5.0


@pytest.mark.parametrize("waits", [[], [0.01] * REMEMBERED_ROUNDS, [100.0] * 3])
def test_when_it_runs_out_it_begins_anew_with_the_setting(waits: list[float]) -> None:
    adaptive_timeout = timeout_after(*waits, RAN_OUT)
    assert adaptive_timeout.stall_s == SETTING_S, (
        "a dead link is not waited for longer and longer, nor a slow one too short"
    )


# The progress deadline.


async def move_after(deadline: ProgressDeadline, *waits_s: float) -> None:
    for wait_s in waits_s:
        await asyncio.sleep(wait_s)
        deadline.moved()


@given(st.lists(st.floats(0.0, 1.99), max_size=20))
def test_while_something_moves_nothing_times_out_however_long_it_takes(waits: list[float]) -> None:
    async def main() -> ProgressDeadline:
        deadline = ProgressDeadline(Clock())
        async with deadline.within(2.0):
            await move_after(deadline, *waits)
        return deadline

    assert run_virtual(main()).longest_wait_s == pytest.approx(max(waits, default=0.0), abs=1e-6)


def time_of_timeout(waiting: Callable[[ProgressDeadline], Awaitable[None]], *, within_s: float) -> float:
    """When the wait times out, in seconds after its begin."""

    async def main() -> float:
        deadline = ProgressDeadline(Clock())

        async def watched() -> None:
            async with deadline.within(within_s):
                await waiting(deadline)

        with pytest.raises(TimeoutError):
            await watched()
        return asyncio.get_running_loop().time()

    return run_virtual(main())


@pytest.mark.parametrize("moves", [0, 1, 7])
def test_where_nothing_moves_it_times_out_just_so_long_after_the_last_move(moves: int) -> None:
    async def waiting(deadline: ProgressDeadline) -> None:
        await move_after(deadline, *[1.5] * moves)
        await asyncio.Event().wait()

    assert time_of_timeout(waiting, within_s=2.0) == pytest.approx(1.5 * moves + 2.0)


def test_the_next_move_may_be_given_another_time() -> None:
    async def waiting(deadline: ProgressDeadline) -> None:
        await asyncio.sleep(9.0)
        deadline.moved()
        deadline.allow(1.0)
        await asyncio.Event().wait()

    assert time_of_timeout(waiting, within_s=10.0) == pytest.approx(10.0)


def test_after_a_time_of_its_own_the_usual_one_is_back() -> None:
    async def waiting(deadline: ProgressDeadline) -> None:
        deadline.allow(10.0)
        await move_after(deadline, 9.0, 1.9)
        await asyncio.Event().wait()

    assert time_of_timeout(waiting, within_s=2.0) == pytest.approx(12.9)


def test_a_part_that_moves_renews_the_deadline_and_is_no_wait_of_its_own() -> None:
    async def main() -> tuple[float, float]:
        deadline = ProgressDeadline(Clock())
        async with deadline.within(2.0):
            for _ in range(3):
                await asyncio.sleep(1.9)
                deadline.renew()
            return deadline.moved(), deadline.longest_wait_s

    assert run_virtual(main()) == pytest.approx((5.7, 5.7))


@pytest.mark.parametrize(
    ("part_s", "longest_stall_s", "stalls_s"), [(0.1, 20.0, 2.0), (1.5, 20.0, 6.0), (1.5, 4.0, 4.0)]
)
def test_a_link_that_has_been_slow_all_the_time_may_stand_still_for_longer_but_not_for_ever(
    part_s: float, longest_stall_s: float, stalls_s: float
) -> None:
    async def main() -> float:
        deadline = ProgressDeadline(Clock(), longest_stall_s=longest_stall_s)

        async def three_parts_and_no_more() -> None:
            async with deadline.within(2.0):
                for _ in range(3):
                    await asyncio.sleep(part_s)
                    deadline.renew()
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await three_parts_and_no_more()
        return asyncio.get_running_loop().time() - 3 * part_s

    assert run_virtual(main()) == pytest.approx(stalls_s)


@given(st.integers(0, 5 * PIECE_BYTES))
def test_pieces_are_all_of_a_chunk_in_order_and_short(size_bytes: int) -> None:
    data = memoryview(bytes(number % 251 for number in range(size_bytes)))
    found = list(pieces(data, PIECE_BYTES))
    assert b"".join(found) == data
    assert all(len(piece) <= PIECE_BYTES for piece in found)


def test_the_longest_wait_spans_all_uses_of_a_deadline_and_not_the_time_between_them() -> None:
    async def main() -> float:
        deadline = ProgressDeadline(Clock())
        for wait_s in (0.5, 1.5, 1.0):
            async with deadline.within(2.0):
                await move_after(deadline, wait_s)
            await asyncio.sleep(100.0)
        return deadline.longest_wait_s

    assert run_virtual(main()) == pytest.approx(1.5)


# What a link may cost in all.


def test_while_nothing_is_known_an_exchange_may_take_what_it_was_given() -> None:
    adaptive_timeout = AdaptiveTimeout(SETTING_S, longest_exchange_s=30.0)
    assert adaptive_timeout.exchange_s == 30.0
    adaptive_timeout.went_well(0.01, exchange_s=0.5)
    assert adaptive_timeout.exchange_s < 30.0


@given(st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=REMEMBERED_ROUNDS))
def test_a_link_may_take_as_long_as_exchanges_do_and_several_times_that(exchanges_s: list[float]) -> None:
    adaptive_timeout = AdaptiveTimeout(SETTING_S)
    for exchange_s in exchanges_s:
        adaptive_timeout.went_well(0.0, exchange_s=exchange_s)
    assert adaptive_timeout.exchange_s >= MULTIPLE * min(exchanges_s)
    budget = adaptive_timeout.budget(10)
    for _ in range(10):
        budget.spend(min(exchanges_s) / 10)


def move_slowly(budget: Budget, wait_s: float, *, times: int) -> None:
    for _ in range(times):
        budget.spend(wait_s)


def test_a_link_that_moves_and_would_take_far_too_long_is_noticed_long_before_its_end() -> None:
    adaptive_timeout = AdaptiveTimeout(SETTING_S)
    for _ in range(5):
        adaptive_timeout.went_well(0.01, exchange_s=0.5)
    with pytest.raises(BehindError):
        move_slowly(adaptive_timeout.budget(1000), 0.9 * adaptive_timeout.stall_s, times=10)


def test_where_all_links_have_become_slower_one_is_given_twice_as_long_each_time() -> None:
    adaptive_timeout = AdaptiveTimeout(SETTING_S)
    adaptive_timeout.went_well(0.01, exchange_s=10.0)
    usual_s = adaptive_timeout.exchange_s
    adaptive_timeout.fell_behind()
    adaptive_timeout.fell_behind()
    assert adaptive_timeout.exchange_s == 4 * usual_s
    adaptive_timeout.went_well(0.01, exchange_s=10.0)
    assert adaptive_timeout.exchange_s == usual_s
