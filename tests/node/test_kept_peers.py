"""What is kept of other peers between nodes and between runs, and that a file of it counts as hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.node.kept_peers import LIMIT_BYTES, KeptPeers
from gossiptrain.swarm.address_book import MAX_PEERS
from tests.training.runs.test_folder import full_disk

A = PeerId("12D3KooWEC51UeY9UAfj4u11LLSxaYgyW4Xe2jwcLUkwKmHXzkxD")
B = PeerId("12D3KooWFztkyxuUVrw4KG4tJEJ8WsJK7DdrZXnQ8JP7RHAEkxYA")
C = PeerId("12D3KooWFNm7KWzrVc2V2HUKoYKCkJWZ6j8JHfeBnhgyVwWAYuix")


def address(peer: str, port: int = 4011, host: str = "192.0.2.1") -> str:
    return f"/ip4/{host}/tcp/{port}/p2p/{peer}"


def joined(peer: str, *addresses: str) -> control.PeerChanged:
    return control.PeerChanged(peer=peer, change="joined", addresses=addresses or (address(peer),), peers=2, trainers=2)


def gone(peer: str, *, left: bool = False) -> control.PeerChanged:
    return control.PeerChanged(peer=peer, change="left" if left else "lost", addresses=(), peers=1, trainers=1)


def ready(port: int) -> control.NodeReady:
    return control.NodeReady(peer_id=C, addresses=(address(C, port, "127.0.0.1"),), daemon_pid=1)


def test_all_addresses_of_all_peers_and_the_own_port_are_there_after_a_restart(tmp_path: Path) -> None:
    kept = KeptPeers(tmp_path / "peers.json")
    kept.note(ready(4012))
    kept.note(joined(A, address(A, 1), address(A, 2)))
    kept.note(joined(B))
    kept.note(gone(B))
    kept.write()
    again = KeptPeers(tmp_path / "peers.json")
    assert again.ports == {"ip4/tcp": 4012}
    assert set(again.known) == {address(A, 1), address(A, 2), address(B)}


def test_who_said_goodbye_is_not_kept(tmp_path: Path) -> None:
    kept = KeptPeers(tmp_path / "peers.json")
    kept.note(joined(A))
    kept.note(joined(B))
    kept.note(gone(A, left=True))
    kept.write()
    assert KeptPeers(tmp_path / "peers.json").known == (address(B),)


def test_without_a_file_the_next_node_is_told_all_the_same() -> None:
    kept = KeptPeers(None, [address(A)])
    kept.note(joined(B, address(B, 1), address(B, 2)))
    kept.write(at_once=True)
    assert kept.known == (address(B, 1), address(B, 2), address(A))


def test_addresses_that_changed_while_the_peer_lived_replace_the_old_ones() -> None:
    kept = KeptPeers(None)
    kept.note(joined(A, address(A, 1)))
    kept.note(control.PeerChanged(peer=A, change="moved", addresses=(address(A, 2),), peers=2, trainers=2))
    assert kept.known == (address(A, 2),)


def test_changes_that_follow_soon_are_written_at_the_end(tmp_path: Path) -> None:
    kept = KeptPeers(tmp_path / "peers.json")
    kept.note(joined(A))
    kept.write()
    kept.note(joined(B))
    kept.write()
    assert KeptPeers(tmp_path / "peers.json").known == (address(A),)
    kept.write(at_once=True)
    assert set(KeptPeers(tmp_path / "peers.json").known) == {address(A), address(B)}


def test_a_disk_that_takes_nothing_leaves_the_old_file_and_is_tried_again(tmp_path: Path) -> None:
    kept = KeptPeers(tmp_path / "peers.json")
    kept.note(joined(A))
    kept.write()
    kept.note(joined(B))
    with full_disk(10):
        kept.write(at_once=True)
    assert KeptPeers(tmp_path / "peers.json").known == (address(A),)
    assert os.listdir(tmp_path) == ["peers.json"]
    kept.write(at_once=True)
    assert len(KeptPeers(tmp_path / "peers.json").known) == 2


def file_of(peers: Any, **others: Any) -> str:
    return json.dumps({"format": "gossiptrain peers", "version": 1, "ports": {}, "peers": peers, **others})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 100_000,
        file_of([]),
        file_of({}, version=2),
        file_of({}, more=1),
        file_of({}, ports={"ip4/tcp": 0}),
        file_of({}, ports={"ip4/tcp": "4011"}),
        file_of({A: {"addresses": [address(A)], "seen": "now"}}),
        file_of({A: {"addresses": [address(A)] * 17, "seen": 1.0}}),
        file_of({A: {"addresses": ["/" + 300 * "x"], "seen": 1.0}}),
        file_of({f"p{number}": {"addresses": [], "seen": 1.0} for number in range(MAX_PEERS + 1)}),
        " " * (LIMIT_BYTES + 1),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_passed_over_and_said_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "peers.json").write_text(content)
    kept = KeptPeers(tmp_path / "peers.json")
    assert kept.known == ()
    assert kept.ports == {}
    assert [text for text in kept.warnings(alone=False) if "cannot be used" in text]
    kept.note(joined(A))
    kept.write()
    assert KeptPeers(tmp_path / "peers.json").known == (address(A),)


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        address(B),
        "/ip4/192.0.2.1/tcp/4011",
        f"/dns4/-/tcp/4011/p2p/{A}",
        address(A, 0),
        address(A, host="0.0.0.0"),
    ],
)
def test_addresses_in_the_file_that_lead_nowhere_or_to_somebody_else_are_passed_over(
    tmp_path: Path, wrong: str
) -> None:
    peers = {A: {"addresses": [wrong, address(A)], "seen": 1.0}}
    (tmp_path / "peers.json").write_text(file_of(peers))
    assert KeptPeers(tmp_path / "peers.json").known == (address(A),)


def test_that_nobody_known_answers_is_said_only_to_who_is_alone() -> None:
    kept = KeptPeers(None, [address(A), address(B)])
    assert kept.warnings(alone=False) == []
    assert "(2)" in kept.warnings(alone=True)[0]
    assert KeptPeers(None).warnings(alone=True) == []
