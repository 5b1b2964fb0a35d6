"""How TCP adapts a connection to the network between two nodes, and what keeps bytes from leaving.

Owns the choice among the rules that this system gives to everybody, how many bytes may be on their way to here or not
read yet, and the look at those that have not left yet. TCP finds that room out by how quickly bytes are read; in a
round they are read at the pace of the slowest contribution, and then a path of 150 ms carries half of what it could.
But where many streams share a line, each with room to spare, they fill the queue before it: what goes the other way
then waits for its acknowledgements behind them, and packets are lost. So in a round they share as much room as keeps
the line busy.

On a short path a rule that waits for losses shares a link best with the other connections of a round; BBR keeps the
speed at which a connection was once alone, and all together then lose a fifth of what they send. On a long path,
where a loss costs many round trips, BBR is the better one (docs/performance.md has the figures). Where there is nothing
to choose, and within one computer, connections stay as they are. Does not know what a connection carries.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from dataclasses import dataclass

NEAR_S = 0.005
"""A path with a shorter round trip is a short one."""
FAR_S = 0.1
"""On a path with a longer one twice as many connections lose much of what they send: BBR has two round trips' worth on
its way on each, which queues of a tenth of a second cannot hold. At 0.04 s nothing is won by sending less at once."""
FAR_RULES = ("bbr",)
NEAR_RULES = ("cubic", "reno")
WITHIN_COMPUTER_BYTES = 65_535
"""The packets of a path that does not leave the computer are at least so long."""
RECEIVED_BYTES = 3 << 20
"""There is room for so many bytes at once: 150 Mbit/s on a path of 160 ms. Systems give half of `tcp_rmem`, 6 MB."""
QUEUED_BYTES = 384 << 10
"""All streams of a round together may have so many more on their way than the path holds: 30 ms at 100 Mbit/s."""
ROOM_FOR_PATH = 2.0
"""How many times what a path holds at the speed of late: rounds are slower than their line, and lines become faster."""
NEAR_BYTES_PER_S = 2.5e9 / 8
"""The speed of a line on short paths as long as it is not known."""
LEAST_ROOM_BYTES = 32 << 10
"""On each of very many streams."""
_NAME_BYTES = 16
_PATH_MTU = slice(60, 64)
_MINIMUM_ROUND_TRIP = slice(148, 152)
"""Where `struct tcp_info` of Linux 4.6 and newer has the shortest round trip so far, in microseconds; before it the
longest packet, in bytes."""
_NOT_SENT = slice(144, 148)
"""Bytes that have not left yet; since Linux 4.6."""
_WAITED_FOR_READER = slice(176, 184)
"""How long there were some that the other side had no room for, in microseconds; since Linux 4.9."""
LOOK_S = 0.1
"""For what bytes wait is found out over so long."""


class Departures:
    """Whether the bytes that a connection was given wait for the line, or for the other side to read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._looked_s = -LOOK_S
        self._waited_for_reader_s = 0.0
        self._wait_for_line = True

    def wait_for_line(self) -> bool:
        """Whether some wait for the line, on a far path; False where the system does not tell."""
        facts = _facts(self._connection, _WAITED_FOR_READER.stop)
        if facts is None or _round_trip_s(facts) < FAR_S or not _number(facts, _NOT_SENT):
            return False
        now_s = time.monotonic()
        passed_s = now_s - self._looked_s
        if passed_s >= LOOK_S:
            waited_s = _number(facts, _WAITED_FOR_READER) / 1e6
            self._wait_for_line = waited_s - self._waited_for_reader_s < passed_s / 2
            self._looked_s, self._waited_for_reader_s = now_s, waited_s
        return self._wait_for_line


@dataclass(frozen=True)
class LineShare:
    """streams: how many carry bytes to this peer at one time. bytes_per_s: how fast these have come together of late;
    None where that is not known."""

    streams: int
    bytes_per_s: float | None = None

    def room_bytes(self, round_trip_s: float) -> int | None:
        """How many may be on their way to here, or not read yet, on each stream; None: as many as there is room for."""
        speed = self.bytes_per_s
        if speed is None and round_trip_s < NEAR_S:
            speed = NEAR_BYTES_PER_S
        if speed is None or round_trip_s >= FAR_S:
            # Contributions are read in turn: on a far path those that are not being read would stand still too soon.
            return None
        together = QUEUED_BYTES + ROOM_FOR_PATH * speed * round_trip_s
        return min(RECEIVED_BYTES, max(LEAST_ROOM_BYTES, round(together / max(1, self.streams))))


class Room:
    """What the other side may send ahead on a connection that is suited to its path."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bytes: int | None = None

    def share(self, share: LineShare | None) -> None:
        """Limits it. None: not any more."""
        facts = _facts_of_path(self._connection)
        if facts is None:
            return
        before, self._bytes = self._bytes, None if share is None else share.room_bytes(_round_trip_s(facts))
        if self._bytes is None and before is not None:
            self._limit(RECEIVED_BYTES)
        self.keep()

    def keep(self) -> None:
        """Limits it again, now and then while bytes come: the kernel widens it as it learns how long packets are."""
        if self._bytes is not None:
            self._limit(self._bytes)

    def _limit(self, most_bytes: int) -> None:
        with contextlib.suppress(OSError):  # ended meanwhile
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, most_bytes)


def suit_to_path(connection: socket.socket) -> None:
    """Chooses the rule for a connection on which a few bytes have gone there and back."""
    facts = _facts_of_path(connection)
    if facts is None:
        return
    _make_room(connection)
    try:
        name = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES)
    except OSError:
        return  # ended meanwhile
    rule = name.rstrip(b"\0").decode()
    for better in better_rules(rule, _round_trip_s(facts)):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, better.encode())
        except OSError:
            continue  # the kernel lacks it, or keeps it for root
        return


def _facts_of_path(connection: socket.socket) -> bytes | None:
    """Those that tell of the path; None where they are not known, and within one computer."""
    facts = _facts(connection, _MINIMUM_ROUND_TRIP.stop)
    return None if facts is None or _number(facts, _PATH_MTU) >= WITHIN_COMPUTER_BYTES else facts


def _facts(connection: socket.socket, size_bytes: int) -> bytes | None:
    """So much of `struct tcp_info`; None where it is not known: of another system, or no TCP, or at an end."""
    if sys.platform != "linux":
        return None
    try:
        facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size_bytes)
    except OSError:
        return None
    return facts if len(facts) == size_bytes else None


def _round_trip_s(facts: bytes) -> float:
    return _number(facts, _MINIMUM_ROUND_TRIP) / 1e6


def _number(facts: bytes, place: slice) -> int:
    return int.from_bytes(facts[place], sys.byteorder)


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
