"""One attempt of a group to compute its average: reduce by slices, and give back.

Owns the streaming of tensors. The flat vector is cut into one slice per member. Every member sends each other member
its chunks of that one's slice; the owner of a slice adds them up in the order of the members, always in float32, and
streams the mean back on the same connection while later chunks still arrive (butterfly all-reduce, 2(k-1)/k models
per member, the least possible). Ends with the complete average in the result, or with whom the attempt failed on.
Does not decide what follows from either, nor how values are coded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from blake3 import blake3

from gossiptrain.config import TimingSettings
from gossiptrain.core.averaging import Vector, clipped_weights
from gossiptrain.core.codecs import codec_named
from gossiptrain.core.guards import is_finite
from gossiptrain.core.modular import Modular
from gossiptrain.core.partition import Slice
from gossiptrain.net.framing import send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Attempt, Outcome
from gossiptrain.swarm.coding import (
    ELEMENT_BYTES,
    Buffers,
    CodecCoding,
    Coding,
    PlainCoding,
    Scratch,
    UnreadableError,
)
from gossiptrain.swarm.exchange_plan import ExchangePlan
from gossiptrain.swarm.messages import ExchangeHeader
from gossiptrain.swarm.near_coding import FALLBACK, NearCoding, SpreadEstimate
from gossiptrain.swarm.reduction import Reduction
from gossiptrain.swarm.silence import SilenceWatch
from gossiptrain.swarm.speeds import SpeedsSeen
from gossiptrain.swarm.standing import Standing
from gossiptrain.swarm.timeouts import AdaptiveTimeout, BehindError, ProgressDeadline

EXCHANGE = "/gossiptrain/exchange"

FailureT = TypeVar("FailureT", bound=Exception)


@dataclass(frozen=True)
class LinkStatistics:
    """What earlier rounds of this peer have taught about links, and each further one adds to."""

    adaptive_timeout: AdaptiveTimeout
    speeds: SpeedsSeen
    spread: SpreadEstimate


class _LinkFailedError(Exception):
    """A peer did not do its part; `surely` where it cannot have been waiting for somebody else."""

    def __init__(self, peer: PeerId, *, surely: bool) -> None:
        super().__init__(peer)
        self.peer = peer
        self.surely = surely


class _GoneError(Exception):
    """Members do not answer any more, or know nothing of this round."""

    def __init__(self, found: dict[PeerId, Standing]) -> None:
        super().__init__(*found)
        self.found = found


class _HaltedError(Exception):
    """The leader stopped the attempt."""


@dataclass
class _Blame:
    """On whom an attempt failed; see `Outcome`."""

    gone: dict[PeerId, Standing] = field(default_factory=dict)
    suspects: set[PeerId] = field(default_factory=set)
    waited_for: set[PeerId] = field(default_factory=set)
    unreadable: bool = False


@dataclass
class _ReducedChunks:
    """How many chunks of the own slice are reduced; those who give back wait for it to advance."""

    reduced: int = 0
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self) -> None:
        self.reduced += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def reached(self, chunk: int) -> None:
        while self.reduced <= chunk:
            await self._moved.wait()


class Exchange:
    """Runs one attempt. Create it, let `accept` have the streams that others open for it, and await `run`."""

    def __init__(self, admission: Admission, attempt: Attempt, buffers: Buffers, *, statistics: LinkStatistics) -> None:
        me = admission.transport.peer_id
        self.attempt = attempt
        self._admission = admission
        self._clock = admission.transport.clock
        self._timing: TimingSettings = admission.timing
        self._adaptive_timeout = statistics.adaptive_timeout
        self._speeds_seen = statistics.speeds
        self._spread = statistics.spread
        self._stall_s = statistics.adaptive_timeout.stall_s
        self._deadlines: list[ProgressDeadline] = []
        chunk_elements = self._timing.chunk_bytes // ELEMENT_BYTES
        self._plan = ExchangePlan.of(attempt, me, elements=len(buffers.snapshot), chunk_elements=chunk_elements)
        self._coding = self._chosen_coding(buffers)
        self._reduction = Reduction(self._coding, clipped_weights(attempt.samples), longest=self._plan.longest)
        self._inbound: dict[PeerId, asyncio.Future[Stream]] = {
            peer: asyncio.get_running_loop().create_future() for peer in self._plan.others
        }
        self._streams: list[Stream] = []
        self._reduced_chunks = _ReducedChunks()
        self._digests = {peer: blake3() for peer in attempt.members}
        expected = {peer: bool(self._plan.own_chunks) + bool(self._plan.chunks[peer]) for peer in self._plan.others}
        self._silence = SilenceWatch(admission, attempt, expected)
        self._halted = asyncio.Event()
        self.over = asyncio.Event()
        """Set when `run` has returned."""

    def accept(self, stream: Stream) -> bool:
        """Takes a stream on which a member sends its contribution; says whether it was expected."""
        waiting = self._inbound.get(stream.remote)
        if waiting is None or waiting.done() or self.over.is_set():
            return False
        self._streams.append(stream)
        self._silence.heard(stream.remote)
        waiting.set_result(stream)
        return True

    def halt(self) -> None:
        """Stops the attempt; `run` then returns an unfinished outcome, unless it had already finished."""
        self._halted.set()

    async def run(self) -> Outcome:
        """Exchanges with all members until the average is complete or cannot be."""
        started_s = self._clock.now()
        finished = False
        blame = _Blame()
        try:
            await self._exchange_with_all()
            finished = True
        except* _GoneError as failures:
            for gone in _leaves(failures):
                blame.gone.update(gone.found)
        except* _LinkFailedError as failures:
            for failure in _leaves(failures):
                (blame.suspects if failure.surely else blame.waited_for).add(failure.peer)
        except* UnreadableError:
            blame.unreadable = True
        except* _HaltedError:
            pass
        finally:
            self._end(finished=finished)
        if not finished:
            return self._failed(blame)
        longest_wait_s = max((deadline.longest_wait_s for deadline in self._deadlines), default=0.0)
        self._adaptive_timeout.went_well(longest_wait_s, exchange_s=self._clock.now() - started_s)
        return Outcome(
            finished=True,
            digest=self._digest(),
            squared_distance=self._reduction.squared_distance,
            squared_mean=self._reduction.squared_mean,
            bytes_sent=self._bytes_sent(),
        )

    async def _exchange_with_all(self) -> None:
        plan = self._plan
        async with asyncio.TaskGroup() as tasks:
            watches = [tasks.create_task(self._watch_for_halt()), tasks.create_task(self._watch_for_silence())]
            work = [tasks.create_task(self._contribute(peer)) for peer in plan.owners]
            if plan.own_chunks:
                work += [tasks.create_task(self._give_back(peer)) for peer in plan.others]
                work.append(tasks.create_task(self._reduce()))
            await asyncio.gather(*work)
            for task in watches:
                task.cancel()

    def _failed(self, blame: _Blame) -> Outcome:
        suspects = blame.suspects | blame.gone.keys()
        return Outcome(
            finished=False,
            bytes_sent=self._bytes_sent(),
            suspects=tuple(sorted(suspects)),
            waited_for=tuple(sorted(blame.waited_for - suspects)),
            gone=blame.gone,
            unreadable=blame.unreadable,
        )

    def _end(self, *, finished: bool) -> None:
        self.over.set()
        for future in self._inbound.values():
            future.cancel()
        if not finished:
            for stream in self._streams:
                stream.abort()

    def _bytes_sent(self) -> int:
        return sum(stream.bytes_sent for stream in self._streams)

    def _digest(self) -> str:
        whole = blake3()
        for peer in self.attempt.members:
            whole.update(self._digests[peer].digest())
        return whole.hexdigest()

    async def _watch_for_halt(self) -> None:
        await self._halted.wait()
        raise _HaltedError

    async def _watch_for_silence(self) -> None:
        raise _GoneError(await self._silence.gone(after_s=self._stall_s / 2))

    async def _contribute(self, peer: PeerId) -> None:
        """Sends `peer` the own chunks of its slice, and reads their means."""
        size_bytes = sum(map(self._coding.size_bytes, self._plan.chunks[peer]))
        try:
            async with self._clock.timeout(self._timing.dial_timeout_s):
                stream = await self._admission.stream(peer, EXCHANGE, bulk_bytes=2 * size_bytes)
        except (UnreachableError, TimeoutError) as error:
            raise _LinkFailedError(peer, surely=True) from error
        self._streams.append(stream)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_contribution(peer, stream))
            tasks.create_task(self._receive_means(peer, stream))
        await stream.close()

    async def _send_contribution(self, peer: PeerId, stream: Stream) -> None:
        header = ExchangeHeader(round_id=self.attempt.round_id, attempt=self.attempt.number)
        scratch = self._scratch()
        chunks = self._plan.chunks[peer]
        budget = self._adaptive_timeout.budget(len(chunks), times=2)
        with self._blaming(peer):
            async with (deadline := self._new_deadline()).within(2 * self._stall_s):
                await send_message(stream, header)
                for chunk in chunks:
                    await stream.write(self._coding.contribution(chunk, scratch))
                    budget.spend(deadline.moved())

    async def _receive_means(self, peer: PeerId, stream: Stream) -> None:
        scratch = self._scratch()
        chunks = self._plan.chunks[peer]
        budget = self._adaptive_timeout.budget(len(chunks), times=2)
        with self._blaming(peer):
            # Before the first mean the owner may have to wait for the connections of all others.
            async with (deadline := self._new_deadline()).within(self._timing.dial_timeout_s + 2 * self._stall_s):
                for index, chunk in enumerate(chunks):
                    target = self._coding.mean_target(chunk, scratch)
                    await stream.read_into(target)
                    took_s = deadline.moved(next_within_s=2 * self._stall_s)
                    budget.spend(took_s if index else 0.0)
                    self._silence.heard(peer)
                    self._digests[peer].update(target)
                    if not is_finite(self._coding.take_mean(chunk, scratch)):
                        raise _LinkFailedError(peer, surely=True)
        self._silence.complete(peer)

    async def _reduce(self) -> None:
        """Adds up the own slice, chunk by chunk, in the order of the members."""
        plan = self._plan
        streams = {peer: await self._accepted(peer) for peer in plan.others}
        scratches = {peer: self._scratch() for peer in plan.others}
        budgets = {peer: self._adaptive_timeout.budget(len(plan.own_chunks)) for peer in plan.others}
        waits_s = dict.fromkeys(plan.others, 0.0)
        started_s = self._clock.now()
        waiting_for = plan.me
        try:
            async with (deadline := self._new_deadline()).within(self._stall_s):
                for index, chunk in enumerate(plan.own_chunks):
                    for waiting_for in plan.reading_order(index):
                        wire = scratches[waiting_for].wire[: self._coding.size_bytes(chunk)]
                        await streams[waiting_for].read_into(wire.data)
                        took_s = deadline.moved()
                        waits_s[waiting_for] += took_s
                        budgets[waiting_for].spend(took_s)
                        self._silence.heard(waiting_for)
                    self._add(chunk, scratches)
        except TimeoutError as error:
            # Contributions depend on nobody else, so silence here is the sender's own fault.
            if isinstance(error, BehindError):
                self._adaptive_timeout.fell_behind()
            else:
                self._adaptive_timeout.ran_out()
            raise _LinkFailedError(waiting_for, surely=True) from error
        except ConnectionError as error:
            raise _LinkFailedError(waiting_for, surely=False) from error
        for peer in plan.others:
            self._silence.complete(peer)
        self._speeds_seen.note(plan.loads(), waits_s, whole_s=self._clock.now() - started_s)

    def _add(self, chunk: Slice, scratches: dict[PeerId, Scratch]) -> None:
        parts = [self._part_of(peer, chunk, scratches) for peer in self.attempt.members]
        if not self._reduction.add(chunk, parts):
            raise _LinkFailedError(self._not_finite(parts), surely=True)
        self._digests[self._plan.me].update(self._coding.mean(chunk))
        self._reduced_chunks.advance()

    def _part_of(self, peer: PeerId, chunk: Slice, scratches: dict[PeerId, Scratch]) -> Vector:
        if peer == self._plan.me:
            return self._coding.own_part(chunk)
        return self._coding.contributed(chunk, scratches[peer])

    async def _accepted(self, peer: PeerId) -> Stream:
        try:
            async with self._clock.timeout(self._timing.dial_timeout_s):
                return await asyncio.shield(self._inbound[peer])
        except TimeoutError as error:
            raise _LinkFailedError(peer, surely=True) from error

    async def _give_back(self, peer: PeerId) -> None:
        """Sends `peer` the means of the own slice as they become known."""
        stream = await asyncio.shield(self._inbound[peer])
        with self._blaming(peer):
            for index, chunk in enumerate(self._plan.own_chunks):
                await self._reduced_chunks.reached(index)
                async with self._clock.timeout(2 * self._stall_s):
                    await stream.write(self._coding.mean(chunk))

    def _not_finite(self, parts: Sequence[Vector]) -> PeerId:
        return next(peer for peer, part in zip(self.attempt.members, parts, strict=True) if not is_finite(part))

    def _new_deadline(self) -> ProgressDeadline:
        self._deadlines.append(ProgressDeadline(self._clock))
        return self._deadlines[-1]

    @contextlib.contextmanager
    def _blaming(self, peer: PeerId) -> Iterator[None]:
        """For what may have to wait for `peer`, which may itself be waiting: twice the timeout, half the blame."""
        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise _LinkFailedError(peer, surely=False) from error

    def _chosen_coding(self, buffers: Buffers) -> Coding:
        name, attempt = self.attempt.codec, self.attempt
        if name == "fp32":
            return PlainCoding(buffers)
        if name == "int8" and attempt.number == 0:
            place = attempt.members.index(self._plan.me)
            seed = int.from_bytes(blake3(f"{attempt.round_id}/{place}".encode()).digest(length=8), "big")
            modular = Modular(self._plan.longest)
            return NearCoding(buffers, modular, self._plan.own_chunks, spread=self._spread, seed=seed)
        if name == "int8":
            # Whatever made the first attempt fail, members that were too far apart would make this one fail, too.
            self._spread.widen()
            name = FALLBACK
        return CodecCoding(buffers, codec_named(name, longest_elements=self._plan.longest), self._plan.own_chunks)

    def _scratch(self) -> Scratch:
        return self._coding.scratch(self._plan.longest)


def _leaves(group: BaseExceptionGroup[FailureT]) -> Sequence[FailureT]:
    found: list[FailureT] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
