"""The doctor answers in time whatever hangs, stumbles at nothing, and leaves nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.doctor import computer, names, storage
from gossiptrain.doctor.blocking import off_loop
from gossiptrain.doctor.examination import Question, examine
from gossiptrain.doctor.finding import Finding
from gossiptrain.net.libp2p.transport import Libp2pTransport
from tests.doctor.stage import ID

LOCAL = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",))


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """What a check waits for that hangs."""
    event = threading.Event()
    yield event
    event.set()


def asked(*peers: str, within_s: float = 60.0) -> dict[str, Finding]:
    """Findings by the names of their checks."""
    return {found.name: found for found in asyncio.run(examine(Question(peers, network=LOCAL), within_s=within_s))}


def test_a_disk_that_hangs_is_said_and_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    monkeypatch.setattr(storage, "check_disk", lambda out: [hanging.wait()])
    found = asked(within_s=3.0)
    assert found["disk"].verdict == "fault"
    assert "was not done after 3 s" in found["disk"].what
    assert found["memory"].verdict == "ok"


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, hanging: threading.Event) -> None:
    monkeypatch.setattr(names, "NAME_S", 0.1)
    monkeypatch.setattr("socket.getaddrinfo", lambda *told, **more: [hanging.wait()])
    found = asked(f"/dns4/peer.example.org/tcp/4011/p2p/{ID}")
    assert "No name server answers" in found["DNS"].cause
    assert "peer.example.org is not resolved" in found["name"].what


def test_a_check_that_stumbles_does_not_keep_the_others_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble() -> list[Finding]:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(computer, "check_memory", stumble)
    found = asked()
    assert found["memory"].verdict == "not checked"
    assert "ZeroDivisionError: nobody thought of this" in found["memory"].what
    assert found["daemon"].verdict == "ok"


def test_what_is_not_done_in_time_is_not_called_a_fault_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: Libp2pTransport, address: str) -> str:
        await asyncio.sleep(3600)
        return address

    monkeypatch.setattr(Libp2pTransport, "connect", never)
    monkeypatch.setattr("gossiptrain.doctor.acquaintance.HANDSHAKE_S", 3600.0)

    async def ask() -> list[Finding]:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await examine(Question((f"/ip4/127.0.0.1/tcp/{port}/p2p/{ID}",), network=LOCAL), within_s=3.0)

    last = asyncio.run(ask())[-1]
    assert (last.name, last.verdict) == ("more", "not checked")


def test_a_thread_that_nobody_waits_for_may_end_after_its_loop(hanging: threading.Event) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await off_loop(hanging.wait)

    asyncio.run(give_up())
    hanging.set()
    for thread in threading.enumerate():
        if thread.name == "check that may block":
            thread.join()


def test_what_a_blocking_function_raises_is_raised_where_it_is_awaited() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(off_loop(lambda: Path("/no/such/file").read_bytes()))
