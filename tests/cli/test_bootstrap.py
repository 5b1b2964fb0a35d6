"""A helper that only helps others find each other: says where it is, keeps its address, ends politely."""

from __future__ import annotations

import signal

import pytest

from tests.processes import Command, Family, Peer, wait_until

PEER_ID = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"
HERE = ("--host-maddr", "/ip4/127.0.0.1/tcp/0")


def address_of(helper: Peer) -> str:
    wait_until(lambda: "/p2p/" in helper.out or helper.process.poll() is not None, "the helper says where it is")
    return next(word for word in helper.out.split() if word.startswith("/ip4/127.0.0.1"))


def test_a_helper_keeps_its_address_over_restarts_and_ends_politely(family: Family) -> None:
    helper = family.start("bootstrap", *HERE, "--identity", "helper.key")
    address = address_of(helper)
    helper.signal(signal.SIGTERM)
    assert helper.wait(within_s=10.0) == 0
    place = address.partition("/p2p/")[0]
    again = family.start("bootstrap", "--host_maddr", place, "--identity", "helper.key")
    assert address_of(again) == address
    another = family.start("bootstrap", *HERE, "--initial-peer", address)
    assert address_of(another) != address
    for each in (again, another):
        each.signal(signal.SIGINT)
    assert [each.wait(within_s=10.0) for each in (again, another)] == [0, 0]
    family.assert_gone(within_s=2.0)
    assert family.left_folders() == []
    assert [peer.err for peer in family.peers] == ["", "", ""]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--host-maddr", "127.0.0.1:4011"], 11, "has not the form"),
        (["--initial-peer", "/ip4/127.0.0.1/tcp/4011"], 11, "/p2p/ID is missing"),
        (["--announce-maddr", "/ip4/203.0.113.7/tcp/0"], 11, "the real port"),
        (["--preset", "moon"], 2, "preset"),
        ([*HERE, "--preset", "local", "--initial-peer", f"/ip4/127.0.0.1/tcp/9/p2p/{PEER_ID}"], 13, "tcp/9/p2p/"),
        ([*HERE, "--identity", "/proc/nowhere/helper.key"], 2, "/proc/nowhere/helper.key"),
    ],
)
def test_a_mistake_is_named(gossip: Command, flags: list[str], code: int, words: str) -> None:
    ended = gossip("bootstrap", *flags)
    assert ended.code == code
    assert words in ended.err
