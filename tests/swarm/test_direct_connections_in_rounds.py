"""Pulling the plug on direct connections in the middle of a round ends in a commit among the rest or in no change, in
time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from gossiptrain.config import CodecName, GossipSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.net.direct import connections as direct_connections
from gossiptrain.net.direct import path_choice
from gossiptrain.net.direct.acceptor import Acceptor
from gossiptrain.net.direct.dialling import DialCredentials, DirectDialler
from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.direct.stream import DirectStream
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import Buffer
from gossiptrain.net.wire import Wire
from gossiptrain.swarm.participation import AveragedRound
from tests.swarm.swarms import TIMING, Swarm, TestPeer, swarm_of
from tests.transports import MakeTransport, run_on, until

VICTIM, OTHERS = "b", {"a", "c"}
START, MIDDLE, LAST_CHUNK = 0, 700, 1300
"""After how many bytes a connection breaks, of the 1,400 or so that each carries one way."""
DEADLINE_S = TIMING.dial_timeout_s + 4 * TIMING.stall_timeout_s
GARBAGE = b"\x17\x03\x03\x01\x00" + b"rubbish " * 32
"""It has the shape of a sealed record."""
Send = Callable[[Wire, Buffer], Awaitable[None]]
Fault = Callable[[Wire, Buffer, Send], Awaitable[None]]


async def closes_the_socket(wire: Wire, data: Buffer, honest: Send) -> None:
    wire.end()
    await honest(wire, data)


async def stops_for_ever(wire: Wire, data: Buffer, honest: Send) -> None:
    await asyncio.Event().wait()


async def sends_garbage(wire: Wire, data: Buffer, honest: Send) -> None:
    await honest(wire, GARBAGE)


async def changes_one_bit(wire: Wire, data: Buffer, honest: Send) -> None:
    changed = bytearray(data)
    changed[-1] ^= 1
    await honest(wire, changed)


async def forgets_a_record(wire: Wire, data: Buffer, honest: Send) -> None:
    """Later records, if there are any, arrive as they were sealed."""


async def stops_within_a_record(wire: Wire, data: Buffer, honest: Send) -> None:
    await honest(wire, memoryview(data)[:-1])
    await asyncio.Event().wait()


async def goes_byte_by_byte(wire: Wire, data: Buffer, honest: Send) -> None:
    """A chunk takes some ten times as long as anybody waits."""
    for byte in memoryview(data):
        await honest(wire, bytes([byte]))
        await asyncio.sleep(TIMING.stall_timeout_s / 20)


async def is_slow(wire: Wire, data: Buffer, honest: Send) -> None:
    """A chunk takes a fifth of what anybody waits."""
    await asyncio.sleep(TIMING.stall_timeout_s / 5)
    await honest(wire, data)


FAULTS: list[tuple[Fault, int]] = [
    (closes_the_socket, START),
    (closes_the_socket, MIDDLE),
    (closes_the_socket, LAST_CHUNK),
    (stops_for_ever, START),
    (stops_for_ever, MIDDLE),
    (stops_for_ever, LAST_CHUNK),
    (sends_garbage, MIDDLE),
    (changes_one_bit, LAST_CHUNK),
    (forgets_a_record, MIDDLE),
    (stops_within_a_record, MIDDLE),
    (goes_byte_by_byte, MIDDLE),
]


@dataclass
class Plug:
    """Tampers with what one node sends over its connections, once `after_bytes` have gone over each, below its own
    code."""

    honest: Send
    victim: Libp2pTransport | None = None
    fault: Fault = is_slow
    after_bytes: int = 0
    broken: set[Wire] = field(default_factory=set)

    def pull(self, victim: TestPeer, fault: Fault, *, after_bytes: int) -> None:
        """From now on all connections of `victim` break."""
        self.victim, self.fault, self.after_bytes = direct_connections_of(victim), fault, after_bytes

    def put_back(self) -> None:
        """From now on they work."""
        self.victim = None

    async def send(self, wire: Wire, data: Buffer) -> None:
        """What a wire does instead of sending."""
        open_streams = () if self.victim is None else tuple(self.victim._direct._streams)
        direct = [stream for stream in open_streams if isinstance(stream, DirectStream)]
        stream = next((stream for stream in direct if stream._wire.wire is wire), None)
        if stream is None or stream.bytes_sent < self.after_bytes:
            await self.honest(wire, data)
            return
        self.broken.add(wire)
        await self.fault(wire, data, self.honest)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    """The plug of all bulk streams, which are connections however few bytes they are for."""
    made = Plug(Wire.send)

    async def send(wire: Wire, data: Buffer) -> None:
        await made.send(wire, data)

    monkeypatch.setattr(Wire, "send", send)
    monkeypatch.setattr(path_choice, "DIRECT_WORTH_BYTES", 1)
    return made


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """At which port a connection has been dialled, by anybody."""
    made: list[int] = []
    dial = DirectDialler.dial

    async def counting(
        self: DirectDialler, host: IpAddress, port: int, dial_credentials: DialCredentials
    ) -> SealedWire:
        made.append(port)
        return await dial(self, host, port, dial_credentials)

    monkeypatch.setattr(DirectDialler, "dial", counting)
    return made


def direct_connections_of(peer: TestPeer) -> Libp2pTransport:
    transport = peer.swarm.transport
    assert isinstance(transport, Libp2pTransport)
    return transport


def check_that_only_direct_connections_were_used(swarm: Swarm) -> None:
    for peer in swarm.peers.values():
        assert set(direct_connections_of(peer).paths_used.values()) == {"direct"}


def check_all_or_nothing(
    before: dict[str, Vector], swarm: Swarm, rounds: dict[str, AveragedRound | None], *, atol: float
) -> set[str]:
    """Who committed, with one average over exactly these; all others hold what they held, and nobody took too long."""
    names = {peer.id: name for name, peer in swarm.peers.items()}
    committed = {name for name, found in rounds.items() if found is not None and found.result.committed}
    for name, found in rounds.items():
        assert found is not None, "everybody was in the group"
        assert found.result.seconds <= DEADLINE_S
        if name in committed:
            assert {names[member] for member in found.result.members} == committed
        else:
            assert swarm.peers[name].values.tobytes() == before[name].tobytes()
    if committed:
        assert len({swarm.peers[name].values.tobytes() for name in committed}) == 1
        expected = np.mean([before[name] for name in committed], axis=0, dtype=np.float64)
        assert np.allclose(swarm.peers[min(committed)].values, expected, atol=atol)
    return committed


def run_with_a_fault(
    plug: Plug, fault: Fault, *, after_bytes: int = MIDDLE, codec: CodecName = "fp32", rounds_before: int = 0
) -> set[str]:
    """A round in which the victim's connections break, and one after it in which they work; says who committed the
    first.

    rounds_before: after these, connections are kept, and it is those that break.
    """
    atol = 1e-5 if codec == "fp32" else 0.05

    async def scenario(make: MakeTransport) -> set[str]:
        gossip = GossipSettings(matchmaking_time=2.0, codec=codec)
        async with swarm_of(make, 3, settings=gossip) as swarm:
            for _ in range(rounds_before):
                assert len(await all_or_nothing(swarm, atol=atol)) == 3
            plug.pull(swarm.peers[VICTIM], fault, after_bytes=after_bytes)
            committed = await all_or_nothing(swarm, atol=atol)
            assert plug.broken, "connections were used, and the fault was there"
            plug.put_back()
            assert len(await all_or_nothing(swarm, atol=atol)) == 3
            # Not earlier: a round that fails at once may be over before everyone has opened one.
            check_that_only_direct_connections_were_used(swarm)
            return committed

    return run_on("libp2p", scenario)


async def nothing_is_prepared(swarm: Swarm) -> None:
    """Until no connection is being made beforehand."""
    nodes = [direct_connections_of(peer)._direct for peer in swarm.peers.values()]
    await until(lambda: not any(node._preparing for node in nodes))


async def all_or_nothing(swarm: Swarm, *, atol: float = 1e-5) -> set[str]:
    """A round of everybody, checked; says who committed."""
    before = {name: peer.values.copy() for name, peer in swarm.peers.items()}
    return check_all_or_nothing(before, swarm, await swarm.average(), atol=atol)


@pytest.mark.parametrize(("fault", "after_bytes"), FAULTS)
def test_a_broken_connection_leaves_one_average_among_the_rest_or_nothing_changed(
    plug: Plug, fault: Fault, after_bytes: int
) -> None:
    assert run_with_a_fault(plug, fault, after_bytes=after_bytes) in (set(), OTHERS)


@pytest.mark.parametrize(
    ("fault", "after_bytes"), [(closes_the_socket, START), (closes_the_socket, LAST_CHUNK), (stops_for_ever, MIDDLE)]
)
def test_a_kept_connection_that_breaks_does_no_more_harm_than_a_new_one(
    plug: Plug, fault: Fault, after_bytes: int
) -> None:
    assert run_with_a_fault(plug, fault, after_bytes=after_bytes, rounds_before=2) in (set(), OTHERS)


@pytest.mark.parametrize("fault", [closes_the_socket, stops_for_ever])
def test_a_broken_connection_does_no_more_harm_to_coded_chunks(plug: Plug, fault: Fault) -> None:
    assert run_with_a_fault(plug, fault, after_bytes=MIDDLE // 2, codec="bf16") in (set(), OTHERS)


def test_a_slow_connection_holds_the_round_up_and_nobody_is_left_out(plug: Plug) -> None:
    assert run_with_a_fault(plug, is_slow, after_bytes=START) == {VICTIM, *OTHERS}


# Between two rounds.


def test_round_after_round_goes_over_the_same_connections(plug: Plug, dials: list[int]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            assert len(await all_or_nothing(swarm)) == 3
            await nothing_is_prepared(swarm)
            assert len(dials) >= 3 * 2, "one for each pair and direction"
            made = len(dials)
            for _ in range(4):
                assert len(await all_or_nothing(swarm)) == 3
            check_that_only_direct_connections_were_used(swarm)
            assert len(dials) == made

    run_on("libp2p", scenario)


def test_connections_that_end_between_two_rounds_are_replaced_and_nobody_is_left_out(
    plug: Plug, dials: list[int]
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await all_or_nothing(swarm)
            await nothing_is_prepared(swarm)
            made = len(dials)
            for connection in tuple(direct_connections_of(swarm.peers[VICTIM])._direct._idle._expiries):
                connection.end()
            assert len(await all_or_nothing(swarm)) == 3
            check_that_only_direct_connections_were_used(swarm)
            assert len(dials) >= made + 4, "two to the victim, and its own two"

    run_on("libp2p", scenario)


def test_connections_that_fall_silent_between_two_rounds_are_replaced_and_nobody_is_left_out(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_connections, "ANSWER_S", 0.1)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await all_or_nothing(swarm)
            await nothing_is_prepared(swarm)
            victim = direct_connections_of(swarm.peers[VICTIM])._direct
            silent = {connection._wire.wire for connection in victim._idle._expiries}
            assert len(silent) >= 4
            honest = plug.honest

            async def send(wire: Wire, data: Buffer) -> None:
                if wire not in silent:
                    await honest(wire, data)

            plug.honest = send
            assert len(await all_or_nothing(swarm)) == 3
            check_that_only_direct_connections_were_used(swarm)

    run_on("libp2p", scenario)


def test_a_peer_that_cannot_be_dialled_takes_part_over_direct_connections_all_the_same(
    plug: Plug, dials: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = Acceptor.port
    walls: set[Acceptor] = set()

    def hidden(self: Acceptor, version: int) -> int:
        return 9 if self in walls else port(self, version)

    monkeypatch.setattr(Acceptor, "port", hidden)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            walls.add(direct_connections_of(swarm.peers[VICTIM])._direct._negotiation._acceptor)
            for _ in range(3):
                assert len(await all_or_nothing(swarm)) == 3
            check_that_only_direct_connections_were_used(swarm)
            assert dials.count(9) <= 4, "in vain for a stream, or while one is prepared; then the other way round"

    run_on("libp2p", scenario)
