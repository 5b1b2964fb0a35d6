"""`gossip watch` and `--page`, with real peers: every page shows the same swarm, and who was killed."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gossiptrain import events
from tests.cli.test_invite import ended, of_user
from tests.processes import Command, Family, Peer, wait_until

HERE = ("--host-maddr", "/ip4/127.0.0.1/tcp/0", "--preset", "local")


def page_of(peer: Peer) -> str:
    wait_until(lambda: "/" in peer.out and "http://" in peer.out, "it says where its page is")
    found = re.search(r"http://127\.0\.0\.1:[0-9]+/", peer.out)
    assert found is not None, peer.out
    return found[0]


def shown_at(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}swarm.json", timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
        return told


def states_at(url: str) -> dict[str, str]:
    """By the ids of the peers that train."""
    peers = shown_at(url)["peers"]
    return {peer["id"]: peer["state"] for peer in peers if peer["state"] != "watching"}


def test_every_page_shows_the_same_swarm_with_its_past_and_who_was_killed(family: Family, tmp_path: Path) -> None:
    here, there = of_user("here", tmp_path), of_user("there", tmp_path)
    first = family.train("--page", "0", "--out", "first", environment=here)
    first_page = page_of(first)
    address = first.address()
    second = family.train("--initial-peer", address, "--out", "second", environment=here)
    wait_until(lambda: list(tmp_path.glob("here/gossiptrain/swarms/*/*.peer")) != [], "the first can be invited to")

    refused = family.start("watch", address, *HERE, environment=there)
    assert refused.wait() == 17
    assert "gossip invite" in refused.err
    invitation = ended(family.start("invite", "--watch", environment=here)).split()
    assert invitation[:2] == ["gossip", "watch"]
    link = invitation[-1].strip("'\"")
    (tmp_path / "link").write_text(link)
    own = family.start("watch", "--page", "0", *HERE, environment=here)
    invited = family.start("watch", f"@{tmp_path / 'link'}", "--page", "0", *HERE, environment=there)
    pages = [first_page, page_of(own), page_of(invited)]

    both = dict.fromkeys((first.peer_id(), second.peer_id()), "training")
    second.wait_for(events.RoundCommitted)
    wait_until(lambda: all(states_at(page) == both for page in pages), "all pages show both")

    def knows_all(page: str) -> bool:
        told = shown_at(page)
        trainers = [peer for peer in told["peers"] if peer["state"] == "training"]
        met = any(len(each["members"]) == 2 for each in told["rounds"])
        return met and all(peer["loss"] is not None and len(peer["losses"]) > 1 and peer["rounds"] for peer in trainers)

    wait_until(lambda: all(map(knows_all, pages)), "all pages know losses and rounds of all")
    assert {peer["state"] for peer in shown_at(first_page)["peers"]} == {"training", "watching"}
    told = [event for event in first.events() if isinstance(event, events.PeerChanged)]
    assert {event.peer_id for event in told} == {second.peer_id()}, "watchers are nobody to who trains"

    second.kill()
    red = {first.peer_id(): "training", second.peer_id(): "lost"}
    wait_until(lambda: all(states_at(page) == red for page in pages), "the killed one is red on all pages")
    assert not any('"swarm"' in line for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense"], 2, "neither an address nor a link"),
        (["gossip://join/x"], 2, "cannot be used"),
        (["/ip4/127.0.0.1/tcp/9"], 11, "/p2p/ID is missing"),
        (["--page", "99999"], 2, ""),
        ([], 2, "No peer of a private swarm"),
    ],
)
def test_a_mistake_is_named(
    gossip: Command, arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    result = gossip("watch", *arguments)
    assert result.code == code
    assert words in result.err
