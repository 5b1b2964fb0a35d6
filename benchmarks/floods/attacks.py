"""The floods, each for so many seconds against the ports of one peer: `python -m benchmarks.floods.attacks KIND ...`.

Owns what a stranger does, over the network only and with no link: streams and connections on which nothing is said,
identities that knock, words of one byte a second, lengths that cannot be. Says what it came to.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.floods.dialect import MULTISTREAM, HostileConnection, line
from benchmarks.speaking_process import say
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.net.framing import encode_message
from gossiptrain.swarm.access.private import KNOCK_BYTES
from gossiptrain.swarm.messages import Knock

_OWN = ("hello", "reachable", "whereabouts", "direct", "heartbeats", "ready", "state", "exchange", "probe")
_OF_LIBP2P = ("DHTProtocol.rpc_ping", "DHTProtocol.rpc_find", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0")
SERVED = (*(f"/gossiptrain/{name}" for name in _OWN), *_OF_LIBP2P)
STREAMS_OF_ONE = 200
"""Silent streams that each identity opens before there is another one."""
AT_ONCE = 32
REFUSED_PAUSE_S = 0.02


@dataclass
class Flood:
    """One attack while it goes on. counts: what was done, and how much of it was refused."""

    host: str
    port: int
    direct_port: int
    until_s: float
    count: int
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until_s

    async def in_parallel(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Again and again, some at a time, until the time is over."""

        async def worker() -> None:
            while not self.is_over:
                try:
                    await attempt()
                except (OSError, EOFError, ValueError):
                    self.counts["refused"] += 1
                    await asyncio.sleep(REFUSED_PAUSE_S)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def streams(self, words: Callable[[str], bytes] = lambda protocol: b"") -> None:
        """So many streams on which nothing is said after their protocol; who has reset them is sent new ones."""
        pace_s = (self.until_s - time.monotonic()) / max(1, self.count)
        began_s = time.monotonic()

        async def attempt() -> None:
            connection = await HostileConnection.open(self.host, self.port)
            self.counts["identities"] += 1
            listening = asyncio.create_task(connection.listen())
            try:
                for _ in range(STREAMS_OF_ONE):
                    number = self.counts["streams"]
                    if self.is_over or number >= self.count or listening.done():
                        break
                    await asyncio.sleep(began_s + number * pace_s - time.monotonic())
                    protocol = SERVED[number % len(SERVED)]
                    self.counts["streams"] += 1
                    await connection.begin(line(MULTISTREAM) + line(protocol) + words(protocol))
                await asyncio.wait([listening], timeout=max(0.0, self.until_s - time.monotonic()))
            finally:
                self.counts["reset"] += connection.refused
                self.counts["open at the end"] += len(connection.open_streams)
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                connection.close()

        await self.in_parallel_many(attempt)

    async def in_parallel_many(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """As many at a time as it takes for all streams."""
        workers = max(AT_ONCE, self.count // STREAMS_OF_ONE + 1)

        async def worker() -> None:
            while not self.is_over:
                with contextlib.suppress(OSError, EOFError, ValueError):
                    await attempt()
                await asyncio.sleep(0.2)

        await asyncio.gather(*(worker() for _ in range(workers)))

    async def connections(self) -> None:
        """Connections of TCP on which nothing is ever said, half of them to the port for direct connections."""
        opened: list[asyncio.StreamWriter] = []

        async def attempt() -> None:
            number = self.counts["connections"]
            if number >= self.count:
                await asyncio.sleep(0.2)
                return
            self.counts["connections"] += 1
            port = self.port if number % 2 or not self.direct_port else self.direct_port
            _, writer = await asyncio.open_connection(self.host, port)
            opened.append(writer)

        await self.in_parallel(attempt)
        for writer in opened:
            writer.transport.abort()

    async def identities(self) -> None:
        """Identities that knock with a credential that is none; their connections stay open while there is room."""
        kept: list[HostileConnection] = []
        knock = Knock(protocol=PROTOCOL_VERSION, kind="private", shown=secrets.token_bytes(KNOCK_BYTES))
        payload = encode_message(knock)
        words = line(MULTISTREAM) + line("/gossiptrain/hello") + len(payload).to_bytes(4, "big") + payload

        async def attempt() -> None:
            if self.counts["identities"] >= self.count:
                await asyncio.sleep(0.2)
                return
            connection = await HostileConnection.open(self.host, self.port)
            self.counts["identities"] += 1
            listening = asyncio.create_task(connection.listen(keep=True))
            number = await connection.begin(words)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    while not listening.done() and b"KnockReply" not in connection.answers.get(number, b""):
                        connection.heard.clear()
                        await connection.heard.wait()
            self.counts["answered"] += b"KnockReply" in connection.answers.get(number, b"")
            kept.append(connection)

        await self.in_parallel(attempt)
        for connection in kept:
            connection.close()

    async def loris(self) -> None:
        """One byte a second on each of so many streams and connections, of words that would be valid."""

        async def on_stream() -> None:
            connection = await HostileConnection.open(self.host, self.port)
            listening = asyncio.create_task(connection.listen())
            try:
                begun = [
                    await connection.begin(line(MULTISTREAM) + line(SERVED[n % 4]) + b"\0\0\1\0Knock ")
                    for n in range(16)
                ]
                self.counts["streams"] += len(begun)
                while not self.is_over and not listening.done():
                    for number in begun:
                        if number in connection.open_streams:
                            await connection.say(number, b" ")
                    await asyncio.sleep(1.0)
            finally:
                listening.cancel()
                connection.close()

        async def on_port(port: int, words: bytes) -> None:
            _, writer = await asyncio.open_connection(self.host, port)
            self.counts["connections"] += 1
            for byte in words:
                writer.write(bytes([byte]))
                await asyncio.sleep(1.0)
                if self.is_over or writer.transport.is_closing():
                    break
            writer.transport.abort()

        async def attempt() -> None:
            turn = self.counts["turns"] = self.counts["turns"] + 1
            if turn % 3 == 0:
                await on_stream()
            elif turn % 3 == 1:
                await on_port(self.port, line(MULTISTREAM) + line("/noise") + bytes(64))
            else:
                await on_port(self.direct_port or self.port, b"gossiptrain direct\0" + b"0" * 64)

        await self.in_parallel(attempt)

    async def lengths(self) -> None:
        """Streams that announce four gigabytes, and Noise and yamux with the largest lengths there are."""
        await self.streams(lambda protocol: b"\xff\xff\xff\xff" + b"x" * 64)


KINDS = ("streams", "connections", "identities", "loris", "lengths")


async def _run(flood: Flood, kind: str) -> None:
    courses: dict[str, Callable[[], Awaitable[None]]] = {
        "streams": flood.streams,
        "connections": flood.connections,
        "identities": flood.identities,
        "loris": flood.loris,
        "lengths": flood.lengths,
    }
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(flood.until_s - time.monotonic() + 5):
            await courses[kind]()
    say("ended", **flood.counts)


def main() -> None:
    """Floods, and says what it came to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--direct-port", type=int, default=0)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--niceness", type=int, default=19)
    asked = parser.parse_args()
    os.nice(asked.niceness)  # its work is done on another computer; here it must not take what the peers need
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = Flood(asked.host, asked.port, asked.direct_port, time.monotonic() + asked.seconds, asked.count)
    say("began")
    asyncio.run(_run(flood, asked.kind))


if __name__ == "__main__":
    main()
