"""What one peer can find out with the help of another: its own place, the other's clock, whether it can be called."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from gossiptrain.errors import NodeFailedError
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p import libp2p_daemon
from gossiptrain.net.libp2p.libp2p_daemon import check_program
from gossiptrain.net.transport import UnreachableError
from tests.net.libp2p.test_relays import peer

CLOCKS_AGREE_S = 30.0
"""Both are this computer's; only a busy one answers so late."""


def test_a_peer_tells_the_time_and_does_not_take_the_asking_one_into_its_tables() -> None:
    async def main() -> None:
        async with peer() as asker, peer() as asked:
            await asker.connect(asked.addresses[0])
            ahead_s = await asker.directory.clock_difference_s(asked.peer_id)
            assert ahead_s is not None
            assert abs(ahead_s) < CLOCKS_AGREE_S
            assert not asked.directory._node.protocol.routing_table.uid_to_peer_id
            assert await asker.directory.clock_difference_s(Identity.generate().peer_id) is None

    asyncio.run(main())


def test_a_peer_that_is_asked_to_calls_back() -> None:
    async def main() -> None:
        async with peer() as asker, peer() as asked:
            await asker.connect(asked.addresses[0])
            assert await asker.can_be_dialled_by(asked.peer_id) is True
            asker._direct._negotiation._acceptor.close()  # as a firewall would that turns calls away
            assert await asker.can_be_dialled_by(asked.peer_id) is False

    asyncio.run(main())


def test_only_relays_tell_from_where_they_are_called() -> None:
    async def main() -> None:
        async with peer(relay=True) as relay, peer() as other, peer() as asker:
            for asked in (relay, other):
                await asker.connect(asked.addresses[0])
            seen = await asker.seen_by(relay.peer_id)
            assert seen is not None
            assert f"/ip4/{seen.host}/tcp/{seen.port}/" in asker.addresses[0]
            with pytest.raises(UnreachableError):
                await asker.seen_by(other.peer_id)

    asyncio.run(main())


def test_a_daemon_that_is_missing_or_may_not_be_run_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "p2pd"
    monkeypatch.setattr(libp2p_daemon, "daemon_program", lambda: program)
    with pytest.raises(NodeFailedError, match="is missing"):
        check_program()
    program.touch(mode=0o600)
    with pytest.raises(NodeFailedError, match="may not be run"):
        check_program()
    program.chmod(stat.S_IRWXU)
    assert check_program() == program
