"""What several views of this computer say of the router in between."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from gossiptrain.doctor.road import is_on_own_network
from gossiptrain.doctor.routers import judged_by_others

OUTSIDE = "203.0.113.5"


@pytest.mark.parametrize(
    ("seen", "verdict", "says"),
    [
        ([("127.0.0.1", 4011)], None, ""),
        ([(OUTSIDE, 4011)], "ok", "the same port"),
        ([(OUTSIDE, 20001)], "not checked", "two relays tell more"),
        ([(OUTSIDE, 20001), (OUTSIDE, 20001)], "ok", "the same port"),
        ([(OUTSIDE, 20001), (OUTSIDE, 20002)], "warning", "symmetric NAT"),
    ],
)
def test_ports_that_others_see_tell_the_kind(seen: list[tuple[str, int]], verdict: str | None, says: str) -> None:
    found = judged_by_others(seen, {4011})
    assert [finding.verdict for finding in found] == ([] if verdict is None else [verdict])
    assert all(says in finding.what for finding in found)


def test_the_own_network_is_what_needs_no_router(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n"
        "eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
        "tun0 0000000A 0901A8C0 0003 0 0 0 000000FF 0 0 0\n"
    )
    assert is_on_own_network(ip_address("192.168.1.77"), table)
    assert is_on_own_network(ip_address("192.168.2.77"), table) is False
    assert is_on_own_network(ip_address("10.1.2.3"), table) is False, "it is behind a router"
    assert is_on_own_network(ip_address("10.1.2.3"), tmp_path / "none") is None
