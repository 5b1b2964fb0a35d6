"""Who is let in, and what is said to those who are not."""

from __future__ import annotations

from typing import Any

import pytest

from gossiptrain.core.fingerprint import PROTOCOL_VERSION, CommonSettings, RunFingerprint
from gossiptrain.errors import RunMismatchError
from gossiptrain.net.framing import read_frame, write_frame
from gossiptrain.net.transport import Stream, StreamClosedError, Transport, UnreachableError
from gossiptrain.swarm.admission import HELLO, Admission
from tests.swarm.swarms import TIMING, fingerprint
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

ECHO = "/test/echo"


async def open_admission(transport: Transport, run: RunFingerprint | None) -> Admission:
    admission = Admission(transport, run, timing=TIMING)
    await admission.open()

    async def echo(stream: Stream) -> None:
        await stream.write(await stream.read_exactly(5))

    await admission.serve(ECHO, echo)
    return admission


async def two_admissions(
    make: MakeTransport, first: RunFingerprint | None, second: RunFingerprint | None
) -> tuple[Admission, Admission]:
    admissions = await open_admission(await make("a"), first), await open_admission(await make("b"), second)
    await admissions[0].transport.connect(admissions[1].transport.addresses[0])
    return admissions


@on_both_transports
def test_peers_of_one_run_open_streams_to_each_other(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        one, other = await two_admissions(make, fingerprint(), fingerprint())
        assert await one.handshake(other.transport.peer_id)
        for admission, peer in ((one, other), (other, one)):
            stream = await admission.stream(peer.transport.peer_id, ECHO)
            await stream.write(b"hello")
            assert await stream.read_exactly(5) == b"hello"
            await stream.close()

    run_on(kind, scenario)


@on_both_transports
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": "other"}, "the run differs: 'run' here, 'other' there"),
        ({"task": "cifar10"}, "the task differs"),
        ({"elements": 7}, "the model differs: 1,000 averaged values here, 7 there"),
        ({"model": "cd" * 32}, "the model differs"),
        ({"common": CommonSettings(gossip_min_group_size=3)}, "gossip_min_group_size differs: 2 here, 3 there"),
        ({"common": CommonSettings(seed=7)}, "seed differs: 0 here, 7 there"),
        ({"protocol": 99}, f"the protocol version differs: {PROTOCOL_VERSION} here, 99 there"),
    ],
)
def test_a_peer_of_another_run_is_refused_by_the_field_that_differs(
    kind: Kind, change: dict[str, Any], words: str
) -> None:
    async def scenario(make: MakeTransport) -> None:
        one, other = await two_admissions(make, fingerprint(), fingerprint(**change))
        with pytest.raises(RunMismatchError, match=words):
            await one.handshake(other.transport.peer_id)
        with pytest.raises(UnreachableError, match="does not let this peer in"):
            await one.stream(other.transport.peer_id, ECHO)

    run_on(kind, scenario)


@on_both_transports
def test_a_stranger_that_has_not_shaken_hands_is_cut_off_unread(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        one, other = await two_admissions(make, fingerprint(), fingerprint())
        stream = await one.transport.open_stream(other.transport.peer_id, ECHO)
        with pytest.raises(StreamClosedError):
            await stream.read_exactly(5)

    run_on(kind, scenario)


@on_both_transports
def test_a_helper_answers_everyone_and_is_no_member(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        one, helper = await two_admissions(make, fingerprint(), None)
        assert not await one.handshake(helper.transport.peer_id)
        with pytest.raises(UnreachableError, match="trains nothing"):
            await one.stream(helper.transport.peer_id, ECHO)

    run_on(kind, scenario)


@pytest.mark.parametrize("garbage", [b"", b"Hello {", b"Hello " + b"[" * 5000, b"\xff" * 64, b'Hello {"protocol":1}'])
def test_garbage_instead_of_a_handshake_ends_the_stream_and_nothing_else(garbage: bytes) -> None:
    async def scenario(make: MakeTransport) -> None:
        one, other = await two_admissions(make, fingerprint(), fingerprint())
        stream = await one.transport.open_stream(other.transport.peer_id, HELLO)
        await write_frame(stream, garbage, limit_bytes=1 << 16)
        with pytest.raises(StreamClosedError):
            await read_frame(stream, limit_bytes=1 << 16)
        assert await one.handshake(other.transport.peer_id)

    run_on("virtual", scenario)


@on_both_transports
def test_a_peer_that_started_anew_is_admitted_anew(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        one, other = await two_admissions(make, fingerprint(), fingerprint())
        await one.handshake(other.transport.peer_id)
        await other.transport.close()
        restarted = await open_admission(await make("b"), fingerprint())
        one.transport.remember(restarted.transport.peer_id, restarted.transport.addresses)
        one.forget(restarted.transport.peer_id)
        stream = await one.stream(restarted.transport.peer_id, ECHO)
        await stream.write(b"hello")
        assert await stream.read_exactly(5) == b"hello"
        await stream.close()

    run_on(kind, scenario)
