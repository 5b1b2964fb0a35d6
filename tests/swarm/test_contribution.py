"""A contribution that comes too slowly: its link is given up, however regularly it moves."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.net.framing import send_message
from gossiptrain.net.transport import Stream
from gossiptrain.swarm.contribution import Contribution
from gossiptrain.swarm.messages import ExchangeHeader
from tests.swarm.swarms import TIMING, swarm_of
from tests.swarm.test_round import committed
from tests.transports import MakeTransport, run_on


def test_who_moves_just_often_enough_does_not_hold_the_others_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk comes shortly before the link times out, so that no single wait is too long."""
    timing = TIMING.model_copy(update={"chunk_bytes": 32})  # some 30 chunks a slice
    send = Contribution._send

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, timing=timing) as swarm:
            for _ in range(3):
                await swarm.average()
            adaptive_timeout = swarm.peers["b"].swarm._averager._adaptive_timeout

            async def dawdle(self: Contribution, stream: Stream) -> None:
                context = self._context
                if context.plan.me != "a":
                    await send(self, stream)
                    return
                await send_message(stream, ExchangeHeader(round_id=context.plan.attempt.round_id, attempt=0))
                for chunk in self._chunks:
                    await asyncio.sleep(0.9 * adaptive_timeout.stall_s)
                    await stream.write(context.coding.contribution(chunk, context.scratch()))

            monkeypatch.setattr(Contribution, "_send", dawdle)
            started_s = asyncio.get_running_loop().time()
            bad = asyncio.create_task(swarm.peers["a"].average())
            rounds = await swarm.average("b", "c", "d")
            assert len(committed(rounds)) == 3
            assert asyncio.get_running_loop().time() - started_s < 3 * TIMING.stall_timeout_s
            bad.cancel()
            await asyncio.gather(bad, return_exceptions=True)

    run_on("virtual", scenario)
