"""The slice that this member reduces for its group.

Owns the streams that the others open for it: their chunks are added up in the order of the members, always in float32,
and the means go back on the same streams while later chunks still arrive. Does not know the slices of others, nor the
arithmetic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gossiptrain.core.averaging import Vector, clipped_weights
from gossiptrain.core.guards import is_sound
from gossiptrain.core.partition import Slice
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.attempt import LinkFailedError, blaming
from gossiptrain.swarm.coding import Scratch
from gossiptrain.swarm.exchange_context import ExchangeContext
from gossiptrain.swarm.reduction import Clip, Reduction
from gossiptrain.swarm.timeouts import BehindError, ProgressDeadline


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


class OwnSlice:
    """What this member does for all others."""

    def __init__(self, context: ExchangeContext) -> None:
        self._context = context
        self._plan = context.plan
        self._coding = context.coding
        plan = context.plan
        self.reduction = Reduction(
            context.coding,
            clipped_weights(plan.attempt.samples),
            longest=plan.longest,
            clip=Clip(plan.attempt.members.index(plan.me), context.radii) if context.radii is not None else None,
        )
        self._inbound: dict[PeerId, asyncio.Future[Stream]] = {
            peer: asyncio.get_running_loop().create_future() for peer in self._plan.others
        }
        self._reduced_chunks = _ReducedChunks()

    def accept(self, stream: Stream) -> bool:
        """Takes a stream on which a member sends its contribution; says whether it was expected."""
        waiting = self._inbound.get(stream.remote)
        if waiting is None or waiting.done():
            return False
        self._context.add_stream(stream)
        self._context.silence.heard(stream.remote)
        waiting.set_result(stream)
        return True

    def close(self) -> None:
        """No stream is waited for any more."""
        for future in self._inbound.values():
            future.cancel()

    async def reduce(self) -> None:
        """Adds up the own slice, chunk by chunk. Raises LinkFailedError for the member that did not do its part."""
        context, plan = self._context, self._plan
        streams = {peer: await self._accepted(peer) for peer in plan.others}
        scratches = {peer: context.scratch() for peer in plan.others}
        timeout = context.statistics.adaptive_timeout
        budgets = {peer: timeout.budget(len(plan.own_chunks)) for peer in plan.others}
        waits_s = dict.fromkeys(plan.others, 0.0)
        started_s = context.clock.now()
        waiting_for = plan.me
        try:
            async with (deadline := context.new_deadline()).within(context.stall_s):
                for index, chunk in enumerate(plan.own_chunks):
                    for waiting_for in plan.reading_order(index):
                        wire = scratches[waiting_for].wire[: self._coding.size_bytes(chunk)]
                        for piece in context.pieces(wire.data):
                            await streams[waiting_for].read_into(piece)
                            deadline.renew()
                            context.silence.heard(waiting_for)
                        took_s = deadline.moved()
                        waits_s[waiting_for] += took_s
                        budgets[waiting_for].spend(took_s)
                    self._add(chunk, scratches)
        except TimeoutError as error:
            # Contributions depend on nobody else, so silence here is the sender's own fault.
            if isinstance(error, BehindError):
                timeout.fell_behind()
            else:
                timeout.ran_out()
            raise LinkFailedError(waiting_for, surely=True) from error
        except ConnectionError as error:
            raise LinkFailedError(waiting_for, surely=False) from error
        for peer in plan.others:
            context.silence.complete(peer)
        context.statistics.speeds.note(plan.loads(), waits_s, whole_s=context.clock.now() - started_s)

    async def give_back(self, peer: PeerId) -> None:
        """Sends `peer` the means of the own slice as they become known, behind what is contributed to its slice."""
        stream = await asyncio.shield(self._inbound[peer])
        budget = self._context.statistics.adaptive_timeout.budget(len(self._plan.own_chunks), times=2)
        with blaming(peer):
            for index, chunk in enumerate(self._plan.own_chunks):
                await self._reduced_chunks.reached(index)
                if index:  # the first one at once: a new connection finds out how fast it may send
                    await self._context.contribution_has_left(peer)
                patience_s = 2 * self._context.sending_stall_s
                async with (deadline := ProgressDeadline(self._context.clock)).within(patience_s):
                    for piece in self._context.pieces(self._coding.mean(chunk)):
                        await stream.write(piece)
                        deadline.renew()
                        self._context.silence.heard(peer)
                    budget.spend(deadline.moved())
        self._context.silence.complete(peer)

    async def _accepted(self, peer: PeerId) -> Stream:
        try:
            async with self._context.clock.timeout(self._context.timing.dial_timeout_s):
                return await asyncio.shield(self._inbound[peer])
        except TimeoutError as error:
            raise LinkFailedError(peer, surely=True) from error

    def _add(self, chunk: Slice, scratches: dict[PeerId, Scratch]) -> None:
        parts = [self._part_of(peer, chunk, scratches) for peer in self._plan.attempt.members]
        if not self.reduction.add(chunk, parts):
            raise LinkFailedError(self._not_sound(parts), surely=True)
        self._context.digests[self._plan.me].update(self._coding.mean(chunk))
        self._reduced_chunks.advance()

    def _part_of(self, peer: PeerId, chunk: Slice, scratches: dict[PeerId, Scratch]) -> Vector:
        if peer == self._plan.me:
            return self._coding.own_part(chunk)
        return self._coding.contributed(chunk, scratches[peer])

    def _not_sound(self, parts: Sequence[Vector]) -> PeerId:
        members = self._plan.attempt.members
        return next(peer for peer, part in zip(members, parts, strict=True) if not is_sound(part))
