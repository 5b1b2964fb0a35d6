"""An event loop whose time is not the computer's: it jumps to the next timer as soon as nothing else can run.

Owns virtual time. Hours of waiting pass in milliseconds and the order of events depends on nothing outside, so a run
can be repeated exactly. Does not know networks; sockets and subprocesses must not be used under it.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, cast

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
        self.is_called = True
        """Whether another thread, or a signal, may have called since it was looked."""
        self._limit_s = min(limit_s, MAX_VIRTUAL_S)
        self._limit_turns = limit_turns

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self._limit_turns is not None and self.turns > self._limit_turns:
            self._limit_turns += CLEARING_TURNS
            raise VirtualStandstillError(f"still running after {self.turns - 1} turns of the event loop")
        if timeout is not None and timeout <= 0:
            return []
        if self.is_called or timeout is None:
            self.is_called = False
            if woken := super().select(0):
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


class _Timer(float):
    """A timer as asyncio's own loop handles it, which is the number that its time is.

    So the heap compares two of them without a call of Python, which it does a dozen times for each; those of one moment
    are equal, as asyncio's are, and come in the same order.
    """

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_loop", "_scheduled", "_when")
    _source_traceback = None
    _when: float
    _callback: Callable[..., object] | None
    _args: tuple[Any, ...] | None
    _loop: VirtualTimeLoop
    _context: contextvars.Context
    _cancelled: bool
    _scheduled: bool

    def __new__(
        cls,
        when_s: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualTimeLoop,
        context: contextvars.Context | None,
    ) -> _Timer:
        timer = super().__new__(cls, when_s)
        timer._when = when_s
        timer._callback = callback
        timer._args = args
        timer._loop = loop
        timer._context = contextvars.copy_context() if context is None else context
        timer._cancelled = False
        timer._scheduled = True
        return timer

    _run = asyncio.Handle._run

    def __bool__(self) -> bool:
        return True

    def cancel(self) -> None:
        if not self._cancelled:
            self._loop._timer_handle_cancelled(self)  # type: ignore[attr-defined]
            self._cancelled = True
            self._callback = self._args = None

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when


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

    def call_at(
        self,
        when: float,
        callback: Callable[[*ArgumentsT], object],
        *args: *ArgumentsT,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Has `callback` called at that virtual time."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        return cast("asyncio.TimerHandle", timer)

    def call_soon_threadsafe(
        self,
        callback: Callable[[*ArgumentsT], object],
        *args: *ArgumentsT,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """The one way in from other threads and from signals."""
        self._jumping.is_called = True
        return super().call_soon_threadsafe(callback, *args, context=context)

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
