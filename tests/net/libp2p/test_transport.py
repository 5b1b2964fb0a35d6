"""Libp2p only: the daemon's life, ports, and what hostile peers may put into the directory."""

from __future__ import annotations

import asyncio
import importlib.resources
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import msgpack  # type: ignore[import-untyped]
import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import AddressError, PortInUseError
from gossiptrain.net.addresses import parse_listen_address
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.daemon import remove_stale_folders
from gossiptrain.net.libp2p.directory import BoundedSerializer
from gossiptrain.net.libp2p.libp2p_daemon import daemon_options
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.ports import check_listening
from gossiptrain.net.transport import MAX_SUBKEYS, UnreachableError
from tests.net.libp2p.test_directory_codec import HOSTILE, packed
from tests.net.test_conformance import PROTOCOL, idle
from tests.transports import MakeTransport, is_running, run_on, until

# isort: split
# After the import of libp2p, which has loaded these modules without the rest of hivemind.
from hivemind.dht.routing import DHTID
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PHandlerError
from hivemind.proto import dht_pb2

OWNER = """
import asyncio, os, signal, sys
from pathlib import Path
from gossiptrain.net.libp2p.daemon import Daemon, PrivateFolder
from gossiptrain.net.identity import Identity

async def main():
    folder = PrivateFolder()
    Path(folder.path, "identity").write_bytes(Identity.generate().to_protobuf())
    command = [word.replace("FOLDER", str(folder.path)) for word in sys.argv[1:]]
    daemon = await Daemon.start(command, environment={}, timeout_s=30)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    print(daemon.process.pid, folder.path, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
"""Owns a daemon that is stopped. It does without hivemind, whose import takes seconds."""


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's promise is Linux's")
def test_a_killed_owner_leaves_nothing_even_when_its_daemon_is_stopped() -> None:
    binary = importlib.resources.files("hivemind.hivemind_cli") / "p2pd"
    options = daemon_options(NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",)), folder=Path("/FOLDER"))
    command = [sys.executable, "-c", OWNER, str(binary), *(option.replace("/FOLDER", "FOLDER") for option in options)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid_text, folder_text = owner.stdout.readline().split()
        pid, folder = int(pid_text), Path(folder_text)
        assert is_running(pid)
        remove_stale_folders()
        assert folder.exists()  # its owner lives
        owner.kill()
        owner.wait()
    asyncio.run(until(lambda: not is_running(pid), limit_s=2))
    assert (folder / "daemon.sock").exists()
    remove_stale_folders()  # every start does it
    assert not folder.exists()


def test_the_key_is_nowhere_once_the_daemon_runs() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        assert {entry.name for entry in alice.private_folder.iterdir()} == {"daemon.sock", "streams.sock"}

    on_libp2p(scenario)


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
        while await alice.daemon_alive(0.2):
            pass  # its threads do not all stop at once
        await alice.close()  # half a second later, by force
        assert not is_running(alice.daemon_pid)

    on_libp2p(scenario)


def test_a_start_that_is_given_up_leaves_nothing() -> None:
    before = living_children()  # such as the resource tracker of `multiprocessing`, which lives as long as this one

    async def main() -> None:
        for wait_s in (0.0, 0.02, 0.08, 0.12):
            starting = asyncio.create_task(start("/ip4/127.0.0.1/tcp/0"))
            await asyncio.sleep(wait_s)
            if starting.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await starting
            else:
                await starting.result().close()
            await until(lambda: living_children() <= before)

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


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_serializer_of_the_directory_is_bounded(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(a record|a dictionary|an entry)"):
        BoundedSerializer.loads(record)


def test_what_has_no_sane_expiration_is_dropped() -> None:
    now_s = time.time()
    value = msgpack.packb(b"v")
    times = {"good": now_s + 60, "past": now_s - 1, "far": now_s + 1e9, "inf": math.inf, "nan": math.nan}
    decoded = BoundedSerializer.loads(packed([[name, value, at] for name, at in times.items()]))
    assert [subkey for subkey, _ in decoded.items()] == ["good"]  # type: ignore[attr-defined]


def forged_store(name: bytes, value: bytes, *, expires_at_s: float) -> dht_pb2.StoreRequest:
    """A request to keep an entry of the key "run" as hivemind's protocol has it, with whatever content."""
    return dht_pb2.StoreRequest(
        keys=[DHTID.generate("run").to_bytes()],
        subkeys=[name],
        values=[value],
        expiration_time=[expires_at_s],
        in_cache=[False],
    )


