"""Trainer, node and daemon are killed and frozen in turn: nothing is left, nobody hangs, and the rest goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossiptrain import events
from tests.processes import Family, Member, Peer, wait_until

GONE_WITHIN_S = 2.0
FAREWELL_WITHIN_S = 10.0
KILL, TERM, STOP, CONT = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    with Family(tmp_path) as started:
        yield started
        started.end()


LONG = ("--max-steps", "100000000", "--eval-every", "100000")
"""So that no run ends by itself while it is watched."""


def pair(family: Family) -> tuple[Peer, Peer]:
    """Two peers that have had a round with each other."""
    first = family.train("--every-steps", "50", *LONG)
    second = family.train("--every-steps", "50", *LONG, "--initial-peer", first.address())
    for peer in (first, second):
        peer.wait_for(events.RoundCommitted)
    return first, second


def leave_together(family: Family, *peers: Peer) -> None:
    """Asks all to end; they do, with exit code 0 and nothing left behind."""
    for peer in peers:
        peer.signal(TERM)
    assert [peer.wait(within_s=FAREWELL_WITHIN_S) for peer in peers] == [0] * len(peers)
    family.assert_gone(within_s=GONE_WITHIN_S)


def steps_go_on(peer: Peer) -> None:
    """Waits until the trainer has made further steps."""
    told = peer.told()
    last = max((event.step for event in peer.find(events.StepDone)), default=0)
    peer.wait_for(events.StepDone, lambda event: event.step > last, since=told)


def processes_of(peer: Peer) -> list[Member]:
    trainer = next(member for member in peer.family.members() if member.pid == peer.pid)
    return [trainer, peer.node(), peer.daemon()]


@pytest.mark.parametrize("frozen", ["the daemon", "both"])
def test_when_the_trainer_is_killed_its_node_and_daemon_are_gone(family: Family, frozen: str) -> None:
    peer = family.train(*LONG)
    peer.wait_for(events.StepDone)
    node, daemon = peer.node(), peer.daemon()
    daemon.signal(STOP)
    if frozen == "both":
        node.signal(STOP)
    peer.kill()
    family.assert_gone(within_s=GONE_WITHIN_S)


@pytest.mark.timeout(400)
def test_when_node_or_daemon_die_or_freeze_training_goes_on_and_both_are_started_again(family: Family) -> None:
    first, second = pair(family)
    for which, how in (
        ("the node", KILL),
        ("the daemon", KILL),
        ("the node", TERM),
        ("the daemon", TERM),
        ("the node", STOP),
        ("the daemon", STOP),
    ):
        told, before = first.told(), first.node().pid
        (first.node() if which == "the node" else first.daemon()).signal(how)
        first.wait_for(events.NodeChanged, lambda event: event.state == "down", since=told)
        steps_go_on(first)
        first.wait_for(events.NodeChanged, lambda event: event.state == "restarted", since=told)
        assert first.node().pid != before
        first.wait_for(events.RoundCommitted, since=first.told())
        steps_go_on(second)
    a_frozen_trainer_holds_nobody_up_and_comes_back(first, second)
    leave_together(family, first, second)


def a_frozen_trainer_holds_nobody_up_and_comes_back(first: Peer, second: Peer) -> None:
    trainer = processes_of(first)[0]
    trainer.signal(STOP)
    steps_go_on(second)
    trainer.signal(CONT)
    first.wait_for(events.RoundCommitted, since=first.told())


def test_the_rest_of_the_swarm_goes_on_without_peers_that_are_killed_or_freeze(family: Family) -> None:
    first, second = pair(family)
    third = family.train("--every-steps", "50", *LONG, "--initial-peer", second.address())
    third.wait_for(events.RoundCommitted, lambda event: len(event.members) == 3)
    lost = first.peer_id()
    told = [peer.told() for peer in (second, third)]
    for member in processes_of(first):
        member.signal(STOP)
    for peer, since in zip((second, third), told, strict=True):
        peer.wait_for(events.PeerChanged, lambda event: event.peer_id == lost and event.change == "lost", since=since)
        peer.wait_for(events.RoundCommitted, lambda event: lost not in event.members, since=peer.told())
    for member in processes_of(first):
        member.signal(CONT)
    third.wait_for(events.RoundCommitted, lambda event: len(event.members) == 3, since=third.told())
    first.kill()
    for peer in (second, third):
        peer.wait_for(events.RoundCommitted, lambda event: lost not in event.members, since=peer.told())
    leave_together(family, second, third)


def test_a_second_interrupt_ends_the_trainer_at_once(family: Family) -> None:
    peer = family.train(*LONG)
    peer.wait_for(events.StepDone)
    # Nobody is there to merge with, but a frozen node keeps the farewell waiting.
    peer.node().signal(STOP)
    peer.signal(signal.SIGINT)
    peer.wait_for(events.Finished)
    peer.signal(signal.SIGINT)
    assert peer.wait(within_s=GONE_WITHIN_S) in (0, 130)
    family.assert_gone(within_s=GONE_WITHIN_S)


def test_a_bootstrap_helper_ends_with_its_daemon_and_its_daemon_with_it(family: Family) -> None:
    def daemons() -> list[Member]:
        return [
            member for member in family.members() if "p2pd" in member.command and "-c" not in member.command.split()
        ]

    helper = family.start("bootstrap", "--host-maddr", "/ip4/127.0.0.1/tcp/0")
    wait_until(lambda: "127.0.0.1" in helper.out, "the helper says where it is")
    helper.kill()
    family.assert_gone(within_s=GONE_WITHIN_S)
    another = family.start("bootstrap", "--host-maddr", "/ip4/127.0.0.1/tcp/0")
    wait_until(lambda: "127.0.0.1" in another.out, "the helper says where it is")
    daemons()[0].signal(KILL)
    assert another.wait() == 16
    assert "daemon has ended" in another.err
    family.assert_gone(within_s=GONE_WITHIN_S)
