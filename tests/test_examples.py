"""The example does what it says: two processes find each other, average, and end with one model."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.processes import Family, Peer, wait_until

OWN_LOOP = Path(__file__).parents[1] / "examples" / "own_loop.py"
LOCAL_ADDRESS = r"^address (/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+)$"


def own_loop(family: Family, *arguments: str) -> Peer:
    return family.start(str(OWN_LOOP), *arguments, program=[sys.executable])


def said(peer: Peer, pattern: str) -> str:
    """What the pattern's group matches in the output so far, or an empty text."""
    found = re.search(pattern, peer.out, re.MULTILINE)
    return found.group(1) if found else ""


def test_two_own_loops_find_each_other_and_end_with_bitwise_the_same_model(family: Family) -> None:
    first = own_loop(family)
    wait_until(lambda: bool(said(first, LOCAL_ADDRESS)), f"an address of the first peer; it says {first.err!r}")
    second = own_loop(family, said(first, LOCAL_ADDRESS))
    for peer in (second, first):
        assert peer.wait() == 0, peer.err
        assert int(said(peer, r"^(\d+) rounds, ")) >= 20
        assert float(said(peer, r"test accuracy ([\d.]+)%$")) > 90
    assert said(first, r"^digest (\w{16})$") == said(second, r"^digest (\w{16})$") != ""
    family.assert_gone(within_s=5.0)


def test_an_address_that_is_none_is_refused_before_anything_starts(family: Family) -> None:
    peer = own_loop(family, "/ip4/127.0.0.1/tcp/4011")
    assert peer.wait() == 1
    assert "/p2p/ID is missing" in peer.err
