"""What libp2p's daemon is asked, and what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gossiptrain.net.libp2p.daemon_control import DaemonControl
from gossiptrain.net.libp2p.hivemind_names import PeerID, p2pd_pb2
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import UnreachableError
from tests.transports import MakeTransport, run_on


def test_many_questions_at_once_have_their_answers_in_order() -> None:
    async def scenario(make: MakeTransport) -> None:
        host, other = await make("host"), await make("other")
        assert isinstance(host, Libp2pTransport)
        await host.connect(other.addresses[0])
        peers = p2pd_pb2.Request(type=p2pd_pb2.Request.LIST_PEERS)
        end = p2pd_pb2.DisconnectRequest(peer=PeerID.from_base58(other.peer_id).to_bytes())
        ending = p2pd_pb2.Request(type=p2pd_pb2.Request.DISCONNECT, disconnect=end)
        before, *ended, after = await host._control.ask_each([peers, *[ending] * 300, peers])
        assert [PeerID(info.id).to_base58() for info in before.peers] == [other.peer_id]
        assert (len(ended), len(after.peers)) == (300, 0)
        assert await host._control.ask_each([]) == []

    run_on("libp2p", scenario)


async def _asks_each(path: Path) -> None:
    await DaemonControl(path).ask_each([p2pd_pb2.Request(type=p2pd_pb2.Request.LIST_PEERS)])


def test_where_no_daemon_listens_it_has_ended(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="has ended"):
        asyncio.run(_asks_each(tmp_path / "nobody"))
