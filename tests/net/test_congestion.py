"""TCP adapts to the path in the way that suits it, where the system gives a choice."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossiptrain.net import congestion
from gossiptrain.net.congestion import (
    FAR_S,
    LEAST_ROOM_BYTES,
    NEAR_S,
    QUEUED_BYTES,
    RECEIVED_BYTES,
    Departures,
    LineShare,
    Room,
    better_rules,
    suit_to_path,
)
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.direct.tls import Engine
from gossiptrain.net.transport import PeerId
from gossiptrain.net.wire import Wire
from tests.net.direct.connection_pairs import credentials
from tests.processes import wait_until

ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


@pytest.fixture
def near() -> Iterator[socket.socket]:
    """A connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as made:
        other, _ = listener.accept()
        with other:
            yield made


def rule_of(connection: socket.socket) -> str:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def test_a_long_path_wants_bbr_and_a_short_one_a_rule_that_waits_for_losses() -> None:
    assert better_rules("cubic", 10 * NEAR_S) == ("bbr",)
    assert better_rules("bbr", NEAR_S / 10) == ("cubic", "reno")


@pytest.mark.parametrize(("rule", "round_trip_s"), [("bbr", 0.1), ("cubic", 0.0), ("reno", 0.0)])
def test_what_suits_already_stays(rule: str, round_trip_s: float) -> None:
    assert better_rules(rule, round_trip_s) == ()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TCP's rule is not chosen for each connection")
def test_a_connection_within_one_computer_stays_as_it_is(near: socket.socket) -> None:
    if "bbr" not in ALLOWED.read_text().split():
        pytest.skip("this kernel does not give bbr away")
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    suit_to_path(near)
    assert rule_of(near) == "bbr"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TCP's rule is not chosen for each connection")
