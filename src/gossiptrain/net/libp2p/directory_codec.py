"""How records of hivemind's DHT look as bytes, and a decoder for them that cannot be led astray.

Owns the bounds of everything that is decoded from the DHT: size, depth, number and types of entries. Does not know the
DHT. A record is a value on its own, or a dictionary: an msgpack extension that holds `[size, latest expiration,
[[subkey, value, expiration], ...]]` as msgpack again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgpack  # type: ignore[import-untyped]

from gossiptrain.net.transport import MAX_LIFETIME_S, MAX_NAME_BYTES, MAX_SUBKEYS, MAX_VALUE_BYTES

MAX_RECORD_BYTES = MAX_SUBKEYS * (MAX_VALUE_BYTES + MAX_NAME_BYTES + 64)
CLOCK_TOLERANCE_S = 600.0
_DICTIONARY_CODE = 0x50
_DICTIONARY_FIELDS = 3
_ENTRY_FIELDS = 3


class RecordError(ValueError):
    """Bytes that are no record within the limits. The text never quotes them."""


@dataclass(frozen=True)
class Entry:
    """One entry of a dictionary. `value` is encoded once more; `expires_at_s` is wall-clock time."""

    subkey: str
    value: bytes
    expires_at_s: float


def decode_record(record: bytes) -> bytes | str | tuple[Entry, ...] | None:
    """The value, name or dictionary in `record`. Raises RecordError for anything else."""
    decoded = _unpack(record, max_bytes=MAX_RECORD_BYTES)
    match decoded:
        case msgpack.ExtType(code=code, data=data) if code == _DICTIONARY_CODE:
            return _decode_dictionary(data)
        case None | bytes() | str():
            return decoded
    raise RecordError("a record is of a type that is not allowed")


def is_acceptable(subkey: bytes, value: bytes, *, expires_at_s: float, now_s: float) -> bool:
    """Whether an encoded entry may stand in the DHT: a short name, short bytes, a lifetime within the limits."""
    try:
        name, content = decode_record(subkey), decode_record(value)
    except RecordError:
        return False
    return (
        isinstance(name, str)
        and 0 < len(name.encode()) <= MAX_NAME_BYTES
        and isinstance(content, bytes)
        and len(content) <= MAX_VALUE_BYTES
        and math.isfinite(expires_at_s)
        and expires_at_s <= now_s + MAX_LIFETIME_S + CLOCK_TOLERANCE_S
    )


def _decode_dictionary(packed: bytes) -> tuple[Entry, ...]:
    fields = _unpack(packed, max_bytes=MAX_RECORD_BYTES)
    if not isinstance(fields, list) or len(fields) != _DICTIONARY_FIELDS:
        raise RecordError("a dictionary has not the three fields that it should")
    items = fields[2]  # the others, its size and expiration, are claims that follow from the entries
    if not isinstance(items, list):
        raise RecordError("a dictionary has no list of entries")
    return tuple(_entry(item) for item in items)


def _entry(item: object) -> Entry:
    match item:
        case [str(subkey), bytes(value), float() | int() as expires_at_s]:
            if len(item) == _ENTRY_FIELDS and not isinstance(expires_at_s, bool):
                return Entry(subkey, value, float(expires_at_s))
    raise RecordError("an entry of a dictionary has not the three fields that it should")


def _unpack(packed: bytes, *, max_bytes: int) -> object:
    """One level of msgpack: extensions, which could nest without end, are left as they are."""
    if len(packed) > max_bytes:
        raise RecordError(f"a record of {len(packed)} bytes is over the limit of {max_bytes}")
    try:
        # msgpack itself walks nested lists without recursion, to a depth of 1024 at most, and makes each as long as it
        # says that it is before it looks what is in it.
        return msgpack.unpackb(packed, raw=False, max_map_len=0, max_array_len=MAX_SUBKEYS)
    except (ValueError, msgpack.UnpackException, RecursionError, OverflowError) as error:
        fault = type(error).__name__
    raise RecordError(f"a record is not well-formed: {fault}")
