"""How long a peer waits for the next bytes before it takes a link for dead, and for all chunks of a link together.

Owns the measure: a multiple of the longest waits of its own recent rounds, so that a slow link works and a dead one is
dropped soon; of the longest waits within the exchange, where a link turns out to be slower than that; and a multiple of
the time that whole exchanges took, so that nobody holds a group up for long by moving just often enough. Does not know
links, nor what follows a timeout.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection, Iterator

from gossiptrain.config import TimingSettings
from gossiptrain.net.transport import Clock
from gossiptrain.swarm.coding import ELEMENT_BYTES

REMEMBERED_ROUNDS = 20
MULTIPLE = 4.0
"""The timeout, in terms of the 95th percentile of the longest waits."""
LEAST_SHARE = 1 / 3
MOST_SHARE = 8.0
"""The timeout stays between these shares of the setting `stall_timeout_s`, with which it begins."""
SHARE_OF_FIRST_EXCHANGE = 1 / 4
"""Of the longest round: how long one link may be waited for while nothing is known of how long exchanges take."""
SLOWEST_BYTES_PER_S = 250_000
"""A link that carries less than 2 Mbit/s takes no part in the rounds of a large model."""
WHOLE_CHUNK_BYTES = 64 << 20
"""More than the longest chunk."""
PIECE_BYTES = 64 << 10
"""A link that moves so much within the timeout is not dead, however long a chunk is."""
LEAST_PIECE_BYTES = 16 << 10
FEW_MEMBERS = 4
"""In larger groups each member's link is shared by more streams, of which each moves less in the same time."""


def longest_round_s(timing: TimingSettings, *, elements: int) -> float:
    """How long a round of so many values may take: the setting, or what the slowest links need for an exchange.

    Every member sends and receives two models at most.
    """
    exchange_s = 2 * ELEMENT_BYTES * elements / SLOWEST_BYTES_PER_S
    return max(timing.round_timeout_s, exchange_s / SHARE_OF_FIRST_EXCHANGE)


def shared_piece_bytes(members: int) -> int:
    """What a link may be expected to move on each of the streams of a group within the timeout."""
    return max(LEAST_PIECE_BYTES, PIECE_BYTES * FEW_MEMBERS // max(members, FEW_MEMBERS))


class AdaptiveTimeout:
    """What the rounds so far have taught."""

    def __init__(self, stall_timeout_s: float, *, longest_exchange_s: float = math.inf) -> None:
        """longest_exchange_s: an exchange of which nothing is known yet may wait so long for one link."""
        self._setting_s = stall_timeout_s
        self._longest_exchange_s = longest_exchange_s
        self._longest_waits_s: deque[float] = deque(maxlen=REMEMBERED_ROUNDS)
        self._exchanges_s: deque[float] = deque(maxlen=REMEMBERED_ROUNDS)
        self._allowance = 1.0

    @property
    def stall_s(self) -> float:
        """How long a link may stand still now."""
        if not self._longest_waits_s:
            return self._setting_s
        usual_s = _usual(self._longest_waits_s)
        return min(max(MULTIPLE * usual_s, LEAST_SHARE * self._setting_s), self.longest_stall_s)

    @property
    def longest_stall_s(self) -> float:
        """How long a link may stand still at the very most."""
        return MOST_SHARE * self._setting_s

    def piece_bytes(self, members: int) -> int:
        """What is to move within that time, in a group of so many: little, or all of a chunk where chunks have come
        much faster than that.

        On loopback pieces would cost a tenth of the speed.
        """
        waits_s = self._longest_waits_s
        comes_soon = bool(waits_s) and MULTIPLE * _usual(waits_s) <= self._setting_s
        return WHOLE_CHUNK_BYTES if comes_soon else shared_piece_bytes(members)

    @property
    def exchange_s(self) -> float:
        """How long a whole exchange may wait for one link, beside a few times `stall_s`."""
        if not self._exchanges_s:
            return self._longest_exchange_s
        learnt_s = max(MULTIPLE * _usual(self._exchanges_s), 2 * self.stall_s)
        return min(self._allowance * learnt_s, self._longest_exchange_s)

    def budget(self, chunks: int, *, times: int = 1) -> Budget:
        """What a link of so many chunks may cost, or `times` as much where it may itself have to wait."""
        return Budget(times * 2 * self.stall_s, times * self.exchange_s, chunks)

    def went_well(self, longest_wait_s: float, *, exchange_s: float | None = None) -> None:
        """Notes an attempt in which no link stood still for longer than this, and how long all of it took."""
        self._longest_waits_s.append(longest_wait_s)
        if exchange_s is not None:
            self._exchanges_s.append(exchange_s)
        self._allowance = 1.0

    def ran_out(self) -> None:
        """Notes an attempt that ended because a link stood still: dead, or slower than it was. It begins anew."""
        self._longest_waits_s.clear()

    def fell_behind(self) -> None:
        """Notes an attempt that ended because a link moved, but too slowly. Perhaps all are slower now."""
        self._allowance *= 2


def _usual(values: Collection[float]) -> float:
    """Their 95th percentile."""
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1]


