"""A joiner that is told nothing but a link, or an address: it trains as its swarm does. With real peers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gossiptrain import events
from tests.cli.test_invite import ended, of_user
from tests.processes import Command, Family, wait_until

HERE = ("--host-maddr", "/ip4/127.0.0.1/tcp/0", "--threads", "1", "--device", "cpu", "--log-format", "json")
RECIPE = ("--strategy", "step-mix", "--codec", "int8", "--every-steps", "40", "--batch", "16", "--lr", "0.03")


def test_with_a_link_alone_a_joiner_trains_as_its_swarm_does(family: Family, tmp_path: Path) -> None:
    here, there = of_user("here", tmp_path), of_user("there", tmp_path)
    founder = family.train(*RECIPE, "--run", "mine", "--out", "founder", environment=here)
    address = founder.address()
    wait_until(lambda: list(tmp_path.glob("here/gossiptrain/swarms/*/*.peer")) != [], "the founder can be invited to")
    link = ended(family.start("invite", "--uses", "1", environment=here)).split()[-1].strip("'\"")

    joiner = family.start("train", "--join", link, "--out", "joiner", *HERE, environment=there)
    joiner.wait_for(events.RoundCommitted)
    (notice,) = joiner.find(events.Notice, lambda notice: "taken over" in notice.message)
    assert "digits --preset local --strategy step-mix --codec int8 --every-steps 40 --batch 16" in notice.message
    config = {name: tomllib.loads((tmp_path / name / "config.toml").read_text()) for name in ("founder", "joiner")}
    for table, fields in (("train", ("task", "run", "batch", "learning_rate", "epochs")), ("gossip", None)):
        mine, theirs = config["joiner"][table], config["founder"][table]
        assert {name: mine[name] for name in fields or mine} == {name: theirs[name] for name in fields or theirs}
    assert joiner.err == ""

    # Whoever was told otherwise hears in what before anything begins, and whoever is no member hears nothing.
    other = family.start("train", "--join", address, "--strategy", "diloco", *HERE, environment=here)
    stranger = family.start("train", "--join", address, *HERE, environment=of_user("elsewhere", tmp_path))
    assert other.wait() == 14
    assert "--strategy is diloco here and step-mix there" in other.err
    assert stranger.wait() == 17
    assert "mine" not in stranger.err
    assert "step-mix" not in stranger.err
    assert list(tmp_path.glob("runs/*")) == []


def test_a_task_that_is_neither_named_nor_told_is_asked_for(gossip: Command) -> None:
    result = gossip("train")
    assert result.code == 2
    assert "--join" in result.err


def test_a_swarm_that_does_not_answer_tells_no_recipe(gossip: Command, tmp_path: Path) -> None:
    nobody = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"
    result = gossip("train", "--join", nobody, "--preset", "local", "--out", tmp_path / "out")
    assert result.code == 13
    assert "None of the initial peers answers" in result.err
    assert not (tmp_path / "out").exists()


def test_with_nothing_but_join_a_swarm_on_the_local_network_is_found_and_its_recipe_taken_over(
    family: Family, tmp_path: Path
) -> None:
    """By real multicast, where this computer is attached to a network; it is asked only for the run of this test."""
    run = f"nearby-{tmp_path.name}"
    on_the_network = ("--host-maddr", "/ip4/0.0.0.0/tcp/0")
    founder = family.train(*RECIPE, "--open", "--run", run, *on_the_network)
    if all("/127.0.0.1/" in address for address in founder.wait_for(events.Started).addresses):
        pytest.skip("this computer is attached to no network")
    here = [*HERE[2:], *on_the_network]
    joiner = family.start("train", "--open", "--join", "--run", run, "--out", "joiner", *here)
    joiner.wait_for(events.Joined)
    (notice,) = joiner.find(events.Notice, lambda notice: "taken over" in notice.message)
    assert "digits --preset local --strategy step-mix --codec int8 --every-steps 40 --batch 16" in notice.message
    other = family.start("train", "text", "--open", "--join", "--run", run, *here)
    assert other.wait() == 13
    assert f"No peer of the run '{run}' that trains text answers on the local network." in other.err