def test_hostile_entries_are_not_stored() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        victim = bob.directory._node.protocol.get_stub(PeerID.from_base58(alice.peer_id))

        async def store(name: bytes, value: bytes, *, lifetime_s: float = 60.0) -> list[bool]:
            request = forged_store(name, value, expires_at_s=time.time() + lifetime_s)
            return list((await victim.rpc_store(request, timeout=10)).store_ok)

        assert await alice.directory.put("run", "alice", b"honest", lifetime_s=60)
        name, value = msgpack.packb("mallory"), msgpack.packb(b"v")
        assert await store(name, value) == [True]
        for lifetime_s in (math.nan, math.inf, 1e9):
            assert await store(name, value, lifetime_s=lifetime_s) == [False]
        plain = msgpack.packb(None)  # hivemind's name for a value without subkeys; it would shut out the others
        for hostile in (plain, msgpack.packb(7), msgpack.packb(""), b"\x91" * 5000):
            assert await store(hostile, value, lifetime_s=3000) == [False]
        for hostile in (b"", b"\xc1", plain, msgpack.packb(bytes(1025)), packed([])):
            assert await store(name, hostile) == [False]
        for record in HOSTILE.values():
            with pytest.raises(P2PHandlerError, match="RecordError"):
                await store(b"", record)  # no name: a whole dictionary
        flood = [[f"flood {number}", value, time.time() + 30 + number] for number in range(MAX_SUBKEYS)]
        assert len(await store(b"", packed(flood[: MAX_SUBKEYS // 2]))) == 1
        assert len(await store(b"", packed(flood[MAX_SUBKEYS // 2 :]))) == 1
        found = await alice.directory.get("run")
        assert len(found) == MAX_SUBKEYS
        assert set(found.values()) <= {b"honest", b"v"}

    on_libp2p(scenario)


def test_hostile_answers_are_passed_over() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        mallory, node = bob.directory._node.protocol, alice.directory._node
        await bob.directory.put("run", "bob", b"honest", lifetime_s=60)
        for expected, record in (
            ({}, HOSTILE["deep extensions"]),
            ({}, HOSTILE["huge"]),
            ({}, HOSTILE["value is text"]),
            ({}, packed([["mallory", b"\xc1", time.time() + 60]])),
            ({}, packed([["mallory", msgpack.packb(b"v"), math.nan]])),
            ({"mallory": b"v"}, packed([["mallory", msgpack.packb(b"v"), time.time() + 60]])),
        ):
            lie = Mock(return_value=record)
            mallory.serializer = SimpleNamespace(dumps=lie, loads=BoundedSerializer.loads)
            node.protocol.storage.clear()
            node.blacklist.clear()
            await alice.bootstrap([bob.peer_id])
            assert await alice.directory.get("run") == expected
            lie.assert_called()

    on_libp2p(scenario)


def test_malformed_requests_make_no_noise() -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        victim = bob.directory._node.protocol.get_stub(PeerID.from_base58(alice.peer_id))
        forged = dht_pb2.NodeInfo(node_id=b"x" * 100)
        with pytest.raises(P2PHandlerError):
            await victim.rpc_ping(dht_pb2.PingRequest(peer=forged), timeout=10)
        # hivemind answers this one from a task that nobody waits for.
        await victim.rpc_find(dht_pb2.FindRequest(keys=[], peer=forged), timeout=10)
        assert await bob.directory.get("run") == {}

    on_libp2p(scenario)


def test_a_wrong_clock_does_not_keep_a_peer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(alice: Libp2pTransport, bob: Libp2pTransport) -> None:
        monkeypatch.setattr(sys.modules["hivemind.dht.protocol"], "get_dht_time", lambda: time.time() + 1000)
        await alice.bootstrap([bob.peer_id])
        monkeypatch.undo()
        assert await alice.directory.put("run", "alice", b"v", lifetime_s=60)
        assert await bob.directory.get("run") == {"alice": b"v"}

    on_libp2p(scenario)
