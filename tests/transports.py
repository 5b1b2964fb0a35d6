"""Runs one scenario on both transports: in memory under virtual time, and on real libp2p daemons on the loopback.

    @on_both_transports
    def test_greeting(kind: Kind) -> None:
        async def scenario(make: MakeTransport) -> None:
            alice, bob = await make("alice"), await make("bob")
            await alice.connect(bob.addresses[0])
            ...

        run_on(kind, scenario)

`make(name)` starts the transport of that name. Each name has one identity, so making it again after `close` restarts
the same peer, on libp2p at another port. All transports are closed when the scenario ends, however it ends. Then the
scenario fails if anything was left behind: a task, an error nobody looked at, a daemon, a folder of sockets.

On the virtual transport a scenario that wants faults passes its own `network`. `clock` of any transport gives the time
that the scenario runs in; never use the computer's.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args

import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.net.identity import Identity
from gossiptrain.net.transport import PeerId, Stream, Transport
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.time import run_virtual

if TYPE_CHECKING:
    from gossiptrain.net.libp2p.transport import Libp2pTransport

Kind = Literal["virtual", "libp2p", "direct"]
"""`direct` is libp2p with every stream opened as one for bulk, and so over a direct connection."""
KINDS: tuple[Kind, ...] = ("virtual", "libp2p")
ResultT = TypeVar("ResultT")
REAL_LIMIT_S = 60.0
"""Longest a scenario may take on real daemons."""

on_both_transports = pytest.mark.parametrize("kind", KINDS)
on_all_streams = pytest.mark.parametrize("kind", get_args(Kind))


class MakeTransport(Protocol):
    """Starts, or starts again, the peer of that name."""

    async def __call__(self, name: str) -> Transport: ...


Scenario = Callable[[MakeTransport], Awaitable[ResultT]]


def run_on(kind: Kind, scenario: Scenario[ResultT], *, network: VirtualNetwork | None = None) -> ResultT:
    """Runs `scenario` on transports of `kind` and checks that nothing is left behind. Returns what it returns."""
    unseen: list[dict[str, Any]] = []
    maker = None if kind == "virtual" else real_makers[kind]()
    gc.freeze()  # so that the collection below looks at the scenario's own objects only
    try:
        if maker is not None:
            result = asyncio.run(_run_limited(maker, scenario, unseen=unseen))
        else:
            result = run_virtual(_run(_VirtualMaker(network or VirtualNetwork()), scenario, unseen=unseen))
        gc.collect()  # an error nobody looked at is reported when its task is thrown away
    finally:
        gc.unfreeze()
    assert not unseen, f"errors that nobody looked at: {unseen}"
    return result


class Maker(Protocol):
    """Makes real transports for one scenario; `close` fails where anything of them is left."""

    async def __call__(self, name: str) -> Transport: ...

    async def close(self) -> None: ...


async def until(condition: Callable[[], bool], *, limit_s: float = 20.0) -> None:
    """Waits until `condition` holds. It is asked about every hundredth of a second; fails after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - not every condition has an event
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _open_direct_only(transport: Libp2pTransport) -> None:
    from gossiptrain.net.direct.connections import DIRECT, DIRECT_WORTH_BYTES

    open_stream = transport.open_stream

    async def open_direct(peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        stream = await open_stream(peer, protocol, bulk_bytes=0 if protocol == DIRECT else DIRECT_WORTH_BYTES)
        assert stream.kind == ("libp2p" if protocol == DIRECT else "direct")
        return stream

    transport.open_stream = open_direct  # type: ignore[method-assign]


class _VirtualMaker:
    def __init__(self, network: VirtualNetwork) -> None:
        self._network = network
        self._made: list[Transport] = []

    async def __call__(self, name: str) -> Transport:
        self._made.append(self._network.transport(name))
        return self._made[-1]

    async def close(self) -> None:
        for transport in self._made:
            await transport.close()


class _Libp2pMaker:
    def __init__(self, *, bulk: bool) -> None:
        from gossiptrain.net.libp2p.transport import Libp2pTransport  # takes seconds, and only some tests need it

        self._start = Libp2pTransport.start
        self._bulk = bulk
        self._made: list[Libp2pTransport] = []
        self._identities: dict[str, Identity] = {}

    async def __call__(self, name: str) -> Transport:
        identity = self._identities.setdefault(name, Identity.generate())
        transport = await self._start(NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",)), identity)
        self._made.append(transport)
        if self._bulk:
            _open_direct_only(transport)
        return transport

    async def close(self) -> None:
        for transport in self._made:
            await transport.close()
        still_running = [transport.daemon_pid for transport in self._made if is_running(transport.daemon_pid)]
        assert not still_running, f"daemons {still_running} outlived their transports"
        left = [transport.private_folder for transport in self._made if transport.private_folder.exists()]
        assert not left, f"folders of closed transports are still there: {left}"


real_makers: dict[Kind, Callable[[], Maker]] = {
    "libp2p": lambda: _Libp2pMaker(bulk=False),
    "direct": lambda: _Libp2pMaker(bulk=True),
}
"""`benchmarks.transports` puts another transport here, to ask what of all this it keeps."""


async def _run(make: Maker, scenario: Scenario[ResultT], *, unseen: list[dict[str, Any]]) -> ResultT:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(make.close)
        result = await scenario(make)
    # Connections that were just closed report it to the loop in its next rounds.
    for _ in range(3):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks that nobody waits for: {left}"
    return result


async def _run_limited(make: Maker, scenario: Scenario[ResultT], *, unseen: list[dict[str, Any]]) -> ResultT:
    async with asyncio.timeout(REAL_LIMIT_S):
        return await _run(make, scenario, unseen=unseen)
