"""Records of the directory: what is well-formed is read, and nothing else does any harm."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.net.libp2p.directory_codec import (
    CLOCK_TOLERANCE_S,
    MAX_RECORD_BYTES,
    Entry,
    RecordError,
    decode_record,
    is_acceptable,
)
from gossiptrain.net.transport import MAX_LIFETIME_S, MAX_SUBKEYS

DICTIONARY = 0x50
TUPLE = 0x40
NOW_S = 1_800_000_000.0
ENTRIES = st.lists(st.builds(Entry, st.text(max_size=20), st.binary(max_size=40), st.floats(allow_nan=False)))


def packed(entries: list[Any], *, code: int = DICTIONARY, head: tuple[Any, ...] = (math.inf, NOW_S)) -> bytes:
    """A dictionary as hivemind writes it."""
    result: bytes = msgpack.packb(msgpack.ExtType(code, msgpack.packb([*head, entries])))
    return result


def nested(depth: int, code: int) -> bytes:
    """Extensions inside of each other; hivemind's own decoder would call itself for each of them."""
    payload: bytes = msgpack.packb([])
    for _ in range(depth):
        payload = msgpack.packb(msgpack.ExtType(code, msgpack.packb([payload]) if code == DICTIONARY else payload))
    return payload


@given(ENTRIES)
def test_a_dictionary_is_read_as_it_was_written(entries: list[Entry]) -> None:
    items = [[entry.subkey, entry.value, entry.expires_at_s] for entry in entries]
    assert decode_record(packed(items)) == tuple(entries)


@pytest.mark.parametrize("value", [None, b"", b"bytes", "text"])
def test_plain_values_are_read(value: object) -> None:
    assert decode_record(msgpack.packb(value)) == value


HOSTILE = {
    "nothing": b"",
    "cut off": packed([["a", b"b", 1.0]])[:-1],
    "two records": msgpack.packb("a") + msgpack.packb("b"),
    "number": msgpack.packb(7),
    "list": msgpack.packb([1]),
    "map": msgpack.packb({"a": 1}),
    "deep list": b"\x91" * 100_000,
    "deep list inside": packed([]).replace(msgpack.packb([]), b"") + b"\x91" * 500,
    "deep extensions": nested(5000, TUPLE),
    "deep dictionaries": nested(50, DICTIONARY),
    "tuple": msgpack.packb(msgpack.ExtType(TUPLE, msgpack.packb([1]))),
    "timestamp": msgpack.packb(msgpack.Timestamp(1)),
    "unknown extension": msgpack.packb(msgpack.ExtType(7, b"x")),
    "huge": msgpack.packb(bytes(MAX_RECORD_BYTES + 1)),
    "announces 4 GB": b"\xc6\xff\xff\xff\xff",
    "announces 4 G entries": b"\xdd\xff\xff\xff\xff",
    "bad text": b"\xa1\xff",
    "empty dictionary body": msgpack.packb(msgpack.ExtType(DICTIONARY, b"")),
    "two fields": msgpack.packb(msgpack.ExtType(DICTIONARY, msgpack.packb([1, 2]))),
    "entries are no list": packed("text"),  # type: ignore[arg-type]
    "too many entries": packed([[str(i), b"", 1.0] for i in range(MAX_SUBKEYS + 1)]),
    "subkey is a number": packed([[1, b"", 1.0]]),
    "subkey is a list": packed([[[], b"", 1.0]]),
    "value is text": packed([["a", "b", 1.0]]),
    "expiration is text": packed([["a", b"b", "c"]]),
    "expiration is a truth value": packed([["a", b"b", True]]),
    "four fields": packed([["a", b"b", 1.0, 2]]),
}


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_anything_else_is_refused_without_being_quoted(record: bytes) -> None:
    with pytest.raises(RecordError, match=r"^(a record|a dictionary|an entry of a dictionary) ") as caught:
        decode_record(record)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda junk: b"\xc7" + bytes([len(junk), 0x50]) + junk))
def test_no_bytes_do_any_other_harm(record: bytes) -> None:
    try:
        decode_record(record)
    except RecordError:
        return


def test_lists_that_claim_to_be_long_take_no_memory() -> None:
    claim = b"\xdd" + (MAX_RECORD_BYTES - 5120).to_bytes(4, "big")
    tracemalloc.start()
    try:
        with pytest.raises(RecordError):
            decode_record((claim * 1000).ljust(MAX_RECORD_BYTES, b"\xc0"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20


def test_only_short_names_and_bytes_with_a_sane_lifetime_may_stand() -> None:
    def acceptable(name: object = "name", value: object = b"value", *, lifetime_s: float = 60.0) -> bool:
        return is_acceptable(msgpack.packb(name), msgpack.packb(value), expires_at_s=NOW_S + lifetime_s, now_s=NOW_S)

    assert acceptable()
    assert acceptable(value=bytes(1024), lifetime_s=MAX_LIFETIME_S)
    assert not acceptable(name=None)  # a value without subkeys would shut out all dictionaries
    assert not acceptable(name="")
    assert not acceptable(name="x" * 129)
    assert not acceptable(name=b"bytes")
    assert not acceptable(value=bytes(1025))
    assert not acceptable(value="text")
    assert not acceptable(value=None)
    assert not acceptable(lifetime_s=MAX_LIFETIME_S + CLOCK_TOLERANCE_S + 1)
    assert not acceptable(lifetime_s=math.inf)
    assert not acceptable(lifetime_s=math.nan)
    assert not is_acceptable(b"\xc1", b"\xc4\x00", expires_at_s=NOW_S, now_s=NOW_S)
