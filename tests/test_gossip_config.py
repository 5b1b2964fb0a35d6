"""A real DHT and a real swarm come up with a given configuration, and average as it says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

from gossiptrain import events
from gossiptrain.config import CodecName, GossipSettings
from tests.members import Member, members, wait_for_rounds
from tests.processes import Command, Family, wait_until


def settings(**values: float) -> GossipSettings:
    return GossipSettings.model_validate({"every_steps": 25, "matchmaking_time": 1.0, **values})


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_members_average_and_alpha_says_how_far_they_go(alpha: float) -> None:
    given = settings(gossip_group_size=4, gossip_min_group_size=2, gossip_alpha=alpha, every_steps=50)
    with members([0.0, 1.0], given, take_state=False) as (low, high):
        wait_for_rounds([low, high], 2, where=lambda event: len(event.members) == 2)
    first = min(event.round for event in low.rounds())
    mine, other = low.after_round[first], high.after_round[first]
    # x += alpha * (average - x) leaves the share 1 - alpha of the distance, wherever the average lies between them.
    torch.testing.assert_close(other - mine, torch.full_like(mine, 1.0 - alpha), atol=1e-6, rtol=0.0)
    assert 0.0 < mine[0].item() < alpha, "the average lies between the two"
    assert torch.equal(mine, mine[0].expand_as(mine))


@pytest.mark.parametrize("codec", [pytest.param("fp16", marks=pytest.mark.long), "int8", "int4"])
def test_members_hold_the_same_average_in_every_codec_that_is_compiled(codec: CodecName) -> None:
    given = settings(gossip_group_size=4, gossip_min_group_size=2, every_steps=50).model_copy(update={"codec": codec})
    with members([0.0, 1.0], given, take_state=False) as (low, high):
        wait_for_rounds([low, high], 1, where=lambda event: len(event.members) == 2)
    first = min(event.round for event in low.rounds())
    assert torch.equal(low.after_round[first], high.after_round[first])
    assert 0.0 < low.after_round[first][0].item() < 1.0


def test_at_the_end_all_members_hold_bitwise_the_same_whatever_alpha_is() -> None:
    with members([0.0, 1.0, 5.0], settings(gossip_group_size=4, gossip_alpha=0.5), take_state=False) as swarm:
        wait_for_rounds(swarm, 1, where=lambda event: len(event.members) == 3)
        # So that they come to their ends at the same time, each by itself.
        for member in swarm:
            member.pause()
    finals = [member.rounds()[-1] for member in swarm]
    assert all(event.final for event in finals)
    assert all(torch.equal(member.values, swarm[0].values) for member in swarm)
    assert 0.0 < swarm[0].values[0].item() < 5.0


def test_a_round_waits_for_the_minimum_group() -> None:
    given = settings(gossip_group_size=4, gossip_min_group_size=3)
    with members([0.0, 1.0], given, take_state=False) as (first, second):
        wait_until(
            lambda: any(isinstance(event, events.RoundFailed) and not event.alone for event in first.told),
            "a round that found no group",
        )
        assert not first.rounds()
        assert not second.rounds()
        hasty = given.model_copy(update={"ending_time": 0.5})
        with Member(2.0, settings=hasty, initial_peers=[second.address], take_state=False) as third:
            wait_for_rounds([first, second, third], 1, where=lambda event: len(event.members) == 3)
    assert all(len(event.members) == 3 for event in first.rounds())


def test_no_group_is_larger_than_the_group_size_and_nobody_is_left_out() -> None:
    with members([0.0, 1.0, 2.0], settings(gossip_group_size=2), take_state=False) as swarm:
        wait_for_rounds(swarm, 3, where=lambda event: True)
        assert all(len(event.members) == 2 for member in swarm for event in member.rounds())
        partners = {frozenset(event.members) for member in swarm for event in member.rounds()}
        assert len(partners) >= 2, "not always the same two"


def test_peers_find_each_other_through_the_directory_of_a_helper_that_trains_nothing(family: Family) -> None:
    helper = family.start("bootstrap", "--host-maddr", "/ip4/127.0.0.1/tcp/0", "--preset", "local")
    wait_until(lambda: "/p2p/" in helper.out, "the helper says where it is")
    address = next(word for word in helper.out.split() if word.startswith("/ip4/127.0.0.1"))
    with (
        Member(0.0, settings=settings(ending_time=0.5), initial_peers=[address]) as first,
        Member(1.0, settings=settings(ending_time=0.5), initial_peers=[address]) as second,
    ):
        wait_for_rounds([first, second], 1, where=lambda event: len(event.members) == 2)
    assert {first.swarm.peer_id, second.swarm.peer_id} == set(first.rounds()[0].members)


def test_a_run_writes_its_resolved_configuration_and_starts_again_from_it(gossip: Command) -> None:
    flags = ["--gossip_group_size", "4", "--gossip_min_group_size", "2", "--gossip_alpha", "0.5"]
    assert gossip.train(*flags, "--matchmaking_time", "2", "--max-steps", "20", "--out", "one").code == 0
    written = tomllib.loads(Path("one/config.toml").read_text())
    assert written["gossip"] == {
        "gossip_group_size": 4,
        "gossip_min_group_size": 2,
        "grouping": "auto",
        "gossip_alpha": 0.5,
        "strategy": "gradual",
        "every_steps": 100,
        "matchmaking_time": 2.0,
        "ending_time": 10.0,
        "codec": "fp32",
        "guard": "off",
        "seed": 0,
    }
    assert (written["train"]["batch"], written["train"]["learning_rate"]) == (32, 0.05)
    assert written["network"]["host_maddrs"] == ["/ip4/127.0.0.1/tcp/0"]
    assert gossip.train("--config", "one/config.toml", "--gossip_alpha", "0.75", "--alone", "--out", "two").code == 0
    second = tomllib.loads(Path("two/config.toml").read_text())
    assert second["gossip"] == {**written["gossip"], "gossip_alpha": 0.75}
    assert second["train"] == {**written["train"], "alone": True}
