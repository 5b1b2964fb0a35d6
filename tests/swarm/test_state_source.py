"""How long a joiner waits for a donor's chunks: by what moves, not by how long a whole chunk takes."""

from __future__ import annotations

import numpy as np
import pytest

from gossiptrain.config import TimingSettings
from gossiptrain.net.framing import receive_message
from gossiptrain.net.transport import Stream
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.state_chunks import Chunking, digest_of
from gossiptrain.swarm.state_messages import ChunkRequest
from gossiptrain.swarm.state_source import Offer, StateSource
from tests.swarm.swarms import fingerprint

TIMING = TimingSettings(stall_timeout_s=1.0)
CHUNKING = Chunking.of(3 * (TIMING.chunk_bytes // 4), chunk_bytes=TIMING.chunk_bytes)
VALUES = np.random.default_rng(1).standard_normal(CHUNKING.elements).astype(np.float32)


def taken(*bytes_per_s: float) -> list[bool]:
    """Which chunks arrive as they were offered, over a link that is so fast for each of them."""

    async def main() -> list[bool]:
        network = VirtualNetwork()
        donor, joiner = network.transport("donor"), network.transport("joiner")

        async def give(stream: Stream) -> None:
            for speed in bytes_per_s:
                request = await receive_message(stream, ChunkRequest)
                network.set_link("donor", "joiner", settings=LinkSettings(bandwidth_bytes_per_s=speed))
                chunk = CHUNKING.chunk(request.index)
                await stream.write(VALUES[chunk.start : chunk.stop].data.cast("B"))

        await donor.serve("/test/give", give)
        await joiner.connect(donor.addresses[0])
        digests = [digest_of(VALUES[chunk.start : chunk.stop]) for chunk in map(CHUNKING.chunk, range(CHUNKING.count))]
        admission = Admission(joiner, fingerprint(), timing=TIMING)
        stream = await joiner.open_stream(donor.peer_id, "/test/give")
        source = StateSource(admission, stream, CHUNKING, Offer(0, "", frozenset(), tuple(digests)))
        arrived = []
        for index in range(len(bytes_per_s)):
            await source.ask(index)
            found, values = await source.receive()
            chunk = CHUNKING.chunk(found)
            arrived.append(bool((values == VALUES[chunk.start : chunk.stop]).all()))
        stream.abort()
        return arrived

    return run_virtual(main())


@pytest.mark.parametrize("bytes_per_s", [1e8, 1e5])
def test_all_chunks_arrive_also_where_one_takes_longer_than_a_link_may_stand_still(bytes_per_s: float) -> None:
    assert taken(bytes_per_s, bytes_per_s, bytes_per_s) == [True] * 3


def test_a_link_that_moves_hardly_anything_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        taken(1e4)
