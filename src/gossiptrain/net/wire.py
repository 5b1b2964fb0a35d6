"""One connected non-blocking socket in an event loop.

Owns the waiting for bytes and for room, straight into and out of the callers' memory: no buffer of its own, so a
cancelled wait loses nothing that had not been handed over. Does not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from gossiptrain.net.congestion import Departures, LineShare, Room, suit_to_path
from gossiptrain.net.transport import Buffer, StreamClosedError

ENDED_HERE = "this side has closed the stream"
ENDED_THERE = "the other side, or the network between, has ended the stream"


class Wire:
    """A socket that one task at a time reads while another one writes. Used only in the loop in which it is made."""

    def __init__(self, connection: socket.socket) -> None:
        """Owns `connection` from now on."""
        connection.setblocking(False)
        self._socket = connection
        self._descriptor = connection.fileno()
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bool, asyncio.Future[None]] = {}
        self._is_watched = False
        self._wakes_at_bytes = 1
        self._departures = Departures(connection)
        self._room = Room(connection)
        self.ended = False

    def suit_to_path(self) -> None:
        """Has TCP adapt to the path as suits it best; after a few bytes have gone there and back."""
        suit_to_path(self._socket)

    def share_line(self, share: LineShare | None) -> None:
        """Has the other side send no more ahead than keeps the line busy; None: as much as there is room for."""
        if not self.ended:
            self._room.share(share)

    def keep_to_share(self) -> None:
        """Does so again where the kernel has thought otherwise; costs no more than a look."""
        if not self.ended:
            self._room.keep()

    def waits_for_line(self) -> bool:
        """Whether bytes that were sent wait for a far line, and not for the other side; see `congestion.Departures`."""
        return self._departures.wait_for_line()

    async def receive(self, target: memoryview) -> int:
        """Waits for bytes and writes some into `target`; returns how many, at least 1. Raises StreamClosedError."""
        while True:
            received = self.receive_now(target)
            if received:
                return received
            await self.until_readable()

    async def until_readable(self, *, at_least_bytes: int = 1) -> None:
        """Until there are bytes to receive, or the end, or the connection is ended on this side.

        at_least_bytes: so many are surely still to come, and fewer are of no use. On a slow link, where they come a
        packet at a time, this wakes the process less often; the training beside it has the processor meanwhile.
        """
        self._wake_at(at_least_bytes)
        await self._until_ready(to_read=True)

    def receive_now(self, target: memoryview) -> int:
        """Writes into `target` what is there already; 0 where there is nothing yet. Raises StreamClosedError."""
        if self.ended:
            raise StreamClosedError(ENDED_HERE)
        try:
            received = self._socket.recv_into(target)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise StreamClosedError(ENDED_THERE) from error
        if not received:
            raise StreamClosedError(ENDED_THERE)
        return received

    async def receive_exactly(self, size_bytes: int) -> bytes:
        """The next `size_bytes` bytes; for a few, since they are copied. Raises StreamClosedError.

        Where it is cancelled, the bytes that had come are lost.
        """
        data = bytearray(size_bytes)
        left = memoryview(data)
        while left:
            left = left[await self.receive(left) :]
        return bytes(data)

    async def send(self, data: Buffer) -> None:
        """Hands all of `data` to the kernel, waiting for room. Raises StreamClosedError."""
        left = memoryview(data).cast("B")
        while left:
            if self.ended:
                raise StreamClosedError(ENDED_HERE)
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, InterruptedError):
                await self._until_ready(to_read=False)
            except OSError as error:
                raise StreamClosedError(ENDED_THERE) from error

    def send_now(self, data: Buffer) -> bool:
        """Hands `data` to the kernel without waiting. Raises StreamClosedError.

        Says whether there was room for all of it; where there was not, the connection is of no more use.
        """
        if self.ended:
            raise StreamClosedError(ENDED_HERE)
        try:
            return self._socket.send(data) == memoryview(data).nbytes
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise StreamClosedError(ENDED_THERE) from error

    def watch(self, on_readable: Callable[[], None]) -> None:
        """Calls it whenever there are bytes to receive, or the end, until `stop_watching`; nobody receives then."""
        if not self.ended:
            self._wake_at(1)
            self._is_watched = True
            self._loop.add_reader(self._descriptor, on_readable)

    def stop_watching(self) -> None:
        """From now on bytes are received as usual. Does nothing where nobody watches."""
        if self._is_watched:
            self._is_watched = False
            self._stop_waiting(to_read=True)

    def end(self) -> None:
        """Closes the socket: what was handed to the kernel still leaves. Whoever waits here sees StreamClosedError."""
        if self.ended:
            return
        self.ended = True
        self.stop_watching()
        for to_read, waiting in self._waiting.items():
            # Before the descriptor is closed, since its number may be given out again at once.
            self._stop_waiting(to_read=to_read)
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()
        self._socket.close()

    def _wake_at(self, size_bytes: int) -> None:
        if size_bytes != self._wakes_at_bytes and not self.ended:
            self._wakes_at_bytes = size_bytes
            with contextlib.suppress(OSError):  # where the system does not know it, each packet wakes
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    async def _until_ready(self, *, to_read: bool) -> None:
        ready = self._loop.create_future()
        self._waiting[to_read] = ready
        watch = self._loop.add_reader if to_read else self._loop.add_writer
        watch(self._descriptor, _settle, ready)
        try:
            await ready
        finally:
            if self._waiting.get(to_read) is ready:
                del self._waiting[to_read]
                self._stop_waiting(to_read=to_read)

    def _stop_waiting(self, *, to_read: bool) -> None:
        stop = self._loop.remove_reader if to_read else self._loop.remove_writer
        stop(self._descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
