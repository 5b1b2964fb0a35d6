"""One attempt of a group to compute its average: reduce by slices, and give back.

Owns the course of an attempt, and how it begins: with a cut of the flat vector into one slice per member and a coding,
another one where an attempt has failed. Every member sends each other member its chunks of that one's slice, which is
its `contribution`; the owner of a slice adds them up and streams the mean back, which is its `own_slice` (butterfly
all-reduce, 2(k-1)/k models per member, the least possible). Ends with the complete average in the result, or with whom
the attempt failed on. Does not decide what follows from either.
"""

from __future__ import annotations

import asyncio
import contextlib

from blake3 import blake3

from gossiptrain.core.codecs import codec_named
from gossiptrain.core.modular import Modular
from gossiptrain.net.transport import Stream, Transport
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import FAILURES, Attempt, Blame, GoneError, HaltedError, Outcome
from gossiptrain.swarm.coding import ELEMENT_BYTES, Buffers, CodecCoding, Coding, PlainCoding
from gossiptrain.swarm.contribution import Contribution
from gossiptrain.swarm.exchange_context import ExchangeContext, LinkStatistics
from gossiptrain.swarm.exchange_plan import ExchangePlan
from gossiptrain.swarm.near_coding import NEAR_BITS, FallbackCoding, NearCoding, SpreadEstimate
from gossiptrain.swarm.own_slice import OwnSlice
from gossiptrain.swarm.silence import SilenceWatch
from gossiptrain.swarm.timeouts import shared_piece_bytes

SILENT_SHARE = 1 / 3
"""Of the time that a link may stand still: after so much of it a member is asked. With the waits of the presets it has
been given up then before its links are."""


class Exchange:
    """Runs one attempt. Create it, let `accept` have the streams that others open for it, and await `run`."""

    def __init__(self, admission: Admission, attempt: Attempt, buffers: Buffers, *, statistics: LinkStatistics) -> None:
        self.attempt = attempt
        self._context = _context_of(admission, attempt, buffers, statistics=statistics)
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
        context.statistics.own_line.note(context.bytes_received, exchange_s)
        return Outcome(
            finished=True,
            digest=self._digest(),
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

    def _digest(self) -> str:
        """BLAKE3 over the digests of all slices, in the order of the members; one for all that hold one average."""
        whole = blake3()
        for peer in self.attempt.members:
            whole.update(self._context.digests[peer].digest())
        return whole.hexdigest()


def _context_of(
    admission: Admission, attempt: Attempt, buffers: Buffers, *, statistics: LinkStatistics
) -> ExchangeContext:
    """Cuts the vector among the members and chooses the coding."""
    chunk_elements = admission.timing.chunk_bytes // ELEMENT_BYTES
    me = admission.transport.peer_id
    plan = ExchangePlan.of(attempt, me, elements=len(buffers.snapshot), chunk_elements=chunk_elements)
    expected = {peer: 2 * (bool(plan.own_chunks) + bool(plan.chunks[peer])) for peer in plan.others}
    return ExchangeContext(
        admission,
        plan,
        coding_for(plan, buffers, spread=statistics.spread),
        statistics,
        SilenceWatch(admission, attempt, expected),
        stall_s=statistics.adaptive_timeout.stall_s,
        sending_stall_s=max(statistics.adaptive_timeout.stall_s, _limited_s(admission.transport, plan)),
        radii=buffers.radii,
        digests={peer: blake3() for peer in attempt.members},
    )


def _limited_s(transport: Transport, plan: ExchangePlan) -> float:
    """How long a piece of each stream on which this peer sends may take under its own limit, with as much to spare for
    what joiners are given meanwhile."""
    return 2 * plan.streams * shared_piece_bytes(len(plan.attempt.members)) / transport.upload_bytes_per_s


def coding_for(plan: ExchangePlan, buffers: Buffers, *, spread: SpreadEstimate) -> Coding:
    """The coding of an attempt for one member. spread: widened where an attempt by it has failed."""
    attempt = plan.attempt
    match attempt.codec:
        case "fp32":
            return PlainCoding(buffers)
        case "int8" | "int4" as name if attempt.number == 0:
            place = attempt.members.index(plan.me)
            seed = int.from_bytes(blake3(f"{attempt.round_id}/{place}".encode()).digest(length=8), "big")
            modular = Modular(plan.longest, bits=NEAR_BITS[name])
            return NearCoding(buffers, modular, plan.own_chunks, spread=spread, seed=seed)
        case "int8" | "int4":
            # Whatever made the first attempt fail, members that were too far apart would make this one fail, too.
            spread.widen()
            return FallbackCoding(buffers, plan.own_chunks, spread=spread)
        case name:
            return CodecCoding(buffers, codec_named(name), plan.own_chunks)
