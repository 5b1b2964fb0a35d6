"""The comparison of transports: that the other one carries what ours does, so that its figures mean something."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("iroh", reason="iroh has no wheel for this computer")
from benchmarks.transports.__main__ import measure
from benchmarks.transports.iroh_transport import IrohTransport

from gossiptrain.net.identity import Identity
from gossiptrain.net.transport import Stream, UnreachableError


def test_questions_and_bulk_go_over_iroh_and_are_measured() -> None:
    found = asyncio.run(measure("iroh", megabytes=1))
    assert found.ask_ms > 0
    assert found.bulk_mb_per_s > 0
    assert found.processor_s_per_gb > 0


def test_ids_are_those_of_libp2p_and_nobody_speaks_under_that_of_another() -> None:
    async def scenario() -> None:
        alice, bob = [await IrohTransport.start(Identity.generate()) for _ in range(2)]
        heard: list[str] = []

        async def listen(stream: Stream) -> None:
            heard.append(stream.remote)
            await stream.write(b"!")

        await bob.serve("/test/1", listen)
        assert await alice.connect(bob.addresses[0]) == bob.peer_id
        stream = await alice.open_stream(bob.peer_id, "/test/1")
        assert await stream.read_exactly(1) == b"!"
        assert heard == [alice.peer_id]
        with pytest.raises(UnreachableError):
            await alice.connect(bob.addresses[0].removesuffix(bob.peer_id) + alice.peer_id)
        for transport in (alice, bob):
            await transport.close()

    asyncio.run(scenario())