def test_a_near_connection_with_bbr_gets_another_rule(near: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(congestion, "WITHIN_COMPUTER_BYTES", 1 << 20)
    if not {"bbr", "reno"} <= set(ALLOWED.read_text().split()):
        pytest.skip("this kernel gives no choice between bbr and reno")
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    suit_to_path(near)
    assert rule_of(near) in {"cubic", "reno"}
    before = rule_of(near)
    suit_to_path(near)
    assert rule_of(near) == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such room to ask for")
def test_a_connection_that_leaves_the_computer_has_room_for_what_a_long_path_carries(
    near: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 77)
    suit_to_path(near)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before, "within the computer"
    monkeypatch.setattr(congestion, "WITHIN_COMPUTER_BYTES", 1 << 20)
    suit_to_path(near)
    most = int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2])
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= min(RECEIVED_BYTES, most // 2)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 77, "it wakes as often as before"


# How much may be on its way.


def test_streams_on_a_near_line_share_what_a_queue_should_hold() -> None:
    alone, six = (LineShare(streams).room_bytes(0.0) for streams in (1, 6))
    assert alone == QUEUED_BYTES
    assert six == QUEUED_BYTES // 6


def test_a_path_is_kept_full_at_the_speed_of_late() -> None:
    room = LineShare(6, bytes_per_s=10e6).room_bytes(0.04)
    assert room is not None
    assert 6 * room > 10e6 * 0.04 + QUEUED_BYTES
    fast_and_near = LineShare(2).room_bytes(0.001)
    assert fast_and_near is not None
    assert 2 * fast_and_near > 1e9 / 8 * 0.001 + QUEUED_BYTES, "where nothing is known of the line, a fast one"


def test_as_long_as_the_speed_of_a_long_path_is_not_known_there_is_room_for_all() -> None:
    assert LineShare(6).room_bytes(0.04) is None


def test_on_a_far_path_there_is_always_room_for_all() -> None:
    assert LineShare(6, bytes_per_s=1e6).room_bytes(FAR_S) is None


def test_room_is_neither_more_than_there_is_nor_too_little_to_go_on() -> None:
    assert LineShare(2, bytes_per_s=1e9).room_bytes(0.09) == RECEIVED_BYTES
    assert LineShare(126).room_bytes(0.0) == LEAST_ROOM_BYTES


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TCP says nothing of this")


@pytest.fixture
def two_ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Of a connection that counts as one between computers, suited to its path."""
    monkeypatch.setattr(congestion, "WITHIN_COMPUTER_BYTES", 1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as made:
        other, _ = listener.accept()
        with other:
            for end in (made, other):
                suit_to_path(end)
                end.setblocking(False)
            yield made, other


def arrived_bytes(connection: socket.socket) -> int:
    """Not read yet."""
    found = array.array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, found)
    return found[0]


def send_and_take(sender: socket.socket, receiver: socket.socket) -> int:
    """As much as there is room for; how many bytes that was."""
    fill(sender)
    wait_until(lambda: arrived_bytes(receiver) > 0, "something has come")
    taken = 0
    while arrived_bytes(receiver):
        taken += len(receiver.recv(arrived_bytes(receiver)))
    return taken


@linux_only
def test_no_more_is_sent_ahead_than_a_stream_has_room_for(two_ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = two_ends
    room = Room(receiver)
    room.share(LineShare(6))
    limit = receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP)
    assert limit < QUEUED_BYTES / 2

    def is_kept() -> bool:
        send_and_take(sender, receiver)
        room.keep()
        fill(sender)
        return arrived_bytes(receiver) < 3 * limit

    wait_until(is_kept, "what was sent ahead before has come")
    room.keep()
    assert receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) == limit


@linux_only
def test_a_connection_that_shares_no_more_has_room_again(two_ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = two_ends
    room = Room(receiver)
    room.share(LineShare(6))
    room.share(None)
    assert receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) == RECEIVED_BYTES
    room.keep()
    wait_until(lambda: send_and_take(sender, receiver) > QUEUED_BYTES, "as much is sent ahead as before")


@linux_only
def test_a_far_connection_is_left_as_it_is(
    two_ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(congestion, "FAR_S", 0.0)
    _, receiver = two_ends
    before = receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP)
    room = Room(receiver)
    for share in (LineShare(6), LineShare(6, 1e6), None):
        room.share(share)
        room.keep()
        assert receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) == before


@linux_only
def test_within_the_computer_and_where_there_is_no_tcp_nothing_is_limited(near: socket.socket) -> None:
    before = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP)
    room = Room(near)
    room.share(LineShare(6))
    room.keep()
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) == before
    near.close()
    room.share(LineShare(6))
    one, other = socket.socketpair()
    with one, other:
        Room(one).share(LineShare(6))


# What keeps bytes from leaving.

MAX_PACING_RATE = 47
"""`SO_MAX_PACING_RATE` of Linux."""


@pytest.fixture
def far(near: socket.socket, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """A connection whose path counts as far."""
    monkeypatch.setattr(congestion, "FAR_S", 0.0)
    near.setblocking(False)
    return near


def fill(connection: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(bytes(1 << 16))


@linux_only
def test_bytes_on_a_slow_line_wait_for_it(far: socket.socket) -> None:
    departures = Departures(far)
    assert not departures.wait_for_line(), "there are none"
    far.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, 1000)
    fill(far)
    assert departures.wait_for_line()


@linux_only
def test_bytes_that_the_other_side_does_not_read_do_not_wait_for_the_line(far: socket.socket) -> None:
    departures = Departures(far)
    fill(far)
    wait_until(lambda: not departures.wait_for_line(), "the kernel has counted how long it waits for the reader")
    fill(far)
    assert not departures.wait_for_line(), "and so it stays until the next look"


@linux_only
def test_on_a_path_that_is_not_far_nothing_is_said_to_wait(near: socket.socket) -> None:
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, 1000)
    fill(near)
    assert not Departures(near).wait_for_line()


def test_of_what_is_not_tcp_or_has_ended_nothing_is_said_to_wait(near: socket.socket) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert not Departures(one).wait_for_line()
    near.close()
    assert not Departures(near).wait_for_line()


def test_what_is_not_tcp_or_has_ended_is_left_alone(near: socket.socket) -> None:
    one, other = socket.socketpair()
    with one, other:
        suit_to_path(one)
    near.close()
    suit_to_path(near)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TCP's rule is not chosen for each connection")
def test_a_kept_connection_is_looked_at_again_when_it_is_needed(
    near: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been made while others kept the link busy, so that its path seemed a long one."""
    monkeypatch.setattr(congestion, "WITHIN_COMPUTER_BYTES", 1 << 20)
    if not {"bbr", "reno"} <= set(ALLOWED.read_text().split()):
        pytest.skip("this kernel gives no choice between bbr and reno")

    async def main() -> None:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        wire = Wire(near)
        engine = Engine(credentials("alice"), expected=credentials("bob").certificate, server=False)
        connection = DirectConnection(PeerId("bob"), SealedWire(wire, engine), opens=True)
        connection.set_idle(lambda: None)
        connection.set_active()
        assert rule_of(near) in {"cubic", "reno"}
        wire.end()

    asyncio.run(main())
