"""Real peers on this computer: they train together, one is killed, one is added, the rest go on and save."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import pytest

from gossiptrain.cli.local_swarm import LocalPeer, LocalSwarm, SwarmPlan, label_of
from gossiptrain.events import Event, Finished, Joined, RoundCommitted, Started
from gossiptrain.training.runs.checkpoints import load_checkpoint
from tests.cli.waiting import until
from tests.processes import DAEMON, NODE, Family

PLAN = SwarmPlan(run="test", folder=Path("swarm"), parts=2, max_steps=1_000_000, seed=7)


class Heard:
    """What the peers told, by their labels."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = defaultdict(list)

    def __call__(self, label: str, event: Event) -> None:
        self.events[label].append(event)

    def met(self, label: str, *others: str) -> bool:
        """Whether the last round of `label` was with exactly `others` and itself."""
        rounds = [event for event in self.events[label] if isinstance(event, RoundCommitted)]
        return bool(rounds) and set(rounds[-1].members) == {self.peer_id(peer) for peer in (label, *others)}

    def peer_id(self, label: str) -> str:
        return next(event.peer_id for event in self.events[label] if isinstance(event, Started))

    def donor(self, label: str) -> str | None:
        return next((event.donor for event in self.events[label] if isinstance(event, Joined)), None)


async def course_with_a_death_and_a_latecomer(swarm: LocalSwarm, heard: Heard) -> tuple[LocalPeer, list[LocalPeer]]:
    """Two peers train; a third joins; one is killed; the others go on, stop and save."""
    await swarm.start(2)
    await until(lambda: heard.met("a", "b") and heard.met("b", "a"), "a round of two")
    await swarm.add()
    await until(lambda: heard.met("c", "a", "b"), "a round of three")
    assert swarm.kill_one("nobody") is None
    killed = swarm.kill_one()
    assert killed is not None
    assert swarm.kill_one(killed.label) is None, "it is dead already"
    rest = [peer for peer in swarm.peers.values() if peer is not killed]
    first, second = (peer.label for peer in rest)
    await until(lambda: heard.met(first, second) and heard.met(second, first), "a round without the killed one")
    swarm.ask_to_stop()
    await until(lambda: not swarm.living, "the end of all")
    return killed, rest


def test_a_peer_is_killed_and_the_rest_go_on_and_save(children: Family) -> None:
    heard = Heard()

    async def course() -> tuple[LocalPeer, list[LocalPeer]]:
        async with LocalSwarm(PLAN, heard, rng=random.Random(1)) as swarm:
            return await course_with_a_death_and_a_latecomer(swarm, heard)

    killed, rest = asyncio.run(course())
    assert killed.child.exit_code == -9
    assert not any(isinstance(event, Finished) for event in heard.events[killed.label])
    assert [peer.child.exit_code for peer in rest] == [0, 0]
    assert all(peer.saved for peer in rest)
    assert all(load_checkpoint(peer.folder).state.step > 0 for peer in rest)
    assert heard.donor("a") is None
    assert heard.donor("b") == heard.peer_id("a")
    assert heard.donor("c") in (heard.peer_id("a"), heard.peer_id("b"))
    children.assert_gone(within_s=2.0)


def test_whatever_happens_inside_no_process_is_left(children: Family) -> None:
    async def course() -> None:
        async with LocalSwarm(PLAN, lambda label, event: None) as swarm:
            await swarm.start(2)
            first = swarm.peers["a"]
            await until(lambda: bool(first.addresses), "the first peer")
            commands = " ".join(member.command for member in children.members())
            assert NODE in commands
            assert DAEMON in commands
            raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        asyncio.run(course())
    children.assert_gone(within_s=2.0)


def test_the_last_living_peer_is_never_killed() -> None:
    swarm = LocalSwarm(PLAN, lambda label, event: None)
    assert swarm.kill_one() is None


def test_the_commands_are_those_that_a_person_could_type() -> None:
    peer = PLAN.peer_command(1, out="peer-b", initial_peers=["/ip4/127.0.0.1/tcp/4011/p2p/12D"])
    assert peer[:6] == ["train", "digits", "--run", "test", "--share", "2/2"]
    assert peer[-2:] == ["--initial-peer", "/ip4/127.0.0.1/tcp/4011/p2p/12D"]
    assert peer[peer.index("--out") + 1] == "swarm/peer-b"


def test_alone_and_together_differ_only_in_company_and_length() -> None:
    """Same task, share, seed, device, batch and rates: nothing else may explain a difference."""
    together = PLAN.peer_command(0, out="x", initial_peers=[])
    alone = PLAN.alone_command(0, out="x", steps=500)
    common = PLAN.command(0, out="x")
    assert together[: len(common)] == alone[: len(common)] == common
    assert alone[len(common) :] == ["--alone", "--max-steps", "500", "--eval-every", "0"]
    network = {"--max-steps", "--preset", "--matchmaking-time", "--host-maddr"}
    assert set(together[len(common) :: 2]) == network


def test_peers_are_named_a_to_z_and_on() -> None:
    assert [label_of(number) for number in (0, 25, 26)] == ["a", "z", "p27"]
