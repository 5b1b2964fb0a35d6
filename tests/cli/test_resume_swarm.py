"""A run folder finds its swarm again: after everybody was killed, after a move, and before anything was saved."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossiptrain import events
from tests.processes import Family, Peer, wait_until

KILL, TERM = signal.SIGKILL, signal.SIGTERM
OFTEN = ("--every-steps", "50", "--eval-every", "100000")


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    with Family(tmp_path) as started:
        yield started


def swarm(family: Family, count: int, *flags: str) -> list[Peer]:
    """So many peers, each with a run folder of its own, that have had a round of all."""
    peers: list[Peer] = []
    for number in range(count):
        initial = ("--initial-peer", peers[0].address()) if peers else ()
        peers.append(family.train(*OFTEN, *flags, *initial, "--out", f"run-{number}"))
    for peer in peers:
        wait_for_round_of(peer, peers)
    return peers


def wait_for_round_of(peer: Peer, peers: list[Peer]) -> None:
    everyone = {other.peer_id() for other in peers}
    peer.wait_for(events.RoundCommitted, lambda event: set(event.members) == everyone, since=peer.told())


def resumed(family: Family, number: int, *flags: str) -> Peer:
    return family.start(
        "train", "digits", "--resume", f"run-{number}", "--log-format", "json", "--preset", "local", *flags
    )


def kill_all(family: Family, peers: list[Peer]) -> None:
    for peer in peers:
        peer.signal(KILL)
    for peer in peers:
        peer.wait()
    family.assert_gone(within_s=10.0)


def port_of(address: str) -> int:
    return int(address.split("/")[4])


def test_a_swarm_that_was_killed_as_a_whole_is_one_again_when_it_is_resumed_without_flags(family: Family) -> None:
    before = swarm(family, 3, "--checkpoint-every", "0.5")
    for peer in before:
        peer.wait_for(events.CheckpointSaved)
    kill_all(family, before)
    early = resumed(family, 1)
    early.wait_for(events.Notice, lambda event: "none of the peers that are known from before" in event.message)
    early.wait_for(events.StepDone)
    after = [resumed(family, 0), early, resumed(family, 2)]
    for peer in after:
        wait_for_round_of(peer, after)
    assert [peer.peer_id() for peer in after] == [peer.peer_id() for peer in before]
    assert [peer.address() for peer in after] == [peer.address() for peer in before]


def test_one_that_was_killed_before_its_first_checkpoint_finds_the_swarm_though_whom_it_joined_is_gone(
    family: Family,
) -> None:
    first, second, third = swarm(family, 3)
    third.kill()
    first.signal(TERM)
    assert first.wait() == 0
    assert not list((family.folder / "run-2" / "checkpoints").iterdir())
    again = resumed(family, 2)
    joined = again.wait_for(events.Joined)
    assert joined.donor == second.peer_id()
    assert again.peer_id() == third.peer_id()
    assert "ended before its first checkpoint" in again.err
    wait_for_round_of(again, [second, again])


def test_a_node_that_is_replaced_listens_where_it_did_and_tells_its_address_where_it_cannot(family: Family) -> None:
    first, second = swarm(family, 2)
    told = first.told()
    first.node().signal(KILL)
    first.wait_for(events.NodeChanged, lambda event: event.state == "restarted", since=told)
    wait_for_round_of(first, [first, second])
    assert not first.find(events.NodeChanged, lambda event: event.state == "ready")
    third = family.train(*OFTEN, "--initial-peer", first.address())
    wait_for_round_of(third, [first, second, third])
    told = first.told()
    first.node().signal(KILL)
    with listening_at(port_of(first.address())):
        moved = first.wait_for(events.NodeChanged, lambda event: event.state == "ready", since=told)
        assert port_of(moved.addresses[0]) != port_of(first.address())
        second.kill()
        third.kill()
        fourth = family.train(*OFTEN, "--initial-peer", moved.addresses[0])
        wait_for_round_of(fourth, [first, fourth])


def test_a_run_folder_that_is_removed_is_said_once_and_written_again_when_it_is_there_again(family: Family) -> None:
    peer = family.train(*OFTEN, "--out", "run-0")
    folder = family.folder / "run-0"
    peer.wait_for(events.StepDone)
    key = (folder / "identity.key").read_bytes()
    shutil.rmtree(folder)
    peer.wait_for(events.Notice, lambda event: "was removed" in event.message)
    folder.mkdir()
    written = ("config.toml", "metrics.jsonl", "identity.key")
    wait_until(lambda: all((folder / name).exists() for name in written), "the folder is filled")
    assert (folder / "identity.key").read_bytes() == key
    peer.signal(TERM)
    assert peer.wait() == 1
    assert "was removed while the peer trained" in peer.err
    assert len(peer.find(events.Notice, lambda event: "was removed" in event.message)) == 1
    assert peer.find(events.CheckpointSaved)
    again = resumed(family, 0)
    assert again.peer_id() == peer.peer_id()


@contextlib.contextmanager
def listening_at(port: int) -> Iterator[None]:
    """Has the port as soon as its present holder is gone."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def take() -> bool:
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", port))
                return True
            return False

        wait_until(take, f"the port {port} is free")
        taken.listen()
        yield
