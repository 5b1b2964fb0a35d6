"""The question for a place at a relay, and what is understood of the answer, whoever gives it."""

from __future__ import annotations

import pytest

from gossiptrain.net.libp2p.reservation import HOP, UNLIMITED, Reservation, reserve
from gossiptrain.net.transport import Stream, StreamClosedError
from tests.transports import MakeTransport, run_on

GIVEN = bytes([0x08, 2, 0x28, 100])
"""A status, and that it is well."""
REFUSED = bytes([0x08, 2, 0x28, 0xC8, 0x01])
"""The status 200: there is no room."""


def answered(answer: bytes) -> Reservation | None:
    """What is made of these bytes."""

    async def scenario(make: MakeTransport) -> Reservation | None:
        alice, relay = await make("alice"), await make("relay")

        async def serve(stream: Stream) -> None:
            assert await stream.read_exactly(3) == b"\x02\x08\x00"
            await stream.write(answer)

        await relay.serve(HOP, serve)
        await alice.connect(relay.addresses[0])
        stream = await alice.open_stream(relay.peer_id, HOP)
        try:
            return await reserve(stream)
        finally:
            stream.abort()

    return run_on("virtual", scenario)


def framed(message: bytes) -> bytes:
    return bytes([len(message)]) + message


def test_a_place_comes_with_what_the_relay_carries() -> None:
    limit = bytes([0x08, 120, 0x10, 0x80, 0x80, 0x08])
    reservation = bytes([0x1A, 2, 0x08, 9])
    assert answered(framed(GIVEN + reservation + bytes([0x22, len(limit)]) + limit)) == Reservation(128 << 10)
    assert answered(framed(GIVEN)) == Reservation(UNLIMITED)


def test_a_refusal_is_no_place() -> None:
    assert answered(framed(REFUSED)) is None
    assert answered(framed(b"")) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff",
        framed(b"\x08"),
        framed(GIVEN + b"\x22\x7f\x00"),
        framed(GIVEN + b"\x0b"),
        framed(b"\xff" * 12),
        b"\x05\x08",
    ],
    ids=["too long", "no number", "cut off", "of no kind", "endless number", "fewer bytes"],
)
def test_what_is_no_answer_breaks_nothing(answer: bytes) -> None:
    with pytest.raises(StreamClosedError):
        answered(answer)
