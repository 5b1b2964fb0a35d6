"""Tasks that foreign code starts and forgets end with their tracker."""

from __future__ import annotations

import asyncio
import gc

from gossiptrain.net.task_tracker import TaskTracker
from gossiptrain.net.virtual.time import run_virtual


def test_children_and_grandchildren_end_with_the_family() -> None:
    ended: list[str] = []

    async def sleep(name: str) -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append(name)

    async def parent() -> None:
        await asyncio.sleep(1)
        asyncio.create_task(sleep("grandchild"))  # noqa: RUF006 - forgotten on purpose, as everywhere here
        await sleep("child")

    async def main() -> None:
        family = TaskTracker()
        stranger = asyncio.create_task(sleep("stranger"))
        with family.tracking():
            asyncio.create_task(parent())  # noqa: RUF006
        outsider = asyncio.create_task(sleep("outsider"))
        await asyncio.sleep(2)
        await family.close()
        assert sorted(ended) == ["child", "grandchild"]
        assert not stranger.done()
        assert not outsider.done()

    run_virtual(main())


def test_tasks_that_start_others_while_they_end_are_waited_for() -> None:
    ended = []

    async def stubborn(generations: int) -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            if generations:
                asyncio.create_task(stubborn(generations - 1))  # noqa: RUF006
            ended.append(generations)

    async def main() -> None:
        family = TaskTracker()
        with family.tracking():
            asyncio.create_task(stubborn(3))  # noqa: RUF006
        await asyncio.sleep(1)
        await family.close()
        await family.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())
    assert ended  # a task that is cancelled before it began never ran, so not all generations need be there


def test_two_families_are_told_apart_and_errors_are_looked_at() -> None:
    unseen = []

    async def fail() -> None:
        raise RuntimeError("nobody asks for this")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        first, second = TaskTracker(), TaskTracker()
        with first.tracking():
            asyncio.create_task(fail())  # noqa: RUF006
            with second.tracking():
                kept = asyncio.create_task(asyncio.sleep(1e6, "slept"))
        await asyncio.sleep(1)
        await first.close()
        assert not kept.done()
        await second.close()
        assert kept.cancelled()

    run_virtual(main())
    gc.collect()
    assert unseen == []