class BehindError(TimeoutError):
    """A link moves, but takes too long in all."""


class Budget:
    """How long one link may be waited for in all, by how much of its part it has done."""

    def __init__(self, grace_s: float, whole_s: float, chunks: int) -> None:
        self._grace_s = grace_s
        self._whole_s = whole_s
        self._chunks = chunks
        self._done = 0
        self._waited_s = 0.0

    def spend(self, waited_s: float) -> None:
        """A chunk came after so long. Raises BehindError where the link would take far longer than exchanges do."""
        self._done += 1
        self._waited_s += waited_s
        if self._waited_s > self._grace_s + self._whole_s * self._done / self._chunks:
            raise BehindError("this link moves too slowly")


def pieces(data: memoryview, piece_bytes: int) -> Iterator[memoryview]:
    """The bytes of a chunk, a few at a time."""
    for start in range(0, len(data), piece_bytes):
        yield data[start : start + piece_bytes]


class ProgressDeadline:
    """One wait after another under one deadline, which moves on with each of them.

    A link that needs seconds for one part after the other stands still for longer than that now and then, where the
    other connections of its host leave it too little: it is not dead, and is waited for by the measure of its own pace.

    async with watch.within(2.0):
        for chunk in chunks:
            for piece in pieces(chunk, piece_bytes):
                await stream.write(piece)
                watch.renew()
            watch.moved()
    """

    def __init__(self, clock: Clock, *, longest_stall_s: float = 0.0) -> None:
        """longest_stall_s: for so long, at most, one that is slow all the time may stand still."""
        self._clock = clock
        self._longest_stall_s = longest_stall_s
        self._longest_part_s = 0.0
        self.longest_wait_s = 0.0

    def within(self, seconds: float) -> asyncio.Timeout:
        """A context that raises TimeoutError where nothing moves for `seconds`; by `moved`, more often than that."""
        self._seconds = seconds
        self._since_s = self._part_since_s = self._clock.now()
        self._deadline = self._clock.timeout(seconds)
        return self._deadline

    def renew(self) -> None:
        """A part of the next thing moved: the rest has as long again, or a few times as long as this part took."""
        now_s = self._clock.now()
        self._longest_part_s = max(self._longest_part_s, now_s - self._part_since_s)
        self._part_since_s = now_s
        self._deadline.reschedule(now_s + self._patience_s)

    @property
    def _patience_s(self) -> float:
        return max(self._seconds, min(MULTIPLE * self._longest_part_s, self._longest_stall_s))

    def allow(self, seconds: float) -> None:
        """What is waited for now may take so long instead."""
        self._deadline.reschedule(self._clock.now() + seconds)

    def moved(self) -> float:
        """Something moved, and the next thing has as long again. Returns how long it took."""
        now_s = self._clock.now()
        took_s = now_s - self._since_s
        self.longest_wait_s = max(self.longest_wait_s, took_s)
        self._since_s = self._part_since_s = now_s
        self._deadline.reschedule(now_s + self._patience_s)
        return took_s
