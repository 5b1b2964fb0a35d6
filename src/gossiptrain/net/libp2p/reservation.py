"""A place at a relay: the question for one, and the answer.

Owns both in the words of libp2p's circuit relay, https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md, which
are protobuf messages behind their length. The daemon only asks for places where it takes itself for unreachable from
its very start, so they are asked for from here, over a stream of this protocol. Does not know when a place is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gossiptrain.net.transport import Stream, StreamClosedError

HOP = "/libp2p/circuit/relay/0.2.0/hop"
MAX_ANSWER_BYTES = 16 << 10
_RESERVE = b"\x02\x08\x00"
"""Two bytes follow: the field `type` is `RESERVE`."""
_STATUS, _OK = 2, 100
_TYPE_FIELD, _LIMIT_FIELD, _STATUS_FIELD, _DATA_FIELD = 1, 4, 5, 2
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
UNLIMITED = 1 << 63


@dataclass(frozen=True)
class Reservation:
    """A place that a relay has given. data_bytes: so much it carries on one connection, in each direction."""

    data_bytes: int


async def reserve(stream: Stream) -> Reservation | None:
    """Asks the relay at the other end of `stream` for a place; None where it refuses.

    Raises StreamClosedError, also where the answer is not one.
    """
    await stream.write(_RESERVE)
    size_bytes = 0
    for position in range(2):
        digit = (await stream.read_exactly(1))[0]
        size_bytes |= (digit & 0x7F) << 7 * position
        if digit < 0x80:
            break
    if size_bytes > MAX_ANSWER_BYTES or digit >= 0x80:
        raise StreamClosedError("the relay said something that is too long")
    try:
        return _understood(await stream.read_exactly(size_bytes))
    except ValueError as error:
        raise StreamClosedError("the relay said something that cannot be read") from error


def _understood(answer: bytes) -> Reservation | None:
    """Raises ValueError where the bytes are no protobuf message."""
    found: dict[int, int | bytes] = dict(_fields(answer))
    if (found.get(_TYPE_FIELD), found.get(_STATUS_FIELD)) != (_STATUS, _OK):
        return None
    limit = found.get(_LIMIT_FIELD, b"")
    data_bytes = dict(_fields(limit)).get(_DATA_FIELD, 0) if isinstance(limit, bytes) else 0
    return Reservation(data_bytes if isinstance(data_bytes, int) and data_bytes else UNLIMITED)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message by number, those of fixed size left out."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == _BYTES:
            size_bytes, at = _varint(message, at)
            yield key >> 3, message[at : at + size_bytes]
            at += size_bytes
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"there are no fields of kind {kind}")
    if at > len(message):
        raise ValueError("the last field is not whole")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it."""
    number = 0
    for position, digit in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        number |= (digit & 0x7F) << 7 * position
        if digit < 0x80:
            return number, at + position + 1
    raise ValueError("a number does not end")
