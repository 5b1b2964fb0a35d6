"""Libp2p only: the daemon's life, ports, and what hostile peers may put into the directory."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import AddressError, PortInUseError
from gossiptrain.net.addresses import parse_listen_address
from gossiptrain.net.daemon import remove_stale_folders
from gossiptrain.net.directory import MAX_SUBKEYS
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p import BoundedSerializer, Libp2pTransport
from gossiptrain.net.ports import check_listening
from gossiptrain.net.transport import Stream, UnreachableError
from tests.net.test_conformance import PROTOCOL, idle
from tests.net.test_directory_codec import DICTIONARY, HOSTILE, packed
from tests.transports import MakeTransport, is_running, run_on, until

OWNER = """
import asyncio
from gossiptrain.config import NetworkSettings
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p import Libp2pTransport

async def main():
    settings = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",))
    transport = await Libp2pTransport.start(settings, Identity.generate())
    print(transport.daemon_pid, transport.private_folder, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def start(*addresses: str, **settings: Any) -> Libp2pTransport:
    """A peer with a new identity that listens at `addresses`."""
    return await Libp2pTransport.start(NetworkSettings(host_maddrs=addresses, **settings), Identity.generate())


def on_libp2p(scenario: Callable[[Libp2pTransport, Libp2pTransport], Awaitable[None]]) -> None:
    """Runs `scenario` with two peers, connected and in one directory."""

    async def with_two(make: MakeTransport) -> None:
        alice, bob = await asyncio.gather(make("alice"), make("bob"))
        assert isinstance(alice, Libp2pTransport)
        assert isinstance(bob, Libp2pTransport)
        await alice.bootstrap([await alice.connect(bob.addresses[0])])
        await scenario(alice, bob)

    run_on("libp2p", with_two)


def test_a_killed_owner_leaves_nothing_even_when_its_daemon_is_stopped() -> None:
    owner = subprocess.Popen([sys.executable, "-W", "ignore", "-c", OWNER], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid_text, folder_text = owner.stdout.readline().split()
        pid, folder = int(pid_text), Path(folder_text)
        os.kill(pid, signal.SIGSTOP)
        owner.kill()
        owner.wait()
    asyncio.run(until(lambda: not is_running(pid), limit_s=2))
    assert {entry.name for entry in folder.iterdir()} == {"daemon.sock", "streams.sock"}  # and no key
    remove_stale_folders()  # every start does it
    assert not folder.exists()


def test_a_dead_daemon_is_noticed() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        await bob.serve(PROTOCOL, idle)
        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
        assert await alice.daemon_alive(10)
        assert not alice.daemon_exited.is_set()
        os.kill(alice.daemon_pid, signal.SIGKILL)
        await alice.daemon_exited.wait()
        assert not await alice.daemon_alive(10)
        with pytest.raises(ConnectionError):
            await stream.read_exactly(1)
        for attempt in (alice.open_stream(bob.peer_id, PROTOCOL), alice.connect(bob.addresses[0])):
            with pytest.raises(UnreachableError, match="daemon has ended"):
                await attempt
        with pytest.raises(UnreachableError, match="daemon has ended"):
            await alice.serve("/test/late", idle)
        assert not await alice.directory.put("k", "s", b"v", lifetime_s=60)
        assert await alice.directory.get("k") == {}
        await alice.bootstrap([bob.peer_id])

    on_libp2p(scenario)


def test_a_stopped_daemon_is_noticed_and_can_be_closed() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        os.kill(alice.daemon_pid, signal.SIGSTOP)
        assert not await alice.daemon_alive(0.1)
        started = time.monotonic()
        await alice.close()
        assert time.monotonic() - started < 2
        assert not is_running(alice.daemon_pid)

    on_libp2p(scenario)


def test_a_start_that_is_given_up_leaves_nothing() -> None:
    async def main() -> None:
        for wait_s in (0.0, 0.02, 0.08, 0.12):
            before = set(Path("/proc/self/task").glob("*/children"))
            starting = asyncio.create_task(start("/ip4/127.0.0.1/tcp/0"))
            await asyncio.sleep(wait_s * random.Random(1).uniform(0.5, 1.5))
            if starting.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await starting
            else:
                await starting.result().close()
            assert before
            await until(lambda: not living_children())

    asyncio.run(main())


def living_children() -> set[int]:
    """Processes that this one has started and that still run."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for children in lists for pid in children.read_text().split() if is_running(int(pid))}


def test_a_port_in_use_is_named() -> None:
    async def scenario(make: MakeTransport) -> None:
        taken = (await make("alice")).addresses[0].rpartition("/p2p/")[0]
        port = taken.rpartition("/")[2]
        for asked in (taken, f"/ip4/0.0.0.0/tcp/{port}"):  # libp2p itself would share the port
            with pytest.raises(PortInUseError, match=f"Port {port} is in use"):
                await start("/ip4/127.0.0.1/tcp/0", asked)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(PortInUseError, match=f"Port {port} is in use"):
                await start(f"/ip4/127.0.0.1/tcp/{port}")

    run_on("libp2p", scenario)


def test_a_daemon_that_does_not_listen_everywhere_is_found_out() -> None:
    asked = [parse_listen_address(f"/ip4/0.0.0.0/tcp/{port}") for port in (0, 4011, 4012)]
    visible = ["/ip4/127.0.0.1/tcp/4011/p2p/12D3KooWQ83jHV1BGBEkvfZNsgAqqwts6ik4HBtjjiq6dQxvFSgh"]
    with pytest.raises(PortInUseError, match="4012"):
        check_listening(asked, visible)
    check_listening(asked[:2], visible)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/ip4/203.0.113.7/tcp/0", "has this address"),
        ("/dns4/example.org/tcp/0", "not on a name"),
        ("/ip4/0.0.0.0/udp/0", "QUIC"),
    ],
)
def test_an_address_that_nobody_can_listen_at_is_refused(address: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        asyncio.run(start(address))


def has_ipv6() -> bool:
    """Whether this computer has an IPv6 loopback."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_every_way_to_listen_can_be_dialled() -> None:
    async def main() -> None:
        asked = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", *(["/ip6/::1/tcp/0"] if has_ipv6() else [])]
        async with asyncio.timeout(30):
            bob = await start(*asked)
            assert len(bob.addresses) == len(asked)
            for address in bob.addresses:
                alice = await start("/ip4/127.0.0.1/tcp/0")
                assert await alice.connect(address) == bob.peer_id
                await alice.close()
            await bob.close()

    asyncio.run(main())


def test_others_are_told_the_announced_address() -> None:
    async def main() -> None:
        announced = "/dns4/example.org/tcp/4011"
        alice = await start("/ip4/127.0.0.1/tcp/0", announce_maddrs=(announced,))
        assert alice.addresses == (f"{announced}/p2p/{alice.peer_id}",)
        await alice.close()
        with pytest.raises(AddressError, match="real port"):
            await start("/ip4/127.0.0.1/tcp/0", announce_maddrs=("/ip4/203.0.113.7/tcp/0",))

    asyncio.run(main())


def test_with_relays_a_peer_starts_as_well() -> None:
    async def main() -> None:
        alice = await start("/ip4/127.0.0.1/tcp/0", relay=True)
        bob = await start("/ip4/127.0.0.1/tcp/0", relay=True, initial_peers=alice.addresses)
        await bob.connect(alice.addresses[0])
        await bob.close()
        await alice.close()

    asyncio.run(main())


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_serializer_of_the_directory_is_bounded(record: bytes) -> None:
    with pytest.raises(ValueError, match="^(a record|a dictionary|an entry)"):
        BoundedSerializer.loads(record)


def test_what_has_no_sane_expiration_is_dropped() -> None:
    now_s = time.time()
    value = msgpack.packb(b"v")
    times = {"good": now_s + 60, "past": now_s - 1, "far": now_s + 1e9, "inf": math.inf, "nan": math.nan}
    decoded = BoundedSerializer.loads(packed([[name, value, at] for name, at in times.items()]))
    assert [subkey for subkey, _ in decoded.items()] == ["good"]  # type: ignore[attr-defined]


def test_hostile_entries_are_not_stored_and_do_no_harm() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        assert await alice.directory.put("run", "alice", b"honest", lifetime_s=60)
        mallory = bob.directory.node
        key = type(mallory.node_id).generate(source="run")
        victim = mallory.protocol.routing_table[mallory.protocol.routing_table.get(peer_id=PeerIdOf(alice))]
        now_s, good = time.time(), msgpack.packb(b"v")

        async def store(subkey: bytes, value: bytes, expires_at_s: float = now_s + 60) -> object:
            return await mallory.protocol.get_stub(victim).rpc_store(
                store_request(key.to_bytes(), subkey, value, expires_at_s), timeout=10
            )

        name = msgpack.packb("mallory")
        assert list((await store(name, good)).store_ok) == [True]  # type: ignore[attr-defined]
        for subkey, value, expires_at_s in (
            (name, good, math.nan),
            (name, good, math.inf),
            (name, good, now_s + 1e9),
            (name, b"\xc1", now_s + 60),
            (name, msgpack.packb(bytes(1025)), now_s + 60),
            (msgpack.packb(None), good, now_s + 3000),  # a plain value would shut out the dictionary
            (msgpack.packb(7), good, now_s + 60),
            (b"\x91" * 5000, good, now_s + 60),
        ):
            assert list((await store(subkey, value, expires_at_s)).store_ok) == [False]  # type: ignore[attr-defined]
        for record in HOSTILE.values():
            with pytest.raises(Exception, match="Record|assert|Assertion"):
                await store(b"", record)
        flood = [[f"flood{i}", good, now_s + 30 + i / 1000] for i in range(MAX_SUBKEYS)]
        await store(b"", packed(flood))
        found = await alice.directory.get("run")
        assert len(found) <= MAX_SUBKEYS
        assert found["alice"] == b"honest"
        assert found["mallory"] == b"v"
        assert await alice.daemon_alive(10)

    on_libp2p(scenario)
