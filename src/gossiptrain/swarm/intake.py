"""What is believed of the words that come from outside, and in what form the own words go there.

Owns the plausibility of numbers that peers tell, the clamping of what this peer signs, and the packing of records and
addresses by bytes, so that no word of anybody makes one of ours impossible. Does not know who said it, nor why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydantic import TypeAdapter, ValidationError

from gossiptrain.net.transport import MAX_VALUE_BYTES
from gossiptrain.swarm.messages import (
    BEATS_LIMIT_BYTES,
    MAX_ADDRESSES,
    MAX_COUNT,
    MAX_RECORDS,
    AddressText,
    SignedHeartbeat,
)

ROUNDS_AT_ONCE = 64
ROUNDS_PER_S = 1000
"""Faster than any swarm goes from round to round; what was heard of a peer may be as old as its lifetime."""
MAX_SECONDS = 1e9
BESIDE_RECORDS_BYTES = 16 << 10
"""Left in a message for what stands beside the records of peers: keys of others, and a list of revocations."""
ENTRY_ADDRESSES = 4

_ADDRESS: TypeAdapter[str] = TypeAdapter(AddressText)


def as_count(number: int) -> int:
    """The number within the bounds of a count on the wire."""
    return min(max(number, 0), MAX_COUNT)


def as_seconds(seconds: float | None) -> float | None:
    """A wait within what can be told; None where it is none that one could wait for."""
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_SECONDS)


def farthest_round(own: int, heard: Iterable[int], *, lifetime_s: float) -> int:
    """The highest number that the next round can have: not far above the one that most peers tell.

    own, heard: the numbers that this peer and the other living ones are at. A few liars move nobody further than honest
    peers can be ahead of what was last heard of them; whoever was away follows most of the others. A newcomer's 0 says
    nothing to those that have come far.
    """
    lead = ROUNDS_AT_ONCE + math.ceil(ROUNDS_PER_S * lifetime_s)
    votes = sorted([own, *(heard if own <= lead else filter(None, heard))])
    return as_count(votes[len(votes) // 2] + lead)


def records_that_fit(own: SignedHeartbeat, others: Iterable[SignedHeartbeat]) -> tuple[SignedHeartbeat, ...]:
    """The own record and as many of the others, in their order, as go into one message of `BEATS_LIMIT_BYTES`."""
    left_bytes = BEATS_LIMIT_BYTES - BESIDE_RECORDS_BYTES - _size_bytes(own)
    chosen = [own]
    for record in others:
        left_bytes -= _size_bytes(record)
        if left_bytes < 0 or len(chosen) >= MAX_RECORDS:
            break
        chosen.append(record)
    return tuple(chosen)


def tellable_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those that have a form and a length in which they can be told, and not more than others take."""
    return tuple(address for address in addresses if _is_tellable(address))[:MAX_ADDRESSES]


def directory_entry(addresses: Sequence[str], *, limit_bytes: int = MAX_VALUE_BYTES) -> bytes:
    """The own entry: as many of the first addresses as there is room for."""
    told = list(tellable_addresses(addresses)[:ENTRY_ADDRESSES])
    while len(entry := json.dumps(told).encode()) > limit_bytes:
        told.pop()
    return entry


def addresses_in(entry: bytes) -> tuple[str, ...]:
    """The addresses in another peer's entry; none where it is anything else."""
    try:
        addresses = json.loads(entry)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        return ()
    return tellable_addresses(addresses)[:ENTRY_ADDRESSES]


def _is_tellable(address: str) -> bool:
    try:
        _ADDRESS.validate_python(address)
    except ValidationError:
        return False
    return True


def _size_bytes(record: SignedHeartbeat) -> int:
    return _size_of_texts(record.body, record.signature)


@lru_cache(maxsize=4096)  # each is passed on many times; looking up two texts is cheaper than looking up a model
def _size_of_texts(body: str, signature: str) -> int:
    return len(SignedHeartbeat(body=body, signature=signature).model_dump_json().encode()) + 1
