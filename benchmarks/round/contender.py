"""What the contenders of `round` have in common: one peer each, whose result has a known answer.

Owns the vectors of the peers and the check of what they make of them. Does not know any system, nor how the peers are
told what to do.
"""

from __future__ import annotations

import abc
import math
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gossiptrain.core.averaging import Vector

CHECKED_ELEMENTS = 1 << 18
FORMATION_TIMEOUT_S = 30.0
LOOPBACK = "127.0.0.1"
MEET_TIMEOUT_S = 60.0

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Job:
    """Which peer of which system this is, how long its vector is, and where it runs.

    host: the address at which it listens. round_trip_s: to others, while nothing else is on the way. longest_s: after
    which a round that could not be foreseen to take so long counts as hanging.
    """

    system: str
    rank: int
    peers: int
    elements: int
    host: str = LOOPBACK
    round_trip_s: float = 0.0
    longest_s: float = 60.0


@dataclass(frozen=True)
class Timing:
    """One round, by the clock of one peer or, as maxima, of all. whole_s may be more than the sum of the parts."""

    formation_s: float
    transfer_s: float
    whole_s: float


class IncompleteRoundError(Exception):
    """A round did not take place, or not among all peers: bad luck of a system, not a wrong result."""


class Contributions:
    """Every peer brings a multiple of the same random vector, which is itself the mean of them all.

    The factors differ so that no smaller group has the same mean. In every other round all have the opposite sign, so
    that the last result is a wrong one.
    """

    def __init__(self, job: Job) -> None:
        self._mean: Vector = np.random.default_rng(0).standard_normal(job.elements, dtype=np.float32)
        squares = [float((rank + 1) ** 2) for rank in range(job.peers)]
        self._factors = [square * job.peers / sum(squares) for square in squares]
        self._sign = 1.0

    def next_round(self) -> None:
        """Changes the sign."""
        self._sign = -self._sign

    def write(self, rank: int, out: Vector) -> None:
        """Writes what the peer of this rank brings, or as many first elements of it as `out` has."""
        np.multiply(self._mean[: len(out)], np.float32(self._sign * self._factors[rank]), out=out)

    def error(self, result: Vector, *, factor: float = 1.0) -> float:
        """The largest absolute difference to `factor` times the mean; infinite where the result is not finite.

        A result that is shorter is compared with the first elements.
        """
        worst = 0.0
        signed = np.float32(self._sign * factor)
        for start in range(0, len(result), CHECKED_ELEMENTS):
            piece = result[start : start + CHECKED_ELEMENTS]
            right = signed * self._mean[start : start + len(piece)]
            worst = max(worst, _infinite_if_not_finite(np.abs(piece - right)))
        return worst

    def error_of_copy(self, rank: int, copy: Vector) -> float:
        """The same for a copy of what the peer of this rank brings, or of its first elements."""
        return self.error(copy, factor=self._factors[rank])


class Contender(abc.ABC):
    """One peer of one system, in a process of its own."""

    tolerance: float = 1e-5
    """Largest error of a right result. The elements of the mean are normally distributed with variance 1."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.contributions = Contributions(job)

    @abc.abstractmethod
    def open(self) -> str:
        """Starts; the answer is what others need to know to find this peer."""

    @abc.abstractmethod
    def meet(self, addresses: Sequence[str]) -> None:
        """Connects to the others, whose addresses are in the order of their ranks. They do the same now."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Puts this peer's vector for the next round in place. What the last one left may stay."""

    @abc.abstractmethod
    def run(self, begin_s: float) -> Timing:
        """One round that begins at `begin_s` of the monotonic clock. Raises IncompleteRoundError."""

    @abc.abstractmethod
    def error(self) -> float:
        """How far the result of the round is from the right one."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends all that this peer has started, also where `open` or `meet` failed."""

    def idle(self, until: Callable[[], ResultT]) -> ResultT:
        """Waits for `until` between rounds. A peer with an event loop lets it run meanwhile."""
        return until()


def address_of(listener: socket.socket) -> str:
    """Where a socket listens, for `connected_to`."""
    host, port = listener.getsockname()
    return f"{host}:{port}"


def connected_to(address: str) -> socket.socket:
    """A connection to a socket that listens there."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=MEET_TIMEOUT_S)


def wait_until(begin_s: float) -> None:
    """Sleeps until a time of the monotonic clock, which all processes of a computer share."""
    time.sleep(max(0.0, begin_s - time.monotonic()))


def _infinite_if_not_finite(differences: Vector) -> float:
    largest = float(np.max(differences))
    return largest if math.isfinite(largest) else math.inf
