"""What a member sends to the owner of a slice, and what it reads back from it.

Owns both directions of one stream that this member opens: its chunks of the owner's slice, and their means, which come
while later chunks are still being sent. Does not know what the owner does with them.
"""

from __future__ import annotations

import asyncio

from gossiptrain.core.guards import is_sound
from gossiptrain.net.framing import send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.attempt import LinkFailedError, blaming
from gossiptrain.swarm.exchange_context import ExchangeContext
from gossiptrain.swarm.messages import ExchangeHeader

EXCHANGE = "/gossiptrain/exchange"


class Contribution:
    """This member's part in the slice of one other member."""

    def __init__(self, context: ExchangeContext, owner: PeerId) -> None:
        self._context = context
        self._owner = owner
        self._chunks = context.plan.chunks[owner]

    async def run(self) -> None:
        """Sends the own chunks and reads their means. Raises LinkFailedError where the owner does not do its part."""
        context = self._context
        size_bytes = sum(map(context.coding.size_bytes, self._chunks))
        try:
            async with context.clock.timeout(context.timing.dial_timeout_s):
                stream = await context.admission.stream(self._owner, EXCHANGE, bulk_bytes=2 * size_bytes)
        except (UnreachableError, TimeoutError) as error:
            raise LinkFailedError(self._owner, surely=True) from error
        context.add_stream(stream)
        context.contributions[self._owner] = stream
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(stream))
            tasks.create_task(self._receive_means(stream))
        await stream.close()

    async def _send(self, stream: Stream) -> None:
        context, attempt = self._context, self._context.plan.attempt
        header = ExchangeHeader(round_id=attempt.round_id, attempt=attempt.number)
        scratch = context.scratch()
        budget = context.statistics.adaptive_timeout.budget(len(self._chunks), times=2)
        with blaming(self._owner):
            # The owner may itself be waiting: twice the timeout.
            async with (deadline := context.new_deadline()).within(2 * context.sending_stall_s):
                await send_message(stream, header)
                for chunk in self._chunks:
                    for piece in context.pieces(context.coding.contribution(chunk, scratch)):
                        await stream.write(piece)
                        deadline.renew()
                        context.silence.heard(self._owner)
                    budget.spend(deadline.moved())
        context.silence.complete(self._owner)

    async def _receive_means(self, stream: Stream) -> None:
        context, owner = self._context, self._owner
        scratch = context.scratch()
        budget = context.statistics.adaptive_timeout.budget(len(self._chunks), times=2)
        with blaming(owner):
            # Before the first mean the owner may have to wait for the connections of all others.
            first_within_s = context.timing.dial_timeout_s + 2 * context.stall_s
            async with (deadline := context.new_deadline()).within(2 * context.stall_s):
                deadline.allow(first_within_s)
                has_begun = False
                for chunk in self._chunks:
                    target = context.coding.mean_target(chunk, scratch)
                    for piece in context.pieces(target):
                        await stream.read_into(piece)
                        if not has_begun:
                            deadline.moved()  # what came before the first bytes does not count against the owner
                            has_begun = True
                        deadline.renew()
                        context.silence.heard(owner)
                    budget.spend(deadline.moved())
                    context.digests[owner].update(target)
                    if not is_sound(context.coding.take_mean(chunk, scratch)):
                        raise LinkFailedError(owner, surely=True)
        context.silence.complete(owner)
