"""One attempt of a group to compute its average: reduce by slices, and give back.

Owns the course of an attempt. The flat vector is cut into one slice per member. Every member sends each other member
its chunks of that one's slice, which is its `contribution`; the owner of a slice adds them up and streams the mean
back, which is its `own_slice` (butterfly all-reduce, 2(k-1)/k models per member, the least possible). Ends with the
complete average in the result, or with whom the attempt failed on. Does not decide what follows from either.
"""

from __future__ import annotations

import asyncio
import contextlib

from gossiptrain.net.transport import Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import FAILURES, Attempt, Blame, GoneError, HaltedError, Outcome
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.contribution import Contribution
from gossiptrain.swarm.exchange_context import ExchangeContext, LinkStatistics
from gossiptrain.swarm.own_slice import OwnSlice

SILENT_SHARE = 1 / 3
"""Of the time that a link may stand still: after so much of it a member is asked. With the waits of the presets it has
been given up then before its links are."""


class Exchange:
    """Runs one attempt. Create it, let `accept` have the streams that others open for it, and await `run`."""

    def __init__(self, admission: Admission, attempt: Attempt, buffers: Buffers, *, statistics: LinkStatistics) -> None:
        self.attempt = attempt
        self._context = ExchangeContext.of(admission, attempt, buffers, statistics=statistics)
        self._own_slice = OwnSlice(self._context)
        self._halted = asyncio.Event()
        self.over = asyncio.Event()
        """Set when `run` has returned."""

    def accept(self, stream: Stream) -> bool:
        """Takes a stream on which a member sends its contribution; says whether it was expected."""
        return not self.over.is_set() and self._own_slice.accept(stream)

    def halt(self) -> None:
        """Stops the attempt; `run` then returns an unfinished outcome, unless it had already finished."""
        self._halted.set()

    async def run(self) -> Outcome:
        """Exchanges with all members until the average is complete or cannot be."""
        with contextlib.closing(self._context.silence):
            return await self._run()

    async def _run(self) -> Outcome:
        context, task = self._context, asyncio.current_task()
        assert task is not None
        cancellations = task.cancelling()
        started_s = context.clock.now()
        finished = False
        blame = Blame()
        try:
            await self._exchange_with_all()
            finished = True
        except* FAILURES as failures:
            blame.add(failures)
        finally:
            self._end(finished=finished)
        if task.cancelling() > cancellations:
            # A link that fails in the very moment in which this is cancelled would hide it.
            raise asyncio.CancelledError
        if not finished:
            blame.gone.update(await context.silence.answers_to_come())
            return blame.outcome(bytes_sent=context.bytes_sent)
        exchange_s = context.clock.now() - started_s
        context.statistics.adaptive_timeout.went_well(context.longest_wait_s, exchange_s=exchange_s)
        return Outcome(
            finished=True,
            digest=context.digest(),
            squared_distance=self._own_slice.reduction.squared_distance,
            squared_mean=self._own_slice.reduction.squared_mean,
            bytes_sent=context.bytes_sent,
        )

    async def _exchange_with_all(self) -> None:
        plan = self._context.plan
        async with asyncio.TaskGroup() as tasks:
            watches = [tasks.create_task(self._watch_for_halt()), tasks.create_task(self._watch_for_silence())]
            work = [tasks.create_task(Contribution(self._context, peer).run()) for peer in plan.owners]
            if plan.own_chunks:
                work += [tasks.create_task(self._own_slice.give_back(peer)) for peer in plan.others]
                work.append(tasks.create_task(self._own_slice.reduce()))
            await asyncio.gather(*work)
            for task in watches:
                task.cancel()

    def _end(self, *, finished: bool) -> None:
        self.over.set()
        self._own_slice.close()
        if not finished:
            for stream in self._context.streams:
                stream.abort()

    async def _watch_for_halt(self) -> None:
        await self._halted.wait()
        raise HaltedError

    async def _watch_for_silence(self) -> None:
        raise GoneError(await self._context.silence.gone(after_s=SILENT_SHARE * self._context.stall_s))
