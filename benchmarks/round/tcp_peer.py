"""A peer of `round` that averages over plain TCP: what simple code reaches that knows all peers beforehand.

Each peer owns one slice. It sends the other owners its parts of their slices, adds up what it is sent of its own, piece
by piece, and sends the means back; one connection to each other peer carries all of that, with nothing but values on
it. Nothing is encrypted, compared, or tried again, so this is the floor for whole rounds on a link.

Owns the connections and the threads, two for each connection. Does not weigh.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.round.contender import MEET_TIMEOUT_S, Contender, Job, Timing, address_of, connected_to, wait_until
from gossiptrain.core.averaging import Vector

PIECE_ELEMENTS = 16 << 10


class OwnSlice:
    """The slice that this peer reduces: all threads that read put parts in, all that write take means out."""

    def __init__(self, mean: Vector, *, peers: int) -> None:
        self._mean = mean
        self._peers = peers
        self._arrived: dict[int, list[Vector]] = {}
        self._changed = threading.Condition()
        self._done: set[int] = set()

    def put(self, start: int, part: Vector) -> None:
        """Adds one peer's part of the piece that begins there; the last one of a piece makes its mean known."""
        with self._changed:
            parts = self._arrived.setdefault(start, [])
            parts.append(part)
            if len(parts) < self._peers:
                return
        mean = self._mean[start : start + len(part)]
        np.copyto(mean, parts[0])
        for other in parts[1:]:
            mean += other
        mean /= self._peers
        with self._changed:
            del self._arrived[start]
            self._done.add(start)
            self._changed.notify_all()

    def wait_for(self, start: int) -> None:
        """Until the mean of the piece that begins there is known."""
        with self._changed:
            self._changed.wait_for(lambda: start in self._done)


class PlainTcp(Contender):
    """Slices of equal length, in the order of the ranks."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._own = np.zeros(job.elements, np.float32)
        self._average = np.zeros(job.elements, np.float32)
        bounds = [rank * job.elements // job.peers for rank in range(job.peers + 1)]
        self._slices = [slice(*bounds[rank : rank + 2]) for rank in range(job.peers)]
        self._connections: dict[int, socket.socket] = {}
        self._listener = socket.create_server((job.host, 0))
        self._listener.settimeout(MEET_TIMEOUT_S)
        self._threads = ThreadPoolExecutor(2 * job.peers)

    def open(self) -> str:
        return address_of(self._listener)

    def meet(self, addresses: Sequence[str]) -> None:
        for rank in range(self.job.rank):
            self._connections[rank] = connected_to(addresses[rank])
            self._connections[rank].sendall(bytes([self.job.rank]))
        for _ in range(self.job.rank + 1, self.job.peers):
            connection, _ = self._listener.accept()
            self._connections[connection.recv(1)[0]] = connection
        for connection in self._connections.values():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self.job.longest_s)

    def prepare(self) -> None:
        self.contributions.write(self.job.rank, self._own)

    def run(self, begin_s: float) -> Timing:
        wait_until(begin_s)
        started_s = time.monotonic()
        own_slice = OwnSlice(self._average[self._slices[self.job.rank]], peers=self.job.peers)
        own_part = self._own[self._slices[self.job.rank]]
        for start, stop in pieces(len(own_part)):
            own_slice.put(start, own_part[start:stop])
        work = [
            self._threads.submit(way, rank, own_slice)
            for rank in self._connections
            for way in (self._send, self._receive)
        ]
        for done in work:
            done.result()
        seconds = time.monotonic() - started_s
        return Timing(0.0, seconds, seconds)

    def error(self) -> float:
        return self.contributions.error(self._average)

    def close(self) -> None:
        self._listener.close()
        for connection in self._connections.values():
            connection.close()
        self._threads.shutdown(wait=False)

    def _send(self, rank: int, own_slice: OwnSlice) -> None:
        connection = self._connections[rank]
        connection.sendall(self._own[self._slices[rank]].data.cast("B"))
        means = self._average[self._slices[self.job.rank]]
        for start, stop in pieces(len(means)):
            own_slice.wait_for(start)
            connection.sendall(means[start:stop].data.cast("B"))

    def _receive(self, rank: int, own_slice: OwnSlice) -> None:
        connection = self._connections[rank]
        own = self._slices[self.job.rank]
        for start, stop in pieces(own.stop - own.start):
            part = np.empty(stop - start, np.float32)
            read_into(connection, part)
            own_slice.put(start, part)
        read_into(connection, self._average[self._slices[rank]])


def pieces(elements: int) -> Iterator[tuple[int, int]]:
    """Where each piece of a slice begins and ends."""
    for start in range(0, elements, PIECE_ELEMENTS):
        yield start, min(start + PIECE_ELEMENTS, elements)


def read_into(connection: socket.socket, target: Vector) -> None:
    """Reads values until `target` is full. Raises ConnectionError at the end of the connection."""
    left = target.data.cast("B")
    while left:
        received = connection.recv_into(left)
        if not received:
            raise ConnectionError("the other peer has gone")
        left = left[received:]
