"""What several views of this computer say of the router in between."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from gossiptrain.doctor import routers
from gossiptrain.doctor.road import is_on_own_network
from gossiptrain.doctor.routers import check_router, judged_by_others

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


@pytest.mark.parametrize(
    ("own", "answer", "verdict", "says"),
    [
        ("192.168.1.2", bytes([0, 128, 0, 0, 0, 0, 0, 1, 8, 8, 4, 4]), "warning", "of the router is 8.8.4.4"),
        ("192.168.1.2", bytes([0, 128, 0, 0, 0, 0, 0, 1, 10, 0, 0, 7]), "warning", "there is a second one"),
        ("192.168.1.2", bytes([0, 128, 0, 0, 0, 0, 0, 1, 100, 64, 0, 7]), "warning", "there is a second one"),
        ("192.168.1.2", bytes([0, 128, 0, 3]), "warning", "a router translates it"),
        ("192.168.1.2", b"", "warning", "a router translates it"),
        ("100.64.3.4", b"", "warning", "shares with other customers"),
        ("8.8.8.8", b"", "ok", "a public address of this computer"),
        (None, b"", "not checked", "no way to the internet"),
    ],
)
def test_a_router_may_say_at_which_address_it_is(
    monkeypatch: pytest.MonkeyPatch, own: str | None, answer: bytes, verdict: str, says: str
) -> None:
    async def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
            router.bind(("127.0.0.1", 0))
            router.setblocking(False)
            monkeypatch.setattr(routers, "own_address", lambda version: ip_address(own) if own else None)
            monkeypatch.setattr(routers, "gateway", lambda: "127.0.0.1")
            monkeypatch.setattr(routers, "_MAPPING_PORT", router.getsockname()[1])
            monkeypatch.setattr(routers, "_ROUTER_ANSWER_S", 20.0 if answer else 0.05)
            asked = asyncio.create_task(check_router())
            if answer:
                loop = asyncio.get_running_loop()
                question, asker = await loop.sock_recvfrom(router, 64)
                assert question == b"\0\0"
                await loop.sock_sendto(router, answer, asker)
            found = (await asked)[0]
        assert found.verdict == verdict
        assert says in found.what

    asyncio.run(ask())
