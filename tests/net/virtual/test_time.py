"""Virtual time: it jumps, it never stands still, and a wait without end is an error."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.time import (
    VirtualDeadlockError,
    VirtualStandstillError,
    VirtualTimeLimitError,
    run_virtual,
)

WAITS = st.lists(st.integers(0, 300_000_000).map(lambda wait_ms: wait_ms / 1000), min_size=1, max_size=8)


def test_a_month_passes_at_once() -> None:
    async def main() -> float:
        clock = Clock()
        for _ in range(29):
            await clock.sleep(86_400)
        await clock.sleep(1e-9)
        return clock.now()

    started = time.monotonic()
    assert run_virtual(main()) == pytest.approx(29 * 86_400)
    assert time.monotonic() - started < 10


@settings(deadline=None, max_examples=50)
@given(WAITS)
def test_sleepers_wake_in_the_order_of_their_times(waits: list[float]) -> None:
    async def sleeper(wait_s: float, woken: list[float]) -> None:
        await asyncio.sleep(wait_s)
        woken.append(wait_s)
        assert asyncio.get_running_loop().time() == pytest.approx(wait_s)

    async def main() -> list[float]:
        woken: list[float] = []
        await asyncio.gather(*(sleeper(wait_s, woken) for wait_s in waits))
        return woken

    assert run_virtual(main()) == sorted(waits)


@settings(deadline=None, max_examples=50)
@given(WAITS)
def test_one_after_the_other_takes_the_sum(waits: list[float]) -> None:
    async def main() -> float:
        for wait_s in waits:
            await asyncio.sleep(wait_s)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(sum(waits), rel=1e-9, abs=1e-9)


def test_timeouts_follow_virtual_time() -> None:
    async def main() -> float:
        clock = Clock()
        with pytest.raises(TimeoutError):
            async with clock.timeout(3):
                await asyncio.Event().wait()
        return clock.now()

    assert run_virtual(main()) == pytest.approx(3)


def test_a_deadlock_names_who_waits() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(wait_for_ever(), name="the one who waits")
        await task

    with pytest.raises(VirtualDeadlockError, match=r"the one who waits at .*test_time\.py:\d+"):
        run_virtual(main())


def test_a_run_that_never_ends_is_stopped() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - that is the point
            await asyncio.sleep(1)

    with pytest.raises(VirtualTimeLimitError, match="100 s"):
        run_virtual(main(), limit_s=100)


def test_background_tasks_are_cancelled_at_the_end() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("cancelled")

    async def main() -> str:
        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        assert not task.done()
        return "result"

    assert run_virtual(main()) == "result"
    assert ended == ["cancelled"]


def test_work_for_threads_is_done_in_place() -> None:
    async def main() -> tuple[int, float]:
        ident = await asyncio.to_thread(threading.get_ident)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return ident, asyncio.get_running_loop().time()

    assert run_virtual(main()) == (threading.get_ident(), 0.0)


def test_other_threads_may_still_call_in() -> None:
    async def main() -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,))
        thread.start()
        thread.join()
        await event.wait()

    run_virtual(main())


def test_whoever_never_waits_is_stopped_by_the_number_of_turns() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - that is what must not go on
            await asyncio.sleep(0)

    with pytest.raises(VirtualStandstillError, match="1000 turns"):
        run_virtual(main(), limit_turns=1000)
