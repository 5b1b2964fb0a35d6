"""How TCP adapts a connection to the network between two nodes: by which rule, and how much may be on its way.

Owns the choice among the rules that this system gives to everybody, and the room for bytes that have come and are not
read yet. TCP finds that room out by how quickly bytes are read; in a round they are read at the pace of the slowest
contribution, and then a path of 150 ms carries half of what it could. On a short path a rule that waits for losses
shares a link best with the other connections of a round; BBR keeps the speed at which a connection was once alone, and
all together then lose a fifth of what they send. On a long path, where a loss costs many round trips, BBR is the better
one (docs/performance.md has the figures). Where there is nothing to choose, and within one computer, connections stay
as they are. Does not know what a connection carries.
"""

from __future__ import annotations

import contextlib
import socket
import sys

NEAR_S = 0.005
"""A path with a shorter round trip is a short one."""
FAR_RULES = ("bbr",)
NEAR_RULES = ("cubic", "reno")
WITHIN_COMPUTER_BYTES = 65_535
"""The packets of a path that does not leave the computer are at least so long."""
RECEIVED_BYTES = 3 << 20
"""There is room for so many bytes at once: 150 Mbit/s on a path of 160 ms. Systems give half of `tcp_rmem`, 6 MB."""
_NAME_BYTES = 16
_PATH_MTU = slice(60, 64)
_MINIMUM_ROUND_TRIP = slice(148, 152)
"""Where `struct tcp_info` of Linux 4.6 and newer has the shortest round trip so far, in microseconds; before it the
longest packet, in bytes."""


def suit_to_path(connection: socket.socket) -> None:
    """Chooses the rule for a connection on which a few bytes have gone there and back."""
    if sys.platform != "linux":
        return
    try:
        name = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES)
        rule = name.rstrip(b"\0").decode()
        facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MINIMUM_ROUND_TRIP.stop)
    except OSError:
        return  # not TCP, or ended already
    if int.from_bytes(facts[_PATH_MTU], sys.byteorder) >= WITHIN_COMPUTER_BYTES:
        return
    _make_room(connection)
    round_trip_s = int.from_bytes(facts[_MINIMUM_ROUND_TRIP], sys.byteorder) / 1e6
    for better in better_rules(rule, round_trip_s):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, better.encode())
        except OSError:
            continue  # the kernel lacks it, or keeps it for root
        return


def _make_room(connection: socket.socket) -> None:
    """Has the kernel take in as many bytes as if they were all waited for, and then wait for as many as before.

    SO_RCVBUF would need rights for more than 200 KB, and keep the kernel from finding out more.
    """
    with contextlib.suppress(OSError):
        waits_for = connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, RECEIVED_BYTES)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, waits_for)


def better_rules(rule: str, round_trip_s: float) -> tuple[str, ...]:
    """What to try instead of `rule`, the best first."""
    if round_trip_s >= NEAR_S:
        return () if rule in FAR_RULES else FAR_RULES
    return NEAR_RULES if rule in FAR_RULES else ()
