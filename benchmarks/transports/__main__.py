"""Whether another transport could replace libp2p's daemon: what of the common suite iroh keeps, and what it costs.

    python -m benchmarks.transports
    python -m benchmarks.transports --repetitions 5 --megabytes 400

Two peers of this computer in one process, on the daemons' streams, on direct connections beside them, and on iroh,
in turns. `ask`: from opening a stream to a protocol until a question of 100 bytes is answered, median of 100. `bulk`:
one stream one way. Processor time and memory count the daemons, too.

Owns what is measured, and the table. Does not know how iroh is spoken to: that is `iroh_transport`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.transports.iroh_transport import IrohTransport
from gossiptrain.config import NetworkSettings
from gossiptrain.net.direct.connections import DIRECT_WORTH_BYTES
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import Stream, Transport

ASK, BULK = "/benchmark/ask", "/benchmark/bulk"
ASKED = 100
QUESTION = bytes(100)
MEGABYTE = 1 << 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SUITE = ["tests/net/test_conformance.py", "-k", "libp2p and not direct", "-p", "benchmarks.transports.conformance"]


@dataclass(frozen=True)
class Found:
    """One turn of one transport. memory_mb: of both peers beyond what the process had before."""

    kind: str
    start_s: float
    connect_ms: float
    ask_ms: float
    bulk_mb_per_s: float
    processor_s_per_gb: float
    memory_mb: float


async def measure(kind: str, *, megabytes: int) -> Found:
    """One turn."""
    resident_before = _resident_mb(os.getpid())
    began_s = time.perf_counter()
    alice, bob = await asyncio.gather(_start(kind), _start(kind))
    started_s = time.perf_counter()
    try:
        await alice.connect(bob.addresses[0])
        connected_s = time.perf_counter()
        bulk_bytes = DIRECT_WORTH_BYTES if kind == "direct" else 0
        ask_s = await _ask(alice, bob, bulk_bytes=bulk_bytes)
        used_s, bulk_began_s = _processor_s(alice, bob), time.perf_counter()
        await _carry(alice, bob, megabytes, bulk_bytes=bulk_bytes)
        took_s, used_s = time.perf_counter() - bulk_began_s, _processor_s(alice, bob) - used_s
        resident = _resident_mb(os.getpid()) - resident_before + sum(map(_resident_mb, _daemons(alice, bob)))
    finally:
        await alice.close()
        await bob.close()
    return Found(
        kind,
        start_s=started_s - began_s,
        connect_ms=1e3 * (connected_s - started_s),
        ask_ms=1e3 * ask_s,
        bulk_mb_per_s=megabytes / took_s,
        processor_s_per_gb=1024 * used_s / megabytes,
        memory_mb=resident,
    )


async def _start(kind: str) -> Transport:
    identity = Identity.generate()
    if kind == "iroh":
        return await IrohTransport.start(identity)
    return await Libp2pTransport.start(NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",)), identity)


async def _ask(alice: Transport, bob: Transport, *, bulk_bytes: int) -> float:
    async def reply(stream: Stream) -> None:
        await stream.write(await stream.read_exactly(len(QUESTION)))

    async def ask() -> None:
        stream = await alice.open_stream(bob.peer_id, ASK, bulk_bytes=bulk_bytes)
        await stream.write(QUESTION)
        await stream.read_exactly(len(QUESTION))
        await stream.close()

    await bob.serve(ASK, reply)
    return statistics.median([await _timed(ask) for _ in range(ASKED)])


async def _timed(action: Callable[[], Awaitable[None]]) -> float:
    began_s = time.perf_counter()
    await action()
    return time.perf_counter() - began_s


async def _carry(alice: Transport, bob: Transport, megabytes: int, *, bulk_bytes: int) -> None:
    async def take(stream: Stream) -> None:
        target = memoryview(bytearray(MEGABYTE))
        for _ in range(megabytes):
            await stream.read_into(target)
        await stream.write(b"!")

    await bob.serve(BULK, take)
    stream = await alice.open_stream(bob.peer_id, BULK, bulk_bytes=bulk_bytes)
    content = os.urandom(MEGABYTE)
    for _ in range(megabytes):
        await stream.write(content)
    await stream.read_exactly(1)
    await stream.close()


def _daemons(*peers: Transport) -> list[int]:
    return [peer.daemon_pid for peer in peers if isinstance(peer, Libp2pTransport)]


def _processor_s(*peers: Transport) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for pid in _daemons(*peers):
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return own.ru_utime + own.ru_stime + ticks / TICKS_PER_S


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def _spread(samples: list[float]) -> str:
    return f"{statistics.median(samples):.4g} ({min(samples):.4g} to {max(samples):.4g})"


def main() -> int:
    """Runs the suite on iroh, measures all three in turns, and prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=whole_number(1), default=5, metavar="N", help="(5)")
    parser.add_argument("--megabytes", type=whole_number(1), default=200, metavar="N", help="of one bulk stream (200)")
    parser.add_argument("--no-suite", action="store_true", help="measure only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where = machine()
    found = [
        asyncio.run(measure(kind, megabytes=given.megabytes))
        for _ in range(given.repetitions)
        for kind in ("libp2p", "direct", "iroh")
    ]
    figures = list(Found.__annotations__)[1:]
    rows = []
    for kind in ("libp2p", "direct", "iroh"):
        samples = [[getattr(one, figure) for one in found if one.kind == kind] for figure in figures]
        rows.append([kind, *map(_spread, samples)])
    show_table("two peers in one process: median, least and most", ["transport", *figures], rows)
    if given.json is not None:
        write_json(given.json, benchmark="transports", measured_on=where, results=found)
    if not given.no_suite:
        print("The suite that every transport must pass, on iroh:", flush=True)
        subprocess.run([sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *SUITE], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
