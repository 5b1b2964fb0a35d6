"""Links that can be slow, far, narrow and cut, and rounds that are timed over them."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from benchmarks.links import __main__ as links
from benchmarks.links.cell import CELLS, FAST_CELLS, Cell, cell
from benchmarks.links.laboratory import laboratory
from benchmarks.links.packet_switch import LARGE_MTU, ORDINARY_MTU, TUN, PacketSwitchedHosts, Port, mtu_for
from benchmarks.namespaces import Hosts, Link, address_of, built, switched_hosts

from tests.benchmarks.test_partition import reaches

PORT = 9099
WIDE = Link(up_mbit=40.0, down_mbit=40.0)
SENT_BYTES = 500_000
RECEIVE = """
import socket
with socket.create_server((HOST, PORT)) as listener:
    print("listening", flush=True)
    connection, _ = listener.accept()
    connection.sendall(b"1")
    received = 0
    while data := connection.recv(65536):
        received += len(data)
    print(received)
"""
SEND = """
import socket
connection = socket.create_connection((HOST, PORT))
connection.recv(1)
connection.sendall(bytes(SENT_BYTES))
"""

Make = Callable[..., AbstractContextManager[Hosts]]


@contextmanager
def by_kernel(*own: Link) -> Iterator[Hosts]:
    with switched_hosts(len(own), own) as hosts:
        yield hosts


@contextmanager
def by_program(*own: Link) -> Iterator[Hosts]:
    if not Path(TUN).exists():
        pytest.skip(f"no {TUN} here")
    with built(PacketSwitchedHosts(own)) as hosts:
        yield hosts


@pytest.mark.usefixtures("hosts_can_be_made")
@pytest.mark.parametrize("made", [by_kernel, by_program])
def test_packets_pass_until_a_host_is_cut_off_and_again_when_it_is_healed(made: Make) -> None:
    with made(WIDE, WIDE) as hosts:
        assert reaches(hosts)
        hosts.cut()
        assert not reaches(hosts)
        hosts.heal()
        assert reaches(hosts)


@pytest.mark.usefixtures("hosts_can_be_made")
@pytest.mark.parametrize("made", [by_kernel, by_program])
@pytest.mark.parametrize(("up_mbit", "down_mbit"), [(4.0, 40.0), (40.0, 4.0)])
def test_no_more_passes_than_uplink_and_downlink_carry(made: Make, up_mbit: float, down_mbit: float) -> None:
    with made(Link(up_mbit=up_mbit, down_mbit=40.0), Link(up_mbit=40.0, down_mbit=down_mbit)) as hosts:
        assert sent_s(hosts, sender=0) >= 0.9 * SENT_BYTES * 8 / 4e6


@pytest.mark.usefixtures("hosts_can_be_made")
def test_a_round_trip_takes_as_long_as_it_should_whichever_way_the_link_is_made() -> None:
    far = Link(up_mbit=100.0, down_mbit=100.0, round_trip_ms=200.0)
    try:
        with laboratory([far, far]) as hosts:
            # Two of them: that of the connection and that of the first byte.
            assert sent_s(hosts, sender=0) >= 2 * 0.2
    except OSError as error:
        pytest.skip(f"no delay here: {error}")


def test_a_queue_takes_no_more_than_it_may_hold() -> None:
    port = Port(device=-1, link=Link(up_mbit=8.0, down_mbit=8.0, queue_ms=10.0))
    assert port.up_at(5_000, now_s=1.0) == pytest.approx(1.005)
    assert port.up_at(5_000, now_s=1.0) == pytest.approx(1.010)
    assert port.up_at(1_000, now_s=1.0) is None
    assert port.up_at(1_000, now_s=1.005) == pytest.approx(1.011)
    for _ in range(3):
        port.take_down(bytes(4_000), now_s=2.0)
    assert [left_s for left_s, _ in port.leaving] == pytest.approx([2.004, 2.008])


def test_packets_are_as_long_as_usual_unless_there_would_be_too_many() -> None:
    found = [mtu_for([Link(mbit, mbit)] * 4) for mbit in (20.0, 100.0, 1000.0)]
    assert found == [ORDINARY_MTU, 3333, LARGE_MTU]


def test_a_cell_is_what_is_said_and_otherwise_usual() -> None:
    assert cell("size=5,mbit=20") == Cell(size=5, mbit=20)
    assert cell("uplink=0.2,loss=0.5").link == Link(up_mbit=20.0, down_mbit=100.0, loss=0.005)
    for wrong in ("rate=3", "size=", "size=0", "hosts=1", "loss=100", "delay=-1"):
        with pytest.raises(argparse.ArgumentTypeError):
            cell(wrong)


def test_the_bound_is_that_of_the_slower_direction() -> None:
    assert [found.bound_s for found in CELLS] == pytest.approx([3.0] * len(CELLS))
    assert Cell(size=1, mbit=8, hosts=2).bound_s == pytest.approx(1.0)
    assert [found.bound_s for found in FAST_CELLS] == pytest.approx([0.8, 1.2])


@pytest.mark.usefixtures("hosts_can_be_made")
def test_rounds_are_timed_on_hosts_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "links.json"
    systems = ("tcp", "gossiptrain-direct-fp32")
    arguments = ["--cell", "size=0.4,hosts=2,mbit=20", "--starts", "1", "--rounds", "2", "--json", str(file)]
    monkeypatch.setattr("sys.argv", ["links", "--systems", *systems, *arguments])
    assert links.main() == 0
    rows = json.loads(file.read_text())["results"]
    assert [row["system"] for row in rows] == list(systems)
    for row in rows:
        assert row["incomplete"] == []
        assert row["first_s"]["samples"] == row["later_s"]["samples"] == 1
        assert row["later_s"]["minimum"] >= 0.9 * row["bound_s"]


def sent_s(hosts: Hosts, *, sender: int) -> float:
    """How long it takes to connect to the other host and to send it so many bytes."""

    def start(host: int, program: str) -> subprocess.Popen[str]:
        names = f"HOST, PORT, SENT_BYTES = {address_of(1 - sender)!r}, {PORT}, {SENT_BYTES}\n"
        return subprocess.Popen([*hosts.on(host), "python3", "-c", names + program], stdout=subprocess.PIPE, text=True)

    with start(1 - sender, RECEIVE) as receiving:
        assert receiving.stdout is not None
        assert receiving.stdout.readline() == "listening\n"
        began_s = time.monotonic()
        with start(sender, SEND) as sending:
            sending.wait()
        assert int(receiving.stdout.readline()) == SENT_BYTES
        return time.monotonic() - began_s
