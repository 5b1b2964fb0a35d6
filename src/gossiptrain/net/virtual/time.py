"""An event loop whose time is not the computer's: it jumps to the next timer as soon as nothing else can run.

Owns virtual time. Hours of waiting pass in milliseconds and the order of events depends on nothing outside, so a run
can be repeated exactly. Does not know networks; sockets and subprocesses must not be used under it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")
MAX_VIRTUAL_S = 30 * 86_400.0
"""Longest run, in virtual seconds. Up to here times are exact to the nanosecond by which asyncio fires its timers."""

CLEARING_TURNS = 100_000
"""Beyond the limit of turns: what tasks may need to end once it is passed."""


class VirtualDeadlockError(RuntimeError):
    """Nothing can run and no timer is set: the awaited tasks would wait for ever."""


class VirtualTimeLimitError(RuntimeError):
    """The virtual time limit passed while the main task was still pending."""


class VirtualStandstillError(RuntimeError):
    """Far too much happened: perhaps time stands still because something goes on without ever waiting."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves a clock forward where a real one would sleep."""

    def __init__(self, limit_s: float, limit_turns: int | None) -> None:
        super().__init__()
        self.now_s = 0.0
        self.turns = 0
        self._limit_s = min(limit_s, MAX_VIRTUAL_S)
        self._limit_turns = limit_turns

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self._limit_turns is not None and self.turns > self._limit_turns:
            self._limit_turns += CLEARING_TURNS
            raise VirtualStandstillError(f"still running after {self.turns - 1} turns of the event loop")
        if timeout is not None and timeout <= 0:
            return []
        if woken := super().select(0):  # a signal, or a call from another thread
            return woken
        if timeout is None:
            raise VirtualDeadlockError(_deadlock_text())
        self.now_s += timeout
        if self.now_s > self._limit_s:
            raise VirtualTimeLimitError(f"still running after {self._limit_s:g} s of virtual time")
        return []


def _deadlock_text() -> str:
    waiting = []
    for task in asyncio.all_tasks(asyncio.get_running_loop()):
        frames = task.get_stack(limit=1)
        place = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "an unknown place"
        waiting.append(f"{task.get_name()} at {place}")
    return "nothing is scheduled any more, and these tasks wait for ever: " + "; ".join(sorted(waiting))


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in virtual time, which begins at 0. `limit_s` counts up to `MAX_VIRTUAL_S`.

    limit_turns: most turns of the loop, in each of which all that can run does.
    """

    def __init__(self, limit_s: float = MAX_VIRTUAL_S, *, limit_turns: int | None = None) -> None:
        self._jumping = _JumpingSelector(limit_s, limit_turns)
        super().__init__(self._jumping)

    @property
    def turns(self) -> int:
        """How often the loop has gone round."""
        return self._jumping.turns

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now_s

    def run_in_executor(
        self, executor: object, func: Callable[[*ArgumentsT], ResultT], *args: *ArgumentsT
    ) -> asyncio.Future[ResultT]:
        """Runs `func` here and now: threads would bring back the computer's own timing. It takes no virtual time."""
        future: asyncio.Future[ResultT] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future


def run_virtual(
    main: Coroutine[Any, Any, ResultT], *, limit_s: float = MAX_VIRTUAL_S, limit_turns: int | None = None
) -> ResultT:
    """Runs `main` to its end in virtual time, then cancels what it left running.

    Raises VirtualDeadlockError where nothing could ever run again, VirtualTimeLimitError after `limit_s` virtual
    seconds, and VirtualStandstillError after `limit_turns` turns of the loop; all while `main` is still pending.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(limit_s, limit_turns=limit_turns)) as runner:
        return runner.run(main)
