"""What `--join` is followed by, and what that means."""

from __future__ import annotations

import pytest

from gossiptrain.cli.joining import NEARBY, link_of, network_settings, with_places
from gossiptrain.errors import UsageError

PLACE = "/ip4/192.168.1.7/tcp/4011/p2p/12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("train digits --join", "train digits --join nearby"),
        ("train --join digits", "train --join nearby digits"),
        ("train digits --join --batch 8", "train digits --join nearby --batch 8"),
        (f"train digits --join {PLACE} --join", f"train digits --join {PLACE} --join nearby"),
        ("train digits --join gossip://abc", "train digits --join gossip://abc"),
        (f"train digits --join={PLACE}", f"train digits --join={PLACE}"),
        ("train -- --join", "train -- --join"),
    ],
)
def test_only_a_place_belongs_to_the_flag(typed: str, read: str) -> None:
    assert with_places(typed.split()) == read.split()


def test_alone_it_looks_on_the_local_network_and_with_an_address_it_names_an_initial_peer() -> None:
    assert network_settings(None) == {"initial_peers": [], "search_local_network": None}
    assert network_settings([NEARBY]) == {"initial_peers": [], "search_local_network": True}
    assert network_settings([PLACE]) == {"initial_peers": [PLACE], "search_local_network": None}


def test_what_is_no_address_is_a_link_or_says_where_one_stands() -> None:
    for told in ("-", "@link.txt", "gossip://join/abc"):
        assert with_places(["--join", told]) == ["--join", told]
        assert link_of([NEARBY, PLACE, told]) == told
    assert link_of([NEARBY, PLACE]) is None
    assert link_of(None) is None


def test_several_links_are_refused_without_being_quoted() -> None:
    with pytest.raises(UsageError, match="was given 2 links") as refused:
        link_of(["gossip://join/secret", "gossip://join/other"])
    assert "secret" not in str(refused.value)
